//! Entries about personal values that were erased. The log goes on as it was: only what lay beside it is gone.
//!
//! Must never: say whose values they were, or anything from which that could be guessed.

use serde_json::json;

use super::entry::{Draft, EntryKind, PersonalField};
use crate::domain::{ErasureId, ErasureReason, Person, WallTime};

/// One step of an erasure: what one transaction erased.
#[derive(Debug, Clone, Copy)]
pub struct Erased<'a> {
    pub erasure: &'a ErasureId,
    pub of: ErasedOf<'a>,
    pub reason: ErasureReason,
    /// Values that lay beside entries.
    pub values: u64,
    /// Requests and grants in which names, tickets and notes were replaced.
    pub records: u64,
    /// Nothing is left to be erased.
    pub complete: bool,
    /// Absent: the configuration asks for it.
    pub by: Option<&'a Person>,
}

/// Whose it was, in words that tell nobody.
#[derive(Debug, Clone, Copy)]
pub enum ErasedOf<'a> {
    /// `called`: what stands for them from now on. `named_at`: the first entry beside which their name lay, and the field.
    Person {
        called: &'a Person,
        named_at: Option<(u64, &'a str)>,
    },
    Age {
        before: WallTime,
    },
}

impl Draft {
    pub fn personal_erased(erased: Erased<'_>) -> Self {
        let draft = Self::new(EntryKind::PersonalErased)
            .fact("erasure", erased.erasure.as_str())
            .fact("reason", erased.reason.as_str())
            .fact("values", erased.values)
            .fact("records", erased.records)
            .fact("complete", erased.complete)
            .personal_if(PersonalField::By, erased.by.map(Person::as_str));
        match erased.of {
            ErasedOf::Person { called, named_at } => draft
                .fact("of", "person")
                .fact("called", called.as_str())
                .fact_if("named_at", named_at.map(|(entry, field)| json!({ "entry": entry, "field": field }))),
            ErasedOf::Age { before } => draft.fact("of", "age").fact("before", before.unix_ms()),
        }
    }
}
