//! One entry of the ledger: canonical JSON (RFC 8785) with a dense index, and the personal values beside it.
//!
//! The bytes of an entry are what the Merkle tree hashes, for ever: they never hold a personal value, only a salted
//! commitment to it. Value and salt lie beside the entry and can be erased together; the entry stays as it is.
//! `docs/ledger-entries.md` is the format's description for readers; it and this file change together.
//!
//! Must never: put a token or a personal value into the canonical bytes.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::canonical::{Canonical, canonical};
use super::tile::ENTRY_BYTES_MAX;
use crate::domain::WallTime;
use crate::hex::hex;

/// Version of the format described in `docs/ledger-entries.md`.
pub const FORMAT_VERSION: u32 = 1;
/// Length of a salt.
pub const SALT_BYTES: usize = 32;

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    ControlStarted,
    KeyCreated,
    LedgerKeyCreated,
    AssertionKeyCertified,
    PolicyProposed,
    PolicyProposalWithdrawn,
    PolicyApplied,
    ServiceApplied,
    ElevationRequested,
    ElevationRefused,
    ElevationApproved,
    ElevationDenied,
    ElevationWithdrawn,
    ElevationLapsed,
    GrantIssued,
    GrantClaimed,
    GrantRevoked,
    GrantExpired,
    GrantUsedUp,
    GrantSuspended,
    GrantResumed,
    GrantReviewed,
    ReviewOverdue,
    FreezeChanged,
    RevocationOrdered,
    RevocationEnforced,
    DatabaseRestored,
    DataRead,
    AuditLine,
    AuditFork,
    AuditLost,
    AuditAnchored,
    GrantClosed,
    SignalReceived,
    TokenInactive,
    UserProvisioned,
    GroupProvisioned,
    PersonalErased,
}

impl EntryKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlStarted => "control_started",
            Self::KeyCreated => "key_created",
            Self::LedgerKeyCreated => "ledger_key_created",
            Self::AssertionKeyCertified => "assertion_key_certified",
            Self::PolicyProposed => "policy_proposed",
            Self::PolicyProposalWithdrawn => "policy_proposal_withdrawn",
            Self::PolicyApplied => "policy_applied",
            Self::ServiceApplied => "service_applied",
            Self::ElevationRequested => "elevation_requested",
            Self::ElevationRefused => "elevation_refused",
            Self::ElevationApproved => "elevation_approved",
            Self::ElevationDenied => "elevation_denied",
            Self::ElevationWithdrawn => "elevation_withdrawn",
            Self::ElevationLapsed => "elevation_lapsed",
            Self::GrantIssued => "grant_issued",
            Self::GrantClaimed => "grant_claimed",
            Self::GrantRevoked => "grant_revoked",
            Self::GrantExpired => "grant_expired",
            Self::GrantUsedUp => "grant_used_up",
            Self::GrantSuspended => "grant_suspended",
            Self::GrantResumed => "grant_resumed",
            Self::GrantReviewed => "grant_reviewed",
            Self::ReviewOverdue => "review_overdue",
            Self::FreezeChanged => "freeze_changed",
            Self::RevocationOrdered => "revocation_ordered",
            Self::RevocationEnforced => "revocation_enforced",
            Self::DatabaseRestored => "database_restored",
            Self::DataRead => "data_read",
            Self::AuditLine => "audit_line",
            Self::AuditFork => "audit_fork",
            Self::AuditLost => "audit_lost",
            Self::AuditAnchored => "audit_anchored",
            Self::GrantClosed => "grant_closed",
            Self::SignalReceived => "signal_received",
            Self::TokenInactive => "token_inactive",
            Self::UserProvisioned => "user_provisioned",
            Self::GroupProvisioned => "group_provisioned",
            Self::PersonalErased => "personal_erased",
        }
    }
}

/// A value that may name a human, or that a human typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalField {
    /// The human an entry is about.
    Person,
    /// The human who did it, where that is another.
    By,
    /// The second administrator.
    ConfirmedBy,
    Ticket,
    Note,
    /// Of what somebody saw: a digest of what names people, which who guesses the names could confirm.
    Etag,
    /// Thumbprint of a key or certificate that only one human has.
    Confirmation,
    /// A line of a sidecar's audit log, whole: it names who did what from where.
    Line,
}

impl PersonalField {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::By => "by",
            Self::ConfirmedBy => "confirmed_by",
            Self::Ticket => "ticket",
            Self::Note => "note",
            Self::Etag => "etag",
            Self::Confirmation => "confirmation",
            Self::Line => "line",
        }
    }
}

/// Why an entry could not be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("the entry cannot be written as canonical JSON: {0}")]
    Canonical(String),
    #[error("the system's randomness failed")]
    Randomness,
    #[error("the entry has {bytes} bytes, and may have {ENTRY_BYTES_MAX}")]
    TooLarge { bytes: usize },
}

/// An entry before it has its place.
#[derive(Debug, Clone)]
pub struct Draft {
    kind: EntryKind,
    facts: Map<String, Value>,
    personal: BTreeMap<PersonalField, String>,
    /// Commitments stand in the entry, and no value is kept beside it.
    is_bare: bool,
}

/// A sealed entry: what is stored, and later hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub at: WallTime,
    pub kind: EntryKind,
    /// RFC 8785.
    pub canonical: String,
    pub personal: Vec<PersonalValue>,
}

/// A value with the salt of its commitment.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonalValue {
    pub field: PersonalField,
    pub value: String,
    pub salt: [u8; SALT_BYTES],
}

