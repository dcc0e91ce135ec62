//! Waiting for those who approve: who they are, what they type, how far it has come, and how it ended.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::api::Api;
use super::enforcement::{clock_time, span};
use super::failure::{Exit, Failure};
use super::output::Output;
use super::requests::{approved, wants};
use crate::clock::Clock;
use crate::domain::{ElevationState, Person};
use crate::wire::api::ElevationView;

/// Pause between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Says whom the request waits for, and what they are to do.
pub(super) fn announce(view: &ElevationView, out: &mut Output) {
    let wanted = view.wanted.as_ref().map(wants).unwrap_or_else(|| "an answer".to_owned());
    let lapses = view.lapses_at.map(|at| format!("; it lapses at {}", clock_time(at))).unwrap_or_default();
    out.note(&format!("{} waits for {wanted}{lapses}", view.id));
    out.note(&format!("they look at it and approve it with: breakglass approve {}", view.id));
}

/// Asks until the request has been decided, it lapses, or `patience` is over. The approved request.
///
/// # Errors
/// When it was denied, withdrawn, not answered in time, or the control plane refuses to tell.
pub(super) async fn wait(
    api: &Api,
    mut view: ElevationView,
    patience: Option<Duration>,
    out: &mut Output,
) -> Result<ElevationView, Failure> {
    let end = patience.map(|patience| Instant::now() + patience);
    let mut told: BTreeSet<Person> = BTreeSet::new();
    loop {
        tell_new(&view, &mut told, out);
        match view.state {
            ElevationState::Approved => return Ok(view),
            ElevationState::Requested => {}
            ElevationState::Denied | ElevationState::Withdrawn | ElevationState::Lapsed => return Err(ended(&view)),
        }
        let left = view.lapses_at.map(|at| format!(", {} left", span(at.since(Clock::System.wall()))));
        out.progress(&format!("waiting: {} approved{}", approved(&view), left.unwrap_or_default()));
        if end.is_some_and(|end| Instant::now() + ASK_EVERY > end) {
            return Err(unanswered(&view));
        }
        tokio::time::sleep(ASK_EVERY).await;
        match api.elevation(&view.id).await {
            Ok(now) => view = now,
            // The request outlives a control plane that is away for a moment.
            Err(error) if error.may_pass() => out.progress("waiting: the control plane does not answer; asking on"),
            Err(error) => return Err(error.into()),
        }
    }
}

/// One line for each approval that is new.
fn tell_new(view: &ElevationView, told: &mut BTreeSet<Person>, out: &mut Output) {
    for approval in &view.approvals {
        if told.insert(approval.by.clone()) {
            out.note(&format!("{} approved it", approval.by));
        }
    }
}

fn ended(view: &ElevationView) -> Failure {
    let by = view.decided_by.as_ref().map(|person| format!(" by {person}")).unwrap_or_default();
    let note = view.decided_note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    match view.state {
        ElevationState::Lapsed => Failure::new(
            Exit::Unreachable,
            format!("{} lapsed: nobody answered in time", view.id),
            "reach those who approve, and ask again",
        ),
        _ => Failure::new(
            Exit::Refused,
            format!("{} was {}{by}{note}", view.id, view.state.as_str()),
            "settle it with them, and ask again if it is still needed",
        ),
    }
}

fn unanswered(view: &ElevationView) -> Failure {
    let message = format!("{} still waits: {} approved", view.id, approved(view));
    let hint = format!(
        "look again with `breakglass requests show {id}`, or take it back with `breakglass withdraw {id}`",
        id = view.id
    );
    Failure::new(Exit::Unreachable, message, hint)
}

#[cfg(test)]
mod tests {
    use super::super::args::Format;
    use super::super::output::capture;
    use super::super::requests::sample;
    use super::*;

    #[test]
    fn who_is_waited_for_and_what_they_type() {
        let (mut out, _, talk) = capture::output(Format::Table);
        announce(&sample::waiting(), &mut out);
        let mut told = BTreeSet::new();
        tell_new(&sample::waiting(), &mut told, &mut out);
        tell_new(&sample::waiting(), &mut told, &mut out);
        assert_eq!(
            talk.text(),
            "e-000000000009 waits for 2 approvals of payments-leads, risk, one of each; it lapses at \
             1970-01-01T01:00:00Z\nthey look at it and approve it with: breakglass approve e-000000000009\n\
             bob@example.com approved it\n"
        );
    }

    #[test]
    fn each_end_has_its_code() {
        let in_state = |state| ElevationView { state, ..sample::waiting() };
        let denied = ElevationView {
            decided_by: Some("bob@example.com".parse().unwrap()),
            decided_note: Some("not tonight".into()),
            ..in_state(ElevationState::Denied)
        };
        let failure = ended(&denied);
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Refused, "e-000000000009 was denied by bob@example.com: not tonight",)
        );
        assert_eq!(ended(&in_state(ElevationState::Withdrawn)).exit, Exit::Refused);
        assert_eq!(ended(&in_state(ElevationState::Lapsed)).exit, Exit::Unreachable);
        assert_eq!(unanswered(&sample::waiting()).exit, Exit::Unreachable);
    }
}
