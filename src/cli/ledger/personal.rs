//! The personal values behind entries: fetched for an export, and checked against the commitments that entries hold.
//!
//! INVARIANT: what is written fits its commitment, and lies in a file for its owner alone.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::export::unwritable;
use super::unverified;
use crate::cli::api::Api;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::private_files;
use crate::domain::GrantId;
use crate::ledger::entry::{PersonalField, PersonalValue, SALT_BYTES};
use crate::wire::erasures::PersonalValueView;

/// The file's name in the folder of an export.
pub(super) const FILE: &str = "personal-values.json";
/// Entries whose values are asked for at once.
const ENTRIES_MAX: usize = 500;

/// What entries commit to, by entry and field.
#[derive(Debug, Default)]
pub(super) struct Commitments(BTreeMap<(u64, String), String>);

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    grant: String,
    values: Vec<PersonalValueView>,
    /// What is committed to and no longer there.
    erased: Vec<Gone>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Gone {
    entry: u64,
    field: String,
}

impl Commitments {
    /// Takes in what an entry commits to.
    pub(super) fn note(&mut self, entry: &[u8]) {
        let Ok(document) = serde_json::from_slice::<Value>(entry) else { return };
        let Some(index) = document.get("index").and_then(Value::as_u64) else { return };
        let personal = document.get("personal").and_then(Value::as_object).into_iter().flatten();
        for (field, commitment) in personal {
            if let Some(commitment) = commitment.as_str() {
                self.0.insert((index, field.clone()), commitment.to_owned());
            }
        }
    }

    /// What is wrong with a value, if anything is.
    fn problem(&self, value: &PersonalValueView) -> Option<String> {
        let place = format!("entry {}: its value \"{}\"", value.entry, value.field);
        let Some(commitment) = self.0.get(&(value.entry, value.field.clone())) else {
            return Some(format!("{place} is one that no entry here commits to"));
        };
        match committed(value) {
            None => Some(format!("{place} has no salt of {SALT_BYTES} bytes")),
            Some(found) if found != *commitment => Some(format!("{place} does not fit the commitment")),
            Some(_) => None,
        }
    }
}

/// The commitment to a value.
fn committed(value: &PersonalValueView) -> Option<String> {
    let field: PersonalField = serde_json::from_value(Value::from(value.field.as_str())).ok()?;
    let mut salt = [0; SALT_BYTES];
    if value.salt.len() != SALT_BYTES * 2 || !value.salt.is_ascii() {
        return None;
    }
    for (number, byte) in salt.iter_mut().enumerate() {
        *byte = u8::from_str_radix(value.salt.get(number * 2..number * 2 + 2)?, 16).ok()?;
    }
    Some(PersonalValue { field, value: value.value.clone(), salt }.commitment())
}

/// Fetches the values behind the commitments, checks each, and writes them beside the proofs.
///
/// # Errors
/// When they are not the caller's to see, or one does not fit.
pub(super) async fn export(
    api: &Api,
    grant: &GrantId,
    commitments: &Commitments,
    folder: &Path,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut entries: Vec<u64> = commitments.0.keys().map(|(entry, _)| *entry).collect();
    entries.dedup();
    let mut values = Vec::new();
    for some in entries.chunks(ENTRIES_MAX) {
        values.extend(api.personal_values(grant, some.to_vec()).await?.values);
    }
    if let Some(problem) = values.iter().find_map(|value| commitments.problem(value)) {
        return Err(unverified(problem));
    }
    let is_there = |(entry, field): &(u64, String)| values.iter().any(|v| v.entry == *entry && v.field == *field);
    let gone = commitments.0.keys().filter(|key| !is_there(key));
    let erased: Vec<_> = gone.map(|(entry, field)| Gone { entry: *entry, field: field.clone() }).collect();
    out.note(&format!(
        "{} personal values, each as its entry commits to it; {} are erased",
        values.len(),
        erased.len()
    ));
    let kept = Kept { grant: grant.to_string(), values, erased };
    let text = serde_json::to_string_pretty(&kept).unwrap_or_default() + "\n";
    let file = folder.join(FILE);
    private_files::write(&file, text.as_bytes()).map_err(|error| unwritable(&file, &error))
}

/// Checks the values of an export against the entries that its proofs prove. Answers how many fit, and what is wrong.
///
/// # Errors
/// When the file can't be read.
pub(super) fn check(file: &Path, commitments: &Commitments) -> Result<(usize, Vec<String>), Failure> {
    let unreadable = |what: String| {
        Failure::new(Exit::Failed, format!("{}: {what}", file.display()), "name a folder that audit export has written")
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let kept: Kept = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let mut problems: Vec<String> = kept.values.iter().filter_map(|value| commitments.problem(value)).collect();
    let untold = |key: &&(u64, String)| {
        let (entry, field) = key;
        !kept.values.iter().any(|value| value.entry == *entry && value.field == *field)
            && !kept.erased.iter().any(|gone| gone.entry == *entry && gone.field == *field)
    };
    for (entry, field) in commitments.0.keys().filter(untold) {
        problems.push(format!(
            "entry {entry}: its value \"{field}\" is missing, and the file does not say that it was erased"
        ));
    }
    Ok((kept.values.len(), problems))
}