impl fmt::Debug for PersonalValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersonalValue").field("field", &self.field).finish_non_exhaustive()
    }
}

impl PersonalValue {
    /// What stands in the entry for the value: SHA-256 of salt and value, hex.
    pub fn commitment(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.salt);
        context.update(self.value.as_bytes());
        hex(context.finish().as_ref())
    }
}

impl Draft {
    pub(super) fn new(kind: EntryKind) -> Self {
        Self { kind, facts: Map::new(), personal: BTreeMap::new(), is_bare: false }
    }

    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Absent values are left out.
    pub(super) fn fact_if<T: Into<Value>>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.fact(name, value),
            None => self,
        }
    }

    pub(super) fn personal(mut self, field: PersonalField, value: impl Into<String>) -> Self {
        self.personal.insert(field, value.into());
        self
    }

    /// As [`Draft::personal`], where there is a value.
    pub(super) fn personal_if(self, field: PersonalField, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.personal(field, value),
            None => self,
        }
    }

    /// The values are committed to and forgotten at once: they are about somebody who was erased.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.is_bare = true;
        self.fact("values_kept", false)
    }

    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Gives the draft its place. `salt` is asked once per personal value and must be fresh randomness each time.
    ///
    /// # Errors
    /// When `salt` fails, or a number lies outside what canonical JSON can say.
    pub fn seal(
        self,
        index: u64,
        at: WallTime,
        revision: Option<u64>,
        mut salt: impl FnMut() -> Result<[u8; SALT_BYTES], EntryError>,
    ) -> Result<Entry, EntryError> {
        let personal = self
            .personal
            .into_iter()
            .map(|(field, value)| Ok(PersonalValue { field, value, salt: salt()? }))
            .collect::<Result<Vec<_>, EntryError>>()?;
        let commitments = personal.iter().map(|value| (value.field.as_str(), value.commitment())).collect();
        let document = Canonical {
            at,
            facts: &self.facts,
            format: FORMAT_VERSION,
            index,
            kind: self.kind,
            personal: commitments,
            revision,
        };
        let canonical = canonical(&document)?;
        if canonical.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLarge { bytes: canonical.len() });
        }
        let personal = if self.is_bare { Vec::new() } else { personal };
        Ok(Entry { index, at, kind: self.kind, canonical, personal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(salt: u8) -> Entry {
        Draft::new(EntryKind::GrantRevoked)
            .fact("grant", "g-0123456789ab")
            .fact("actions", vec!["b", "a"])
            .personal(PersonalField::Person, "alice@example.test")
            .seal(7, WallTime::from_unix_ms(1_795_313_580_123), Some(3), || Ok([salt; SALT_BYTES]))
            .unwrap()
    }

    #[test]
    fn an_entry_is_canonical_and_holds_no_personal_value() {
        let entry = sealed(0);
        // printf '\0%.0s' {1..32} | cat - <(printf alice@example.test) | sha256sum
        let commitment = entry.personal[0].commitment();
        assert_eq!(
            entry.canonical,
            format!(
                r#"{{"at":1795313580123,"facts":{{"actions":["b","a"],"grant":"g-0123456789ab"}},"format":1,"index":7,"kind":"grant_revoked","personal":{{"person":"{commitment}"}},"revision":3}}"#
            )
        );
        assert!(!entry.canonical.contains("alice"));
        assert!(!format!("{entry:?}").contains("alice"));
    }

    #[test]
    fn a_commitment_is_sha_256_of_salt_and_value() {
        let value = PersonalValue { field: PersonalField::Ticket, value: "INC-2041".into(), salt: [7; SALT_BYTES] };
        let mut bytes = vec![7_u8; 32];
        bytes.extend_from_slice(b"INC-2041");
        assert_eq!(value.commitment(), hex(digest::digest(&digest::SHA256, &bytes).as_ref()));
        assert_ne!(sealed(1).canonical, sealed(2).canonical, "another salt is another commitment");
    }

    #[test]
    fn an_entry_that_no_bundle_can_hold_is_refused() {
        let sealed = |length: usize| {
            let draft = Draft::new(EntryKind::GrantRevoked).fact("why", "x".repeat(length));
            draft.seal(0, WallTime::EPOCH, None, || Ok([0; SALT_BYTES]))
        };
        let around = sealed(0).unwrap().canonical.len();
        assert_eq!(sealed(ENTRY_BYTES_MAX - around).unwrap().canonical.len(), ENTRY_BYTES_MAX);
        let bytes = ENTRY_BYTES_MAX + 1;
        assert_eq!(sealed(bytes - around).unwrap_err(), EntryError::TooLarge { bytes });
    }

    #[test]
    fn values_that_are_not_kept_are_committed_to_all_the_same() {
        let draft = Draft::new(EntryKind::AuditLine).personal(PersonalField::Line, "alice was here").without_values();
        let entry = draft.seal(0, WallTime::EPOCH, None, || Ok([3; SALT_BYTES])).unwrap();
        let kept = PersonalValue { field: PersonalField::Line, value: "alice was here".into(), salt: [3; SALT_BYTES] };
        assert!(entry.personal.is_empty() && entry.canonical.contains(&kept.commitment()));
        assert!(entry.canonical.contains(r#""values_kept":false"#));
    }

    #[test]
    fn a_failing_salt_seals_nothing() {
        let draft = Draft::new(EntryKind::GrantIssued).personal(PersonalField::Person, "alice");
        let error = draft.seal(0, WallTime::EPOCH, None, || Err(EntryError::Randomness)).unwrap_err();
        assert_eq!(error, EntryError::Randomness);
    }
}
