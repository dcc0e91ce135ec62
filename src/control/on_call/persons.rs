//! From what a source calls somebody to a person as issuers name them.
//!
//! Who can't be mapped is on call for nobody: it must never guess, and never match by a part of a name alone.

use std::collections::BTreeMap;

use crate::config::schedule::{PersonMapping, PersonRule};
use crate::domain::{Person, WallTime};

/// What a source says of one of its people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) email: Option<String>,
    /// A name of the source's own.
    pub(super) id: Option<String>,
}

impl Handle {
    /// `None` when it is no address.
    pub(super) fn of_email(text: &str) -> Option<Self> {
        let email = text.trim();
        split(email).map(|_| Self { email: Some(email.to_owned()), id: None })
    }

    /// Of a text that may be an address and may be anything.
    pub(super) fn of_text(text: &str) -> Self {
        Self { email: split(text).map(|_| text.to_owned()), id: Some(text.to_owned()) }
    }
}

/// Local part and domain.
fn split(email: &str) -> Option<(&str, &str)> {
    let (local, domain) = email.split_once('@')?;
    let fits = !local.is_empty() && !domain.is_empty() && !domain.contains('@');
    (fits && email.bytes().all(|b| b.is_ascii_graphic())).then_some((local, domain))
}

/// Somebody is on duty from one time to another; without a time: always before, or ever after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) handle: Handle,
    pub(super) from: Option<WallTime>,
    pub(super) until: Option<WallTime>,
}

/// What a source answered.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) turns: Vec<Turn>,
    /// Entries that could not be read, or name nobody.
    pub(super) unread: usize,
}

/// A turn of a person we know by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shift {
    pub(super) who: Who,
    from: Option<WallTime>,
    pub(super) until: Option<WallTime>,
}

impl Shift {
    pub(super) fn covers(&self, at: WallTime) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// A person, or everybody whose name differs from it by the case of its letters only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    person: Person,
    any_case: bool,
}

impl Who {
    pub(super) fn is(&self, person: &Person) -> bool {
        match self.any_case {
            true => self.person.as_str().eq_ignore_ascii_case(person.as_str()),
            false => self.person == *person,
        }
    }

    /// The same for the same person: for counting.
    pub(super) fn key(&self) -> String {
        let name = self.person.as_str();
        if self.any_case { name.to_ascii_lowercase() } else { name.to_owned() }
    }
}

/// The shifts of what was found, and how many turns are of nobody we know.
pub(super) fn map(mapping: &PersonMapping, found: &Found) -> (Vec<Shift>, usize) {
    let exact = Exact::of(mapping);
    let shift = |turn: &Turn| {
        let who = exact.find(&turn.handle).or_else(|| by_rule(mapping, &turn.handle))?;
        Some(Shift { who, from: turn.from, until: turn.until })
    };
    let shifts: Vec<Shift> = found.turns.iter().filter_map(shift).collect();
    let strangers = found.turns.len() - shifts.len();
    (shifts, strangers)
}

/// The table of persons: addresses by their lower-case form, all else byte for byte.
struct Exact<'m> {
    mapping: &'m PersonMapping,
    by_email: BTreeMap<String, &'m Person>,
}

impl<'m> Exact<'m> {
    fn of(mapping: &'m PersonMapping) -> Self {
        let emails = mapping.exact.iter().filter(|(name, _)| split(name).is_some());
        Self { mapping, by_email: emails.map(|(name, person)| (name.to_ascii_lowercase(), person)).collect() }
    }

    fn find(&self, handle: &Handle) -> Option<Who> {
        let by_id = handle.id.as_ref().and_then(|id| self.mapping.exact.get(id));
        let by_email =
            || handle.email.as_ref().and_then(|email| self.by_email.get(&email.to_ascii_lowercase()).copied());
        by_id.or_else(by_email).map(|person| Who { person: person.clone(), any_case: false })
    }
}

fn by_rule(mapping: &PersonMapping, handle: &Handle) -> Option<Who> {
    let (name, any_case) = match &mapping.rule {
        PersonRule::Email => (handle.email.as_deref()?, true),
        PersonRule::Id => (handle.id.as_deref()?, false),
        PersonRule::Login { domain } => {
            let (local, of) = split(handle.email.as_deref()?)?;
            (of.eq_ignore_ascii_case(domain).then_some(local)?, true)
        }
        PersonRule::Table => return None,
    };
    let person = format!("{}{name}", mapping.prefix).parse().ok()?;
    Some(Who { person, any_case })
}
