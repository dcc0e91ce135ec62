//! Erasing what is personal: whose or how old, why, and what stands in its place afterwards.

use super::grant::{crockford12, is_prefixed_id};
use super::text::text_type;
use super::{Person, TextError, Ticket, WallTime};

text_type! {
    /// `x-` and twelve characters.
    ErasureId, "erasure id", max 14, "is 'x-' and 12 characters of Crockford base 32 in lower case", is_erasure_id,
    pattern "^x-[0-9a-hjkmnp-tv-z]{12}$", example "x-0123456789ab"
}

impl ErasureId {
    /// The id made from 60 of the given 64 random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(format!("x-{}", crockford12(bits)).into())
    }
}

fn is_erasure_id(text: &str) -> bool {
    is_prefixed_id("x-", text)
}

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Erasable {
    /// Everything about a person.
    Person { person: Person },
    /// Everything from before a time, but for what belongs to grants that are not closed.
    Age { before: WallTime },
}

impl Erasable {
    /// The `kind` of its JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Person { .. } => "person",
            Self::Age { .. } => "age",
        }
    }

    pub const fn person(&self) -> Option<&Person> {
        if let Self::Person { person } = self { Some(person) } else { None }
    }

    pub const fn before(&self) -> Option<WallTime> {
        if let Self::Age { before } = self { Some(*before) } else { None }
    }
}

/// Why something is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErasureReason {
    /// The person asked for it (GDPR Art. 17).
    Requested,
    /// The person has left.
    Departed,
    /// It should never have been stored.
    Unlawful,
    /// It was kept for as long as it is to be.
    Retention,
    /// It had been erased before a backup that still held it was put in place.
    Restored,
}

impl ErasureReason {
    pub const ALL: [Self; 5] = [Self::Requested, Self::Departed, Self::Unlawful, Self::Retention, Self::Restored];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Departed => "departed",
            Self::Unlawful => "unlawful",
            Self::Retention => "retention",
            Self::Restored => "restored",
        }
    }
}

/// What stands in the way of erasing a person: something that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ObstacleKind {
    /// A grant of theirs, or one that they approved, is live.
    GrantLive,
    /// A request of theirs, or one that they approved, waits.
    RequestWaiting,
    /// A grant of theirs is to be reviewed.
    ReviewAwaited,
    /// Sidecars may still ship what they recorded under a grant of theirs, or one that they approved.
    AccountOpen,
    /// A revocation that they ordered, or that is about them, is being carried out.
    RevocationOpen,
    /// A policy that they proposed waits for a second administrator.
    ProposalOpen,
    /// The policy in force, or one that is proposed, names them.
    PolicyNames,
    /// A provisioning client keeps them.
    Provisioned,
    /// A fresh sign-in is demanded of them: until tokens from before have ended, that must be known.
    SignInDemanded,
    /// An erasure of theirs, or one that they ordered, is being carried out.
    ErasureOpen,
}

impl ObstacleKind {
    /// What it is, as the beginning of a sentence whose end is its id.
    pub const fn says(self) -> &'static str {
        match self {
            Self::GrantLive => "a grant is live",
            Self::RequestWaiting => "a request waits",
            Self::ReviewAwaited => "a review is awaited",
            Self::AccountOpen => "the account of a grant is not closed",
            Self::RevocationOpen => "a revocation is being carried out",
            Self::ProposalOpen => "a policy is proposed",
            Self::PolicyNames => "the policy names them",
            Self::Provisioned => "a provisioning client keeps them",
            Self::SignInDemanded => "a fresh sign-in is demanded of them, for 40 days at most",
            Self::ErasureOpen => "an erasure is being carried out",
        }
    }
}

/// How the names of those begin who were erased. Nobody who signs in is called so.
const ERASED: &str = "erased:";

impl Person {
    /// Stands for a person who was erased, everywhere they stood: random, and nobody knows for whom.
    pub fn erased(bits: u64) -> Self {
        Self(format!("{ERASED}{}", crockford12(bits)).into())
    }

    /// Stands for the `number`th person within one record, from 1, where nobody is to be recognised in another.
    pub fn erased_within(number: usize) -> Self {
        Self(format!("{ERASED}{number}").into())
    }

    pub fn is_erased(&self) -> bool {
        self.as_str().starts_with(ERASED)
    }

    /// The same, unless it is how those are called who were erased.
    ///
    /// # Errors
    /// [`TextError`]: nobody may take such a name.
    pub fn of_the_living(self) -> Result<Self, TextError> {
        if self.is_erased() {
            return Err(TextError::Malformed { what: "person", rule: "must not begin as those do who were erased" });
        }
        Ok(self)
    }
}

impl Ticket {
    /// Stands for a ticket that was erased.
    pub fn erased() -> Self {
        Self("erased".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_the_erased_can_be_read_back_and_taken_by_nobody() {
        for erased in [Person::erased(7), Person::erased_within(1)] {
            let read: Person = erased.as_str().parse().unwrap();
            assert!(read.is_erased() && read == erased && read.of_the_living().is_err());
        }
        let alice: Person = "alice@example.test".parse().unwrap();
        assert_eq!(alice.clone().of_the_living(), Ok(alice));
        assert_eq!(Ticket::erased().as_str().parse(), Ok(Ticket::erased()));
    }

    #[test]
    fn what_is_to_be_erased_is_tagged_and_takes_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Erasable>(text);
        let person = read(r#"{"kind":"person","person":"alice"}"#).unwrap();
        assert_eq!(
            (person.kind(), person.person().map(Person::as_str), person.before()),
            ("person", Some("alice"), None)
        );
        for bad in [r#"{"kind":"person"}"#, r#"{"kind":"age","person":"a","before":1}"#, r#"{"kind":"everything"}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
