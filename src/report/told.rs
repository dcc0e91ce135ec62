//! One entry of the ledger, read back out of its canonical bytes, with the personal values that are still beside it.
//!
//! The members are those of `docs/ledger-entries.md`. A kind or a member that this version does not know is passed over.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde::{Deserialize, Deserializer};

use crate::domain::WallTime;
use crate::ledger::entry::{EntryKind, PersonalField};
use crate::wire::reports::Personal;

type Text<'a> = Option<Cow<'a, str>>;
type Texts<'a> = Option<Vec<Cow<'a, str>>>;

/// An entry and what is known of it.
#[derive(Debug)]
pub struct Told<'a> {
    pub index: u64,
    pub at: WallTime,
    pub kind: EntryKind,
    pub facts: Facts<'a>,
    committed: BTreeSet<Cow<'a, str>>,
    values: &'a BTreeMap<String, String>,
}

/// Facts of every kind that a report reads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Facts<'a> {
    #[serde(borrow)]
    pub grant: Text<'a>,
    #[serde(borrow)]
    pub elevation: Text<'a>,
    #[serde(borrow)]
    pub revocation: Text<'a>,
    #[serde(borrow)]
    pub service: Text<'a>,
    #[serde(borrow)]
    pub team: Text<'a>,
    #[serde(borrow)]
    pub tier: Text<'a>,
    #[serde(borrow)]
    pub role: Text<'a>,
    #[serde(borrow)]
    pub reason: Text<'a>,
    #[serde(borrow)]
    pub binding: Text<'a>,
    #[serde(borrow)]
    pub idp: Text<'a>,
    #[serde(borrow)]
    pub admitted_by: Text<'a>,
    #[serde(borrow)]
    pub stood_in: Text<'a>,
    #[serde(borrow)]
    pub resources: Texts<'a>,
    #[serde(borrow)]
    pub actions: Texts<'a>,
    #[serde(borrow)]
    pub groups: Texts<'a>,
    #[serde(borrow)]
    pub acr: Text<'a>,
    #[serde(borrow)]
    pub amr: Texts<'a>,
    pub auth_time: Option<WallTime>,
    pub duration_s: Option<u64>,
    pub max_uses: Option<u64>,
    pub number: Option<u64>,
    pub complete: Option<bool>,
    pub policy_revision: Option<u64>,
    pub not_before: Option<WallTime>,
    pub expires: Option<WallTime>,
    pub review_due_s: Option<u64>,
    #[serde(borrow)]
    pub token_sha256: Text<'a>,
    #[serde(borrow)]
    pub code: Text<'a>,
    #[serde(borrow)]
    pub cause: Text<'a>,
    #[serde(borrow)]
    pub why: Text<'a>,
    #[serde(borrow)]
    pub of: Text<'a>,
    #[serde(borrow)]
    pub verdict: Text<'a>,
    pub late: Option<bool>,
    pub grants: Option<u64>,
    pub enforced: Option<u64>,
    pub stopped: Option<u64>,
    pub rejected: Option<u64>,
    pub elapsed_ms: Option<u64>,
    #[serde(borrow)]
    pub transmitter: Text<'a>,
    #[serde(borrow)]
    pub instance: Text<'a>,
    #[serde(borrow)]
    pub log_id: Text<'a>,
    pub seq: Option<u64>,
    #[serde(borrow)]
    pub line: Text<'a>,
    pub recorded_at: Option<WallTime>,
    #[serde(borrow)]
    pub decision: Text<'a>,
    #[serde(borrow)]
    pub resource: Text<'a>,
    #[serde(borrow)]
    pub action: Text<'a>,
    #[serde(borrow)]
    pub end: Text<'a>,
    pub status: Option<u16>,
    #[serde(borrow)]
    pub intent: Option<Place<'a>>,
    pub overrides: Option<u64>,
    #[serde(borrow)]
    pub ends: Option<BTreeMap<Cow<'a, str>, u64>>,
    pub open: Option<u64>,
    pub refusals: Option<u64>,
    pub spent: Option<u64>,
    pub assertions: Option<u64>,
    pub signed: Option<u64>,
    #[serde(borrow)]
    pub differences: Texts<'a>,
    #[serde(borrow)]
    pub missing: Texts<'a>,
    pub reconciled: Option<bool>,
    pub amends: Option<u64>,
    #[serde(borrow)]
    pub counts: Option<Vec<Count<'a>>>,
}

/// What a sidecar left out of its log, of one kind and code.
#[derive(Debug, Deserialize)]
pub struct Count<'a> {
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub code: Cow<'a, str>,
    pub count: u64,
}

/// A place in a sidecar's log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Place<'a> {
    #[serde(borrow)]
    pub log_id: Cow<'a, str>,
    pub seq: u64,
}

#[derive(Deserialize)]
struct Document<'a> {
    index: u64,
    at: WallTime,
    #[serde(deserialize_with = "known_kind")]
    kind: Option<EntryKind>,
    #[serde(borrow, default)]
    facts: Facts<'a>,
    #[serde(borrow, default)]
    personal: BTreeMap<Cow<'a, str>, serde::de::IgnoredAny>,
}

fn known_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EntryKind>, D::Error> {
    let name = <&'de str>::deserialize(deserializer)?;
    let name: StrDeserializer<'_, NameError> = name.into_deserializer();
    Ok(EntryKind::deserialize(name).ok())
}

impl<'a> Told<'a> {
    /// `None`: an entry of a kind that this version does not know.
    ///
    /// # Errors
    /// When the bytes are no entry.
    pub fn read(canonical: &'a str, values: &'a BTreeMap<String, String>) -> Result<Option<Self>, serde_json::Error> {
        let document: Document<'a> = serde_json::from_str(canonical)?;
        let Document { index, at, facts, personal, .. } = document;
        let committed = personal.into_keys().collect();
        Ok(document.kind.map(|kind| Self { index, at, kind, facts, committed, values }))
    }

    pub fn personal(&self, field: PersonalField) -> Personal {
        let value = self.values.get(field.as_str()).cloned();
        let erased = value.is_none() && self.committed.contains(field.as_str());
        Personal { value, erased }
    }
}

/// Owned, and empty where there is none.
pub(super) fn text(text: &Text<'_>) -> String {
    text.as_deref().unwrap_or_default().to_owned()
}

pub(super) fn some_text(text: &Text<'_>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

pub(super) fn texts(texts: &Texts<'_>) -> Vec<String> {
    texts.iter().flatten().map(|text| text.clone().into_owned()).collect()
}
