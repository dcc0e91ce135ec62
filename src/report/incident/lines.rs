//! What sidecars recorded under one grant: intents with their outcomes, and refusals.
//!
//! An outcome names its intent by log and sequence. An unknown outcome is one, too: the intent is closed by it.

use std::collections::{BTreeMap, BTreeSet};

use super::LISTED_MAX;
use crate::domain::WallTime;
use crate::ledger::entry::PersonalField;
use crate::report::line::Line;
use crate::report::told::{Told, some_text, text};
use crate::wire::reports::{OutcomeTold, OverrideTold, RefusalTold};

/// Numbers above this are counted, and gaps among them are not named.
const NUMBERS_MAX: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Lines {
    listed: Vec<OverrideTold>,
    /// Where the intent at a place stands in the list.
    places: BTreeMap<(String, u64), usize>,
    refusals: Vec<RefusalTold>,
    numbers: BTreeSet<u64>,
    pub(super) intents: u64,
    pub(super) outcomes: u64,
    pub(super) refused: u64,
    pub(super) last_used: Option<WallTime>,
    pub(super) actions: BTreeMap<String, u64>,
    pub(super) resources: BTreeMap<String, u64>,
}

impl Lines {
    pub(super) fn take(&mut self, told: &Told<'_>) {
        match told.facts.line.as_deref() {
            Some("intent") => self.intent(told),
            Some("outcome" | "unknown_outcome") => self.outcome(told),
            Some("refusal") => self.refusal(told),
            _ => {}
        }
    }

    fn intent(&mut self, told: &Told<'_>) {
        let facts = &told.facts;
        let at = recorded(told);
        self.intents = self.intents.saturating_add(1);
        self.last_used = self.last_used.max(Some(at));
        *self.actions.entry(text(&facts.action)).or_default() += 1;
        *self.resources.entry(text(&facts.resource)).or_default() += 1;
        let number = facts.number.unwrap_or_default();
        if self.numbers.len() < NUMBERS_MAX {
            self.numbers.insert(number);
        }
        if self.listed.len() >= LISTED_MAX {
            return;
        }
        self.places.insert((text(&facts.log_id), facts.seq.unwrap_or_default()), self.listed.len());
        self.listed.push(OverrideTold {
            number,
            entry: told.index,
            at,
            instance: text(&facts.instance),
            resource: text(&facts.resource),
            action: text(&facts.action),
            asked: line(told).map(|line| line.asked()),
            outcome: None,
        });
    }

    fn outcome(&mut self, told: &Told<'_>) {
        self.outcomes = self.outcomes.saturating_add(1);
        let place = told.facts.intent.as_ref().map(|place| (place.log_id.clone().into_owned(), place.seq));
        let listed = place.and_then(|place| self.places.get(&place));
        if let Some(listed) = listed.and_then(|at| self.listed.get_mut(*at)) {
            listed.outcome = Some(outcome(told));
        }
    }

    fn refusal(&mut self, told: &Told<'_>) {
        self.refused = self.refused.saturating_add(1);
        if self.refusals.len() >= LISTED_MAX {
            return;
        }
        let facts = &told.facts;
        self.refusals.push(RefusalTold {
            entry: told.index,
            at: recorded(told),
            instance: text(&facts.instance),
            code: text(&facts.decision),
            resource: some_text(&facts.resource),
            action: some_text(&facts.action),
            asked: line(told).map(|line| line.asked()),
        });
    }

    /// Numbers from 1 to the greatest that no intent has; at most `limit`.
    pub(super) fn missing(&self, limit: usize) -> Vec<u64> {
        let greatest = self.numbers.last().copied().unwrap_or_default();
        (1..=greatest).filter(|number| !self.numbers.contains(number)).take(limit).collect()
    }

    /// By number, and how many are not listed.
    pub(super) fn overrides(&mut self) -> (Vec<OverrideTold>, u64) {
        let mut listed = std::mem::take(&mut self.listed);
        listed.sort_by_key(|told| (told.number, told.entry));
        let left_out = self.intents.saturating_sub(count(listed.len()));
        (listed, left_out)
    }

    pub(super) fn refusals(&mut self) -> (Vec<RefusalTold>, u64) {
        let listed = std::mem::take(&mut self.refusals);
        let left_out = self.refused.saturating_sub(count(listed.len()));
        (listed, left_out)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn recorded(told: &Told<'_>) -> WallTime {
    told.facts.recorded_at.unwrap_or(told.at)
}

fn line(told: &Told<'_>) -> Option<Line> {
    told.personal(PersonalField::Line).value.as_deref().and_then(Line::read)
}

fn outcome(told: &Told<'_>) -> OutcomeTold {
    let line = line(told);
    let duration_ms = line.as_ref().and_then(Line::duration_ms);
    let (request, response) = line.map(Line::bodies).unwrap_or_default();
    OutcomeTold {
        entry: told.index,
        at: recorded(told),
        end: some_text(&told.facts.end).unwrap_or_else(|| "unknown".to_owned()),
        cause: some_text(&told.facts.cause),
        status: told.facts.status,
        duration_ms,
        request,
        response,
    }
}
