//! Following a revocation to the sidecars, live (P5).

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::api::{Api, ApiError};
use super::enforcement::clock_time;
use super::failure::{Exit, Failure};
use super::output::Output;
use crate::domain::{RevocationId, WallTime};
use crate::wire::revocations::{RevocationEnforcement, ServiceEnforcement};

/// How long one question may wait for the next answer; the clock of the progress line moves at least this often.
const ASK_MS_MAX: u64 = 1_000;
/// Shortest time from one question to the next: fast enough to the eye, and no burden to the control plane.
const PACE_MS: u64 = 100;
/// Sidecars named while they are waited for; at the end all are.
const NAMED_MAX: usize = 3;

/// Asks until no answer is awaited or `patience` is over, and shows how far it has come. The last answer, whatever it
/// says.
///
/// # Errors
/// When the control plane cannot be asked.
pub(super) async fn follow(
    api: &Api,
    id: &RevocationId,
    patience: Duration,
    out: &mut Output,
) -> Result<RevocationEnforcement, ApiError> {
    let begun = Instant::now();
    let mut known = api.revocation_enforcement(id, Duration::ZERO, None).await?;
    while !known.settled {
        out.progress(&progress(&known, begun.elapsed()));
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        let (asked, wait) = (Instant::now(), left.min(Duration::from_millis(ASK_MS_MAX)));
        known = api.revocation_enforcement(id, wait, Some(known.answered)).await?;
        if !known.settled {
            sleep_until(asked + wait.min(Duration::from_millis(PACE_MS))).await;
        }
    }
    Ok(known)
}

/// `enforced on 12 of 14 sidecars after 0.4s; waiting for: a-7 (stops by itself by 02:14:03Z)`
fn progress(known: &RevocationEnforcement, waited: Duration) -> String {
    let (s, tenths) = (waited.as_secs(), waited.subsec_millis() / 100);
    let mut text = format!("enforced on {} of {} sidecars after {s}.{tenths}s", known.enforced, known.sidecars);
    let silent = silent(known);
    if !silent.is_empty() {
        let named: Vec<_> = silent
            .iter()
            .take(NAMED_MAX)
            .map(|(name, stops_by)| format!("{name} (stops by itself by {})", time_of_day(*stops_by)))
            .collect();
        text.push_str(&format!("; waiting for: {}", named.join(", ")));
    }
    if silent.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", silent.len() - NAMED_MAX));
    }
    text
}

/// `enforced on 14 of 14 sidecars in 38 ms`
pub(super) fn summary(known: &RevocationEnforcement) -> String {
    if known.sidecars == 0 {
        return "no sidecar is connected that it concerns".to_owned();
    }
    let elapsed = known.elapsed_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
    let stopped = known.recorded.map_or(0, |recorded| recorded.stopped);
    let stopped = if stopped == 0 { String::new() } else { format!("; {stopped} stopped by themselves") };
    format!("enforced on {} of {} sidecars{elapsed}{stopped}", known.enforced, known.sidecars)
}

/// A change counts where it has arrived; elsewhere overrides end by themselves, and this says by when. `what` is a
/// sentence's beginning: `all grants of alice are revoked`.
///
/// # Errors
/// Names every sidecar that has not answered, with the time by which it stops by itself, and those that refused.
pub(super) fn check(what: &str, known: &RevocationEnforcement) -> Result<(), Failure> {
    let silent = silent(known).into_iter().map(|(name, by)| format!("{name} stops by itself by {}", clock_time(by)));
    let exceptions: Vec<_> = silent.chain(rejected(known)).collect();
    if known.settled && exceptions.is_empty() {
        return Ok(());
    }
    let exceptions =
        if exceptions.is_empty() { "it is still being carried out".to_owned() } else { exceptions.join(", ") };
    Err(Failure::new(
        Exit::NotEnforced,
        format!("{what}, but {}; {exceptions}", summary(known)),
        "a silent sidecar lets no override through once its feed is stale; freeze it on its host to be sure now",
    ))
}

/// Those that have not answered, each with its end. Of several services, each with the name of its own.
fn silent(known: &RevocationEnforcement) -> Vec<(String, WallTime)> {
    let of = |service: &ServiceEnforcement| {
        let silent = service.enforcement.silent.iter();
        silent.map(|one| (named(known, service, &one.instance), one.stops_by)).collect::<Vec<_>>()
    };
    known.services.iter().flat_map(of).collect()
}

