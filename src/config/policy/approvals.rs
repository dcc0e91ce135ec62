//! `approvals`: how many other people must agree, and which.

use std::collections::BTreeSet;
use std::fmt;

use super::step_up::StepUp;
use crate::config::reader::Section;
use crate::domain::Person;

const COUNT_MAX: u64 = 16;

/// Which other people must agree before a grant is made. The default: nobody, and then a review is mandatory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approvals {
    /// How many distinct persons.
    pub count: u32,
    /// Each of them a member of one of these. Never empty where the count is not 0.
    pub groups: BTreeSet<String>,
    /// Whether each of the groups must be stood for, by a person of its own.
    pub every_group: bool,
    /// How strongly and how lately each of them must have authenticated when they agree. What was agreed to before a
    /// policy asked for it stands.
    pub step_up: Option<StepUp>,
}

/// Someone who agreed, with the groups they were in at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    pub person: Person,
    pub groups: BTreeSet<String>,
}

impl Approvals {
    pub const fn is_wanted(&self) -> bool {
        self.count > 0
    }

    /// Whether a member of `groups` may approve at all.
    pub fn is_open_to<'g>(&self, groups: impl IntoIterator<Item = &'g String>) -> bool {
        groups.into_iter().any(|group| self.groups.contains(group))
    }

    /// Whether these people are enough. A person who stands twice counts once.
    pub fn are_met_by(&self, approvers: &[Approver]) -> bool {
        let mut counting: Vec<&Approver> = Vec::new();
        for approver in approvers.iter().filter(|approver| self.is_open_to(&approver.groups)) {
            if !counting.iter().any(|known| known.person == approver.person) {
                counting.push(approver);
            }
        }
        let enough = counting.len() >= usize::try_from(self.count).unwrap_or(usize::MAX);
        enough && (!self.every_group || self.each_group_has_its_own(&counting))
    }

    /// Kuhn's algorithm: a person for each group, no person for two.
    fn each_group_has_its_own(&self, approvers: &[&Approver]) -> bool {
        let groups: Vec<&String> = self.groups.iter().collect();
        let mut stands_for: Vec<Option<usize>> = vec![None; approvers.len()];
        (0..groups.len())
            .all(|group| find_for(group, &groups, approvers, &mut stands_for, &mut vec![false; approvers.len()]))
    }

    /// Whether whoever meets these meets the `outer` too.
    pub fn is_within(&self, outer: &Self) -> bool {
        if !outer.is_wanted() {
            return true;
        }
        let each = !outer.every_group || (self.every_group && self.groups == outer.groups);
        let step_up = match (&self.step_up, &outer.step_up) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(outer)) => own.is_within(outer),
        };
        self.count >= outer.count && self.groups.is_subset(&outer.groups) && each && step_up
    }

    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        if !section.has("approvals") {
            return None;
        }
        let Some(table) = section.has_table("approvals").then(|| section.section("approvals")).flatten() else {
            if section.integer("approvals", 0..=COUNT_MAX, 0) > 0 {
                let hint = "such as approvals = { count = 2, groups = [\"payments-leads\"] }";
                section.mistake("approvals", "must say who approves", Some(hint));
            }
            return Some(Self::default());
        };
        Some(Self::read_table(&table))
    }

    fn read_table(table: &Section<'_>) -> Self {
        if !table.has("count") {
            table.missing("count");
        }
        let count = table.integer("count", 0..=COUNT_MAX, 0);
        let groups: BTreeSet<String> =
            if count > 0 { table.required_list("groups") } else { table.list("groups") }.into_iter().collect();
        let every_group = table.boolean("every_group", false);
        let step_up = StepUp::read(table).flatten();
        if every_group && count < u64::try_from(groups.len()).unwrap_or(u64::MAX) && table.has("count") {
            let what = format_args!("must be at least {}, one for every group", groups.len());
            table.mistake("count", what, None);
        }
        if count == 0 {
            return Self::default();
        }
        Self { count: u32::try_from(count).unwrap_or(u32::MAX), groups, every_group, step_up }
    }
}

