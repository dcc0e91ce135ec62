//! Between rows and values. A value that does not parse was not written by this version: it is an error, never a guess.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::StoreError;
use crate::wire::api::GrantState;
use crate::wire::feed::EndCause;

/// SQLite's integers are signed. No counter of ours comes near the limit.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count of rows.
pub(super) fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A count of uses.
pub(super) fn uses(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

pub(super) fn parsed<T: FromStr>(what: &str, text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

pub(super) fn to_json<T: serde::Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

pub(super) const fn state_text(state: GrantState) -> &'static str {
    match state {
        GrantState::Active => "active",
        GrantState::Expired => "expired",
        GrantState::Revoked => "revoked",
        GrantState::UsedUp => "used_up",
    }
}

pub(super) fn state(text: &str) -> Result<GrantState, StoreError> {
    match text {
        "active" => Ok(GrantState::Active),
        "expired" => Ok(GrantState::Expired),
        "revoked" => Ok(GrantState::Revoked),
        "used_up" => Ok(GrantState::UsedUp),
        other => Err(StoreError::Corrupt(format!("state of a grant: {other:?}"))),
    }
}

pub(super) const fn ended_state(cause: EndCause) -> GrantState {
    match cause {
        EndCause::Revoked => GrantState::Revoked,
        EndCause::Expired => GrantState::Expired,
        EndCause::UsedUp => GrantState::UsedUp,
    }
}

/// How a grant in this state ended, if it did.
pub(super) const fn end_cause(state: GrantState) -> Option<EndCause> {
    match state {
        GrantState::Active => None,
        GrantState::Revoked => Some(EndCause::Revoked),
        GrantState::Expired => Some(EndCause::Expired),
        GrantState::UsedUp => Some(EndCause::UsedUp),
    }
}
