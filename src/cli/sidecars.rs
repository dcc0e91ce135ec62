//! `breakglass sidecars`: who enforces, and how current they are.

use super::args::{Format, Global};
use super::enforcement::span;
use super::failure::Failure;
use super::output::{Cell, Colour, Output};
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::WallTime;
use crate::wire::api::{Page, SidecarView};

/// # Errors
/// When the control plane does not answer, or refuses.
pub(super) async fn run(global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let sidecars = session::connect(global, env)?.sidecars().await?;
    list(sidecars, Clock::System.wall(), out)
}

fn list(sidecars: Vec<SidecarView>, now: WallTime, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(&Page { items: sidecars, next: None });
    }
    if sidecars.is_empty() {
        out.note("no sidecars");
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = sidecars.iter().map(|sidecar| row(sidecar, now)).collect();
    out.table(&["SERVICE", "INSTANCE", "CONNECTED", "HEARD", "REVISION", "SERVICE FILE", "VERSION", "AUDIT"], &rows)
}

fn row(sidecar: &SidecarView, now: WallTime) -> Vec<Cell> {
    let connected =
        if sidecar.connected { Cell::coloured("yes", Colour::Green) } else { Cell::coloured("no", Colour::Red) };
    let file = if sidecar.service_current { Cell::new("current") } else { Cell::coloured("differs", Colour::Yellow) };
    vec![
        Cell::new(&sidecar.service),
        Cell::new(&sidecar.instance),
        connected,
        format!("{} ago", span(now.since(sidecar.heard_at))).into(),
        sidecar.revision.to_string().into(),
        file,
        Cell::new(&sidecar.version),
        format!("line {}", sidecar.audit.sequence).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;

    #[test]
    fn the_table() {
        let (mut out, data, _) = capture::output(Format::Table);
        let sidecar = SidecarView {
            service: "payments".parse().unwrap(),
            instance: "pay-1".parse().unwrap(),
            version: "0.1.0".into(),
            service_digest: "00".into(),
            service_current: false,
            connected: true,
            revision: 12,
            heard_at: WallTime::from_unix_s(100),
            audit: crate::wire::feed::AuditPosition { log_id: "x".into(), sequence: 88, head: "y".into() },
        };
        list(vec![sidecar], WallTime::from_unix_s(101), &mut out).unwrap();
        insta::assert_snapshot!(data.text());
    }
}
