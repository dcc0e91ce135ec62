//! `breakglass revocations`: who ended what, why, and how long it took to arrive.

use super::args::{Format, Global};
use super::enforcement::clock_time;
use super::failure::Failure;
use super::output::{Cell, Colour, Output};
use super::session::{self, Lookup};
use crate::domain::Selector;
use crate::wire::api::Page;
use crate::wire::revocations::{RecordedEnforcement, RevocationView};

/// # Errors
/// When the control plane does not answer, or refuses.
pub(super) async fn run(global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    show(session::connect(global, env, out)?.revocations().await?, out)
}

fn show(revocations: Vec<RevocationView>, out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        return out.json(&Page { items: revocations, next: None });
    }
    if revocations.is_empty() {
        out.note("no revocations");
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = revocations.iter().map(row).collect();
    out.table(&["ID", "ORDERED", "OF", "GRANTS", "BY", "ENFORCED", "WHY"], &rows)
}

fn row(view: &RevocationView) -> Vec<Cell> {
    vec![
        Cell::new(&view.id),
        clock_time(view.ordered_at).into(),
        about(&view.what).into(),
        view.grants_ended.to_string().into(),
        Cell::new(&view.by),
        enforced(view),
        view.note.as_deref().unwrap_or("-").into(),
    ]
}

fn about(what: &Selector) -> String {
    match what {
        Selector::Grant { grant } => grant.to_string(),
        Selector::Person { person } => person.to_string(),
        Selector::Resource { resource, service: None } => resource.to_string(),
        Selector::Resource { resource, service: Some(service) } => format!("{resource} of {service}"),
        Selector::Service { service } => service.to_string(),
        Selector::Everything {} => "everything".to_owned(),
        Selector::Freeze { service: None } => "freeze of everything".to_owned(),
        Selector::Freeze { service: Some(service) } => format!("freeze of {service}"),
    }
}

fn enforced(view: &RevocationView) -> Cell {
    match view.enforcement.recorded {
        Some(RecordedEnforcement { enforced: 0, stopped: 0, rejected: 0, .. }) => "nobody to tell".into(),
        Some(recorded) => {
            let time = recorded.elapsed_ms.map_or_else(|| ", time unknown".to_owned(), |ms| format!(" in {ms} ms"));
            let stopped = recorded.stopped.checked_sub(1).map(|_| format!(", {} stopped", recorded.stopped));
            format!("{}{time}{}", recorded.enforced, stopped.unwrap_or_default()).into()
        }
        None => {
            let known = &view.enforcement;
            Cell::coloured(format!("{} of {} so far", known.enforced, known.sidecars), Colour::Yellow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrival::sample::of_fourteen;
    use super::super::output::capture;
    use super::*;
    use crate::domain::{RevocationId, WallTime};

    #[test]
    fn the_table() {
        let (mut out, data, _) = capture::output(Format::Table);
        let view = RevocationView {
            id: RevocationId::from_random(3),
            what: Selector::Person { person: "alice@example.test".parse().unwrap() },
            by: "bob".parse().unwrap(),
            note: Some("left the company".into()),
            ordered_at: WallTime::from_unix_ms(1_795_313_580_123),
            complete: true,
            grants_ended: 2,
            requests_denied: 0,
            enforcement: of_fourteen(&["a-7"]),
        };
        let recorded = |stopped, elapsed_ms| RevocationView {
            enforcement: crate::wire::revocations::RevocationEnforcement {
                recorded: Some(RecordedEnforcement {
                    at: view.ordered_at,
                    enforced: 14 - stopped,
                    stopped,
                    rejected: 0,
                    elapsed_ms,
                }),
                ..of_fourteen(&[])
            },
            ..view.clone()
        };
        let frozen = RevocationView { what: Selector::Freeze { service: None }, ..recorded(1, None) };
        show(vec![view.clone(), recorded(0, Some(38)), frozen], &mut out).unwrap();
        insta::assert_snapshot!(data.text());
    }
}
