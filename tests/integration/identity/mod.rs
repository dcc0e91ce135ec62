//! Who is calling, told by the tokens of a real OpenID provider to a live control plane and a live sidecar.

mod flows;