fn rejected(known: &RevocationEnforcement) -> Vec<String> {
    let of = |service: &ServiceEnforcement| {
        let rejected = service.enforcement.rejected.iter();
        rejected
            .map(|one| format!("{} refused it: {}", named(known, service, &one.instance), one.why))
            .collect::<Vec<_>>()
    };
    known.services.iter().flat_map(of).collect()
}

fn named(known: &RevocationEnforcement, of: &ServiceEnforcement, instance: &crate::domain::InstanceName) -> String {
    if known.services.len() > 1 { format!("{}/{instance}", of.service) } else { instance.to_string() }
}

/// `02:14:03Z`
fn time_of_day(at: WallTime) -> String {
    let text = clock_time(at);
    text.split_once('T').map_or_else(|| text.clone(), |(_, time)| time.to_owned())
}

#[cfg(test)]
pub(crate) mod sample {
    use crate::domain::WallTime;
    use crate::wire::api::{Enforcement, SilentSidecar};
    use crate::wire::revocations::{RevocationEnforcement, ServiceEnforcement};

    /// `silent` of fourteen sidecars have not answered.
    pub(crate) fn of_fourteen(silent: &[&str]) -> RevocationEnforcement {
        let enforced = 14 - u32::try_from(silent.len()).unwrap();
        let stops_by = WallTime::from_unix_ms(1_795_313_580_123);
        let silent: Vec<_> =
            silent.iter().map(|name| SilentSidecar { instance: name.parse().unwrap(), stops_by }).collect();
        let elapsed_ms = silent.is_empty().then_some(38);
        let enforcement = Enforcement { revision: 7, sidecars: 14, enforced, elapsed_ms, silent, rejected: vec![] };
        RevocationEnforcement {
            settled: enforcement.silent.is_empty(),
            sidecars: 14,
            enforced,
            answered: enforced,
            elapsed_ms,
            services: vec![ServiceEnforcement { service: "payments".parse().unwrap(), enforcement }],
            recorded: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api::{Enforcement, Rejection};

    #[test]
    fn everywhere_is_everywhere() {
        let known = sample::of_fourteen(&[]);
        assert_eq!(summary(&known), "enforced on 14 of 14 sidecars in 38 ms");
        assert!(check("it is revoked", &known).is_ok());
        let nobody = RevocationEnforcement { settled: true, ..RevocationEnforcement::default() };
        assert!(check("it is revoked", &nobody).is_ok(), "where there is no sidecar, nothing is left to end");
        let unfinished = RevocationEnforcement { settled: false, ..sample::of_fourteen(&[]) };
        assert!(check("it is revoked", &unfinished).unwrap_err().message.ends_with("it is still being carried out"));
    }

    #[test]
    fn the_silent_are_named_while_and_after() {
        let known = sample::of_fourteen(&["a-7", "b-2"]);
        assert_eq!(
            progress(&known, Duration::from_millis(1_234)),
            "enforced on 12 of 14 sidecars after 1.2s; waiting for: a-7 (stops by itself by 02:13:00Z), \
             b-2 (stops by itself by 02:13:00Z)"
        );
        let many = sample::of_fourteen(&["a-1", "a-2", "a-3", "a-4", "a-5"]);
        assert!(progress(&many, Duration::ZERO).ends_with("a-3 (stops by itself by 02:13:00Z) and 2 more"));
        let failure = check("it is revoked", &known).unwrap_err();
        assert_eq!(failure.exit, Exit::NotEnforced);
        assert_eq!(
            failure.message,
            "it is revoked, but enforced on 12 of 14 sidecars; a-7 stops by itself by 2026-11-22T02:13:00Z, \
             b-2 stops by itself by 2026-11-22T02:13:00Z"
        );
    }

    #[test]
    fn a_refusal_is_an_answer_and_no_success() {
        let mut known = sample::of_fourteen(&[]);
        let refused = Rejection { instance: "a-7".parse().unwrap(), why: "why".into() };
        let other = Enforcement { rejected: vec![refused], ..known.services[0].enforcement.clone() };
        known.services.push(ServiceEnforcement { service: "limits".parse().unwrap(), enforcement: other });
        let failure = check("it is revoked", &known).unwrap_err();
        assert!(failure.message.ends_with("limits/a-7 refused it: why"), "{}", failure.message);
    }
}
