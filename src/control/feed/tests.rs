//! A scripted sidecar against the real listener: real TLS, real HTTP/2, a real database, all on loopback.

mod assertions;
mod bench;
mod refusals;
mod sharing;
mod streams;
