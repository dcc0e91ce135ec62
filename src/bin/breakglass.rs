//! The command line: `breakglass`.
fn main() {}
