//! The sidecar: stands before one contract API and opens it for exactly one person, reason, resource and time.
//!
//! A request's life, in order. Each step is a file with one reason to change:
//!
//! 1. [`listener`] accepts, [`tls`] speaks TLS, [`connection`] speaks HTTP/1.1 behind the [`framing`] guard, or HTTP/2.
//! 2. [`intake`] takes our headers off and strips their look-alikes; [`target`] gives the path its one form.
//! 3. [`route`] maps method and path to resource and action.
//! 4. [`authenticate`] finds out who is calling and [`possession`] which key they hold, before anything about the grant is
//!    looked at.
//! 5. [`enforce`] gathers the facts and asks the pure `decision`.
//! 6. [`record`] says what may be written, [`query_digests`] in which form; [`audit_log`] makes the intent durable.
//! 7. [`forward`] goes to the [`upstream`] and back, with an [`assertion`], while [`cut`] watches the grant.
//! 8. [`exchange`] records the outcome, with what [`capture`] kept of bodies where a route asks for it.
//!
//! Turns a journey can take: [`expectation`], where the client waits to be asked for its body; [`hints`], which the
//! upstream gives before its answer; and [`upgrade`], after which a [`tunnel`] passes bytes of another protocol.
//!
//! [`journey`] reads these steps from top to bottom, and [`refusal`] says no. Beside the path, [`grant_feed`] fills the
//! [`grant_table`] and the [`standing`], [`shipping`] brings the audit log's lines to the ledger, and [`sinks`] hand them on.
//! Nothing here knows a database, the control plane's code or the command line.

pub mod admin;
pub mod assertion;
pub mod audit_log;
pub mod authenticate;
mod backlog;
pub mod body;
pub mod capture;
pub mod client_certificate;
pub mod connection;
pub mod counters;
pub mod cut;
mod departure;
pub mod ending;
pub mod enforce;
pub mod exchange;
pub mod expectation;
pub mod explain;
pub mod failure;
pub mod forward;
pub mod forward_headers;
pub mod framing;
mod framing_chunked;
mod framing_goodbye;
mod framing_head;
mod framing_hints;
pub mod grant_feed;
pub mod grant_table;
pub mod handover;
pub mod hints;
pub mod intake;
pub mod journey;
pub mod keyed_digest;
pub mod lineage;
pub mod listener;
pub mod meter;
pub mod metrics;
pub mod occurrences;
pub mod possession;
pub mod query_digests;
pub mod record;
pub mod refusal;
mod refusal_table;
pub mod reload;
mod replay;
pub mod request_id;
pub mod route;
mod running;
pub mod setup;
pub mod share;
pub mod shared;
pub mod shipping;
pub mod signals;
pub mod signature_limit;
pub mod sinks;
pub mod sockets;
pub mod standing;
pub mod start;
pub mod successor;
pub mod supervisor;
pub mod target;
pub mod tls;
pub mod tunnel;
pub mod upgrade;
pub mod upstream;
pub mod watchers;
pub mod worker;

pub use running::Running;
pub use start::{Sidecar, StartError};
