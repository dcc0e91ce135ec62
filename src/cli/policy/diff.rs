//! `breakglass policy diff`: who gains and who loses by another policy. Exit codes as diff(1) has them: 0 the same,
//! 1 different, more is trouble.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::source::Source;
use crate::cli::args::{Format, PolicyDiffArgs};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Cell, Colour, Output};
use crate::policy::difference::{Access, Change, Difference, Effect, difference};

/// The code for two policies that differ.
const DIFFERENT: u8 = 1;

#[derive(Debug, Serialize)]
struct Report<'d> {
    /// Whether anybody is allowed more, or held to less.
    widens: bool,
    gained: Vec<AccessLine>,
    lost: Vec<AccessLine>,
    changes: &'d BTreeSet<Change>,
}

/// Accesses that differ in their actions only.
#[derive(Debug, Serialize)]
struct AccessLine {
    who: String,
    tier: String,
    service: String,
    resource: String,
    actions: Vec<String>,
}

/// Shows a difference on standard error, beside something else. Answers whether there is any.
pub(super) fn show(difference: &Difference, out: &mut Output) -> Result<bool, Failure> {
    if out.format == Format::Json {
        return Ok(!difference.is_empty());
    }
    print(difference, out)?;
    Ok(!difference.is_empty())
}

/// # Errors
/// When a policy cannot be read, or has a mistake.
pub(super) fn run(args: &PolicyDiffArgs, out: &mut Output) -> Result<u8, Failure> {
    let old = Source::of_path(&args.old, &args.services)?.load()?;
    let new = Source::of_path(&args.new, &args.services)?.load()?;
    let difference = difference(&old, &new);
    if out.format == Format::Json {
        out.json(&report(&difference))?;
    } else {
        print(&difference, out)?;
    }
    Ok(if difference.is_empty() { Exit::Ok as u8 } else { DIFFERENT })
}

fn report(difference: &Difference) -> Report<'_> {
    Report {
        widens: difference.widens(),
        gained: lines(&difference.gained),
        lost: lines(&difference.lost),
        changes: &difference.changes,
    }
}

fn lines(accesses: &BTreeSet<Access>) -> Vec<AccessLine> {
    let mut by_place: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for access in accesses {
        let place =
            (access.who.to_string(), access.tier.clone(), access.service.to_string(), access.resource.to_string());
        by_place.entry(place).or_default().push(access.action.to_string());
    }
    by_place
        .into_iter()
        .map(|((who, tier, service, resource), actions)| AccessLine { who, tier, service, resource, actions })
        .collect()
}

fn print(difference: &Difference, out: &mut Output) -> Result<(), Failure> {
    if difference.is_empty() {
        out.note("nobody gains or loses anything");
        return Ok(());
    }
    let mut rows = access_rows("+ gains", Colour::Yellow, &difference.gained);
    rows.extend(access_rows("- loses", Colour::Green, &difference.lost));
    if !rows.is_empty() {
        out.table(&["", "WHO", "TIER", "SERVICE", "RESOURCE", "ACTIONS"], &rows)?;
    }
    if difference.changes.is_empty() {
        return Ok(());
    }
    if !rows.is_empty() {
        out.line("")?;
    }
    let rows: Vec<Vec<Cell>> = difference.changes.iter().map(change_row).collect();
    out.table(&["", "ABOUT", "KEY", "OLD", "NEW"], &rows)
}

fn access_rows(mark: &str, colour: Colour, accesses: &BTreeSet<Access>) -> Vec<Vec<Cell>> {
    let row = |line: AccessLine| {
        let words = [line.who, line.tier, line.service, line.resource, line.actions.join(", ")];
        std::iter::once(Cell::coloured(mark, colour)).chain(words.into_iter().map(Cell::from)).collect()
    };
    lines(accesses).into_iter().map(row).collect()
}

fn change_row(change: &Change) -> Vec<Cell> {
    let mark = match change.effect {
        Effect::Gain => Cell::coloured("+ wider", Colour::Yellow),
        Effect::Loss => Cell::coloured("- narrower", Colour::Green),
        Effect::Both => Cell::coloured("± both", Colour::Yellow),
        Effect::Neutral => Cell::new("  other"),
    };
    let words = [&change.about, &change.key, &change.old, &change.new];
    std::iter::once(mark).chain(words.into_iter().map(Cell::from)).collect()
}
