//! Waiting until the sidecars enforce a change, and saying how far it came (P5).

use std::time::Duration;

use tokio::time::Instant;

use super::api::{Api, ApiError};
use super::failure::{Exit, Failure};
use super::output::Output;
use crate::domain::{GrantId, WallTime};
use crate::wire::api::Enforcement;

/// How long one question to the control plane may wait for its answer.
const ASK_MS_MAX: u64 = 2_000;
/// Pause between two questions when the control plane answers at once.
const PAUSE_MS: u64 = 50;

/// Asks until every connected sidecar has answered or `patience` is over. The last answer, whatever it says.
///
/// # Errors
/// When the control plane cannot be asked.
pub(super) async fn wait(
    api: &Api,
    id: &GrantId,
    mut known: Enforcement,
    patience: Duration,
    out: &mut Output,
) -> Result<Enforcement, ApiError> {
    let end = Instant::now() + patience;
    while !is_settled(&known) {
        out.progress(&format!("waiting: enforced on {} of {} sidecars", known.enforced, known.sidecars));
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        known = api.enforcement(id, left.min(Duration::from_millis(ASK_MS_MAX))).await?;
        if !is_settled(&known) {
            tokio::time::sleep(Duration::from_millis(PAUSE_MS).min(left)).await;
        }
    }
    Ok(known)
}

/// True when no answer is awaited any more.
fn is_settled(known: &Enforcement) -> bool {
    let rejected = u32::try_from(known.rejected.len()).unwrap_or(u32::MAX);
    known.silent.is_empty() && known.enforced.saturating_add(rejected) >= known.sidecars
}

/// True when every connected sidecar enforces the change.
fn is_everywhere(known: &Enforcement) -> bool {
    is_settled(known) && known.rejected.is_empty() && known.enforced >= known.sidecars
}

/// `enforced on 14 of 14 sidecars in 38 ms`.
pub(super) fn summary(known: &Enforcement) -> String {
    let elapsed = known.elapsed_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
    format!("enforced on {} of {} sidecars{elapsed}", known.enforced, known.sidecars)
}

/// A new grant counts only where it is known: everywhere, and somewhere.
///
/// # Errors
/// Names the sidecars that have not answered or have refused it.
pub(super) fn check_granted(id: &GrantId, known: &Enforcement) -> Result<(), Failure> {
    if known.sidecars == 0 {
        let message = format!("{id} is granted, but no sidecar of its service is connected: nothing enforces it yet");
        return Err(Failure::new(
            Exit::NotEnforced,
            message,
            "see breakglass sidecars; the grant arrives as soon as one connects",
        ));
    }
    if is_everywhere(known) {
        return Ok(());
    }
    let silent = known.silent.iter().map(|sidecar| format!("{} has not answered", sidecar.instance));
    let message = format!("{id} is granted, but {}; {}", summary(known), exceptions(known, silent));
    Err(Failure::new(Exit::NotEnforced, message, format!("look again with: breakglass grants show {id}")))
}

fn exceptions(known: &Enforcement, silent: impl Iterator<Item = String>) -> String {
    let rejected = known.rejected.iter().map(|refusal| format!("{} refused it: {}", refusal.instance, refusal.why));
    let all: Vec<String> = silent.chain(rejected).collect();
    if all.is_empty() { "the others have not answered".to_owned() } else { all.join(", ") }
}

/// `2026-11-22T02:13:00Z`: seconds are exact enough for people.
pub(super) fn clock_time(at: WallTime) -> String {
    let text = at.rfc3339();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// `14m 59s`, `2h 5m`, `40s`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api::Rejection;

    fn known(enforced: u32, sidecars: u32) -> Enforcement {
        Enforcement { revision: 7, sidecars, enforced, elapsed_ms: Some(38), silent: vec![], rejected: vec![] }
    }

    fn id() -> GrantId {
        GrantId::from_random(1)
    }

    #[test]
    fn everywhere_is_everywhere() {
        assert_eq!(summary(&known(14, 14)), "enforced on 14 of 14 sidecars in 38 ms");
        assert!(check_granted(&id(), &known(14, 14)).is_ok());
        assert_eq!(check_granted(&id(), &known(0, 0)).unwrap_err().exit, Exit::NotEnforced);
    }

    #[test]
    fn a_refusal_is_an_answer_and_no_success() {
        let refused = Rejection { instance: "pay-2".parse().unwrap(), why: "over the ceiling".into() };
        let known = Enforcement { rejected: vec![refused], ..known(1, 2) };
        assert!(is_settled(&known));
        assert!(check_granted(&id(), &known).unwrap_err().message.contains("pay-2 refused it: over the ceiling"));
    }

    #[test]
    fn spans_for_people() {
        for (seconds, text) in [(40, "40s"), (899, "14m 59s"), (7500, "2h 5m")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
