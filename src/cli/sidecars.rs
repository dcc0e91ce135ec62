//! `breakglass sidecars`: who enforces, and how current they are.

use super::args::{Format, Global};
use super::enforcement::span;
use super::failure::Failure;
use super::output::{Cell, Colour, Output};
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::domain::WallTime;
use crate::wire::api::{Page, SidecarView};

/// Clocks further apart than this are worth mending; past a minute a sidecar takes no new grant.
const SKEW_WARN_MS: u64 = 5_000;
/// Enough of a digest to tell two files apart by eye.
const DIGEST_CHARS: usize = 8;

/// # Errors
/// When the control plane does not answer, or refuses.
pub(super) async fn run(global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let sidecars = session::connect(global, env, out)?.sidecars().await?;
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
    out.table(
        &[
            "SERVICE",
            "INSTANCE",
            "CONNECTED",
            "HEARD",
            "FEED AGE",
            "REVISION",
            "SKEW",
            "SERVICE FILE",
            "VERSION",
            "AUDIT",
        ],
        &rows,
    )
}

fn row(sidecar: &SidecarView, now: WallTime) -> Vec<Cell> {
    let connected =
        if sidecar.connected { Cell::coloured("yes", Colour::Green) } else { Cell::coloured("no", Colour::Red) };
    let digest: String = sidecar.service_digest.chars().take(DIGEST_CHARS).collect();
    let file = if sidecar.service_current {
        format!("current ({digest})").into()
    } else {
        Cell::coloured(format!("differs ({digest})"), Colour::Yellow)
    };
    vec![
        Cell::new(&sidecar.service),
        Cell::new(&sidecar.instance),
        connected,
        format!("{} ago", span(now.since(sidecar.heard_at))).into(),
        tenths(sidecar.feed_age_ms).into(),
        revision(sidecar),
        sidecar.clock_skew_ms.map_or_else(|| "-".into(), skew),
        file,
        Cell::new(&sidecar.version),
        format!("line {}", sidecar.audit.sequence).into(),
    ]
}

/// How far it is behind is told where it is, or where that is not known.
fn revision(sidecar: &SidecarView) -> Cell {
    match sidecar.behind {
        Some(0) => Cell::new(sidecar.revision.to_string()),
        Some(behind) => Cell::coloured(format!("{} ({behind} behind)", sidecar.revision), Colour::Yellow),
        None => Cell::coloured(format!("{} (how far behind is unknown)", sidecar.revision), Colour::Yellow),
    }
}

fn skew(ms: i64) -> Cell {
    let colour = if ms.unsigned_abs() >= SKEW_WARN_MS { Some(Colour::Yellow) } else { None };
    let text = format!("{ms:+} ms");
    colour.map_or_else(|| Cell::new(&text), |colour| Cell::coloured(&text, colour))
}

/// `1.2s`
fn tenths(ms: u64) -> String {
    format!("{}.{}s", ms / 1000, ms % 1000 / 100)
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
            service_digest: "0011aabbccddeeff".into(),
            service_current: false,
            connected: true,
            revision: 12,
            behind: Some(3),
            heard_at: WallTime::from_unix_s(100),
            feed_age_ms: 1_200,
            clock_skew_ms: Some(-38),
            audit: crate::wire::feed::AuditPosition { log_id: "x".into(), sequence: 88, head: "y".into() },
        };
        list(vec![sidecar], WallTime::from_unix_s(101), &mut out).unwrap();
        insta::assert_snapshot!(data.text());
    }
}
