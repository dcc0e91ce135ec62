//! The data plane: `breakglass-sidecar`.
fn main() {}
