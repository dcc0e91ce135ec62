//! The rows of one table: a tally for each name, of a bounded number of names.
//!
//! Names beyond [`NAMES_MAX`] share one row; so do, in what is told, those beyond [`TOLD_MAX`]. Nothing is left uncounted.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::tally::Tally;
use crate::wire::reports::{Personal, Row, RowKind, Totals};

/// Names that are counted apart.
const NAMES_MAX: usize = 10_000;
/// Rows that are told, the largest.
const TOLD_MAX: usize = 500;

/// A row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RowId(usize);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Named(String),
    Erased,
    None,
}

impl Name {
    pub(super) fn of(text: Option<&str>) -> Self {
        text.map_or(Self::None, |text| Self::Named(text.to_owned()))
    }
}

impl From<Personal> for Name {
    fn from(told: Personal) -> Self {
        match told {
            Personal { value: Some(value), .. } => Self::Named(value),
            Personal { erased: true, .. } => Self::Erased,
            Personal { .. } => Self::None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    by_name: HashMap<Name, RowId>,
    tallies: Vec<Tally>,
    others: Tally,
}

impl Rows {
    /// The row of a name, for as long as there is room.
    pub(super) fn id(&mut self, name: Name) -> RowId {
        if let Some(id) = self.by_name.get(&name) {
            return *id;
        }
        if self.tallies.len() >= NAMES_MAX {
            return RowId(usize::MAX);
        }
        let id = RowId(self.tallies.len());
        self.tallies.push(Tally::default());
        self.by_name.insert(name, id);
        id
    }

    pub(super) fn tally(&mut self, id: RowId) -> &mut Tally {
        self.tallies.get_mut(id.0).unwrap_or(&mut self.others)
    }

    /// The largest first; what is not told apart is one last row.
    pub(super) fn told(&self) -> Vec<Row> {
        let mut named: Vec<(&Name, &Tally)> =
            self.by_name.iter().filter_map(|(name, id)| Some((name, self.tallies.get(id.0)?))).collect();
        // A name that entries mentioned and nothing was counted for.
        named.retain(|(_, tally)| tally.told() != Totals::default());
        named.sort_by_cached_key(|(name, tally)| (Reverse(tally.weight()), order(name)));
        let mut others = self.others.clone();
        named.iter().skip(TOLD_MAX).for_each(|(_, tally)| others.merge(tally));
        let mut rows: Vec<Row> = named.iter().take(TOLD_MAX).map(|(name, tally)| row(name, tally)).collect();
        let others = others.told();
        if others != Totals::default() {
            rows.push(Row { kind: RowKind::Others, name: None, totals: others });
        }
        rows
    }
}

fn order(name: &Name) -> (RowKind, Option<String>) {
    match name {
        Name::Named(name) => (RowKind::Named, Some(name.clone())),
        Name::Erased => (RowKind::Erased, None),
        Name::None => (RowKind::None, None),
    }
}

fn row(name: &Name, tally: &Tally) -> Row {
    let (kind, name) = order(name);
    Row { kind, name, totals: tally.told() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_share_a_row_and_nothing_is_lost() {
        let mut rows = Rows::default();
        for n in 0..NAMES_MAX + 7 {
            let id = rows.id(Name::Named(format!("contract/C-{n}")));
            rows.tally(id).counts.grants += 1;
        }
        let id = rows.id(Name::Named("contract/C-3".to_owned()));
        rows.tally(id).counts.grants += 1;
        let told = rows.told();
        assert_eq!(told.len(), TOLD_MAX + 1);
        assert_eq!((told[0].name.as_deref(), told[0].totals.grants), (Some("contract/C-3"), 2));
        let others = told.last().unwrap();
        assert_eq!((others.kind, others.name.as_deref()), (RowKind::Others, None));
        let sum: u64 = told.iter().map(|row| row.totals.grants).sum();
        assert_eq!(sum, NAMES_MAX as u64 + 8);
    }
}