fn find_for(
    group: usize,
    groups: &[&String],
    approvers: &[&Approver],
    stands_for: &mut [Option<usize>],
    asked: &mut [bool],
) -> bool {
    let Some(name) = groups.get(group) else { return false };
    for (at, approver) in approvers.iter().enumerate() {
        let is_new = asked.get(at) == Some(&false);
        if !is_new || !approver.groups.contains(*name) {
            continue;
        }
        if let Some(asked) = asked.get_mut(at) {
            *asked = true;
        }
        let free = match stands_for.get(at).copied().flatten() {
            None => true,
            Some(other) => find_for(other, groups, approvers, stands_for, asked),
        };
        if free {
            if let Some(place) = stands_for.get_mut(at) {
                *place = Some(group);
            }
            return true;
        }
    }
    false
}

/// `none`, `1 of payments-leads`, `2 of payments-leads, risk, one of each, logged in with acr urn:a, at most 300 s ago`
impl fmt::Display for Approvals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_wanted() {
            return f.write_str("none");
        }
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        write!(f, "{} of {}", self.count, groups.join(", "))?;
        if self.every_group {
            f.write_str(", one of each")?;
        }
        self.step_up.as_ref().map_or(Ok(()), |step_up| write!(f, ", logged in with {step_up}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(groups: &[&str]) -> BTreeSet<String> {
        groups.iter().map(ToString::to_string).collect()
    }

    fn by(people: &[(&str, &[&str])]) -> Vec<Approver> {
        people
            .iter()
            .map(|(person, groups)| Approver { person: person.parse().unwrap(), groups: set(groups) })
            .collect()
    }

    #[test]
    fn distinct_people_of_the_groups_count() {
        let two = Approvals { count: 2, groups: set(&["leads", "risk"]), ..Approvals::default() };
        for (people, met) in [
            (&[("ann", &["leads"][..]), ("bob", &["leads"])][..], true),
            (&[("ann", &["leads"]), ("ann", &["risk"])], false),
            (&[("ann", &["leads"]), ("bob", &["guests"])], false),
            (&[("ann", &["leads", "risk"])], false),
            (&[], false),
        ] {
            assert_eq!(two.are_met_by(&by(people)), met, "{people:?}");
        }
        assert!(Approvals::default().are_met_by(&[]));
    }

    #[test]
    fn a_login_that_may_be_weaker_is_wider() {
        let wants = |max_age_s: Option<u64>| Approvals {
            count: 1,
            groups: set(&["leads"]),
            step_up: max_age_s
                .map(|most| StepUp { acr: BTreeSet::new(), max_age: Some(std::time::Duration::from_secs(most)) }),
            ..Approvals::default()
        };
        assert!(wants(Some(60)).is_within(&wants(Some(300))) && wants(Some(60)).is_within(&wants(None)));
        assert!(!wants(Some(300)).is_within(&wants(Some(60))) && !wants(None).is_within(&wants(Some(60))));
        assert_eq!(wants(Some(60)).to_string(), "1 of leads, logged in with at most 60 s ago");
    }

    #[test]
    fn every_group_wants_a_person_of_its_own() {
        let three = Approvals { count: 3, groups: set(&["leads", "legal", "risk"]), every_group: true, step_up: None };
        for (people, met) in [
            (&[("ann", &["leads"][..]), ("bob", &["legal"]), ("cy", &["risk"])][..], true),
            (&[("ann", &["leads", "legal", "risk"]), ("bob", &["leads"]), ("cy", &["legal"])], true),
            (&[("ann", &["leads", "legal", "risk"]), ("bob", &["leads"]), ("cy", &["leads"])], false),
        ] {
            assert_eq!(three.are_met_by(&by(people)), met, "{people:?}");
        }
    }
}
