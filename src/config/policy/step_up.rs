//! `step_up`: how strongly and how lately the person must have authenticated (OpenID Connect Core 1.0 §2, RFC 9470).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::config::reader::Section;
use crate::domain::{Authentication, WallTime};

const AGE_MAX_S: u64 = 86_400;
const ACR_BYTES_MAX: usize = 255;
/// How far an issuer's clock may be ahead of ours: who authenticates later than that has not authenticated yet.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// What an authentication must be. Never demands nothing: at least one of both is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUp {
    /// Any of these context classes; empty: any at all. Visible ASCII without quotes, spaces and backslashes.
    pub acr: BTreeSet<String>,
    /// How long ago it may have been.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// Whether this authentication is strong and fresh enough at `now`. One that does not say is neither.
    pub fn is_met_by(&self, authentication: &Authentication, now: WallTime) -> bool {
        let strong = self.acr.is_empty() || authentication.acr.as_ref().is_some_and(|acr| self.acr.contains(acr));
        let within = |at: WallTime, most| at <= now.plus(AHEAD_MAX) && now.since(at) <= most;
        let fresh = self.max_age.is_none_or(|most| authentication.auth_time.is_some_and(|at| within(at, most)));
        strong && fresh
    }

    /// Whether whatever meets this meets the `outer` too.
    pub fn is_within(&self, outer: &Self) -> bool {
        let strong = outer.acr.is_empty() || (!self.acr.is_empty() && self.acr.is_subset(&outer.acr));
        let fresh = outer.max_age.is_none_or(|most| self.max_age.is_some_and(|own| own <= most));
        strong && fresh
    }

    /// `None`: the key is absent. `Some(None)`: it asks for nothing, `step_up = {}`.
    pub(super) fn read(section: &Section<'_>) -> Option<Option<Self>> {
        let table = section.section("step_up")?;
        let acr: BTreeSet<String> = table.list("acr").into_iter().collect();
        if table.has("acr") && acr.is_empty() {
            table.mistake("acr", "must not be empty", None);
        }
        for value in acr.iter().filter(|value| !is_acr(value)) {
            let what = format_args!("\"{value}\" is not a context class: visible ASCII without quotes and spaces");
            table.mistake("acr", what, None);
        }
        let max_age = table.has("max_age_s").then(|| table.integer("max_age_s", 1..=AGE_MAX_S, AGE_MAX_S));
        let step_up = Self { acr, max_age: max_age.map(Duration::from_secs) };
        Some((!step_up.acr.is_empty() || step_up.max_age.is_some()).then_some(step_up))
    }
}

fn is_acr(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= ACR_BYTES_MAX
        && value.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// `acr urn:a or urn:b, at most 300 s ago`
impl fmt::Display for StepUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acr: Vec<&str> = self.acr.iter().map(String::as_str).collect();
        let acr = (!acr.is_empty()).then(|| format!("acr {}", acr.join(" or ")));
        let age = self.max_age.map(|age| format!("at most {} s ago", age.as_secs()));
        f.write_str(&acr.into_iter().chain(age).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_login_is_held_to_the_server_s() {
        let step_up = StepUp { acr: BTreeSet::new(), max_age: Some(Duration::from_secs(300)) };
        let now = WallTime::from_unix_s(1_000_000);
        for (at_s, met) in [
            (Some(1_000_000), true),
            (Some(999_700), true),
            (Some(999_699), false),
            (Some(1_000_060), true),
            (Some(1_000_061), false),
            (None, false),
        ] {
            let authentication =
                Authentication { auth_time: at_s.map(WallTime::from_unix_s), ..Authentication::default() };
            assert_eq!(step_up.is_met_by(&authentication, now), met, "{at_s:?}");
        }
    }
}
