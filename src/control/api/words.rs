//! Words of a body, each refused under a code of its own.

use std::str::FromStr;

use super::answer::shown;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::TextError;

pub(super) fn words<T: FromStr<Err = TextError>>(texts: &[String], cause: Cause) -> Result<Vec<T>, Refusal> {
    texts.iter().map(|text| word(text, cause)).collect()
}

pub(super) fn word<T: FromStr<Err = TextError>>(text: &str, cause: Cause) -> Result<T, Refusal> {
    text.parse().map_err(|error| Refusal::new(cause, format!("{}: {error}", quoted(text))))
}

/// A grant names exact things.
pub(super) fn without_wildcard(texts: &[String]) -> Result<(), Refusal> {
    match texts.iter().find(|text| text.contains('*')) {
        Some(text) => Err(Refusal::new(Cause::Wildcard, format!("{} holds a wildcard", quoted(text)))),
        None => Ok(()),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text, 64))
}
