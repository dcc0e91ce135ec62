//! The control plane: `breakglass-control`.
fn main() {}
