//! What was built: the version, for whom, with which parts.

use super::family::{Family, Label, Values};
use super::page::Page;

/// Shows `family`, whose labels are [`LABELS`].
pub fn show(page: &mut Page, family: &'static Family) {
    page.show_by(family, &[env!("CARGO_PKG_VERSION"), &target(), &features()], 1_u64);
}

pub const LABELS: &[Label] = &[
    Label { name: "version", values: Values::Text("the program's version") },
    Label { name: "target", values: Values::Text("architecture and system it was built for") },
    Label { name: "features", values: Values::Text("the parts that were built in, joined by `+`") },
];

fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

fn features() -> String {
    let parts = [
        (cfg!(feature = "sidecar"), "sidecar"),
        (cfg!(feature = "control"), "control"),
        (cfg!(feature = "cli"), "cli"),
    ];
    parts.into_iter().filter_map(|(built, name)| built.then_some(name)).collect::<Vec<_>>().join("+")
}
