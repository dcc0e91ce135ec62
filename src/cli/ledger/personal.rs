//! The personal values behind entries: fetched for an export, and checked against the commitments that entries hold.
//!
//! INVARIANT: what is written fits its commitment, and lies in a file for its owner alone.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::hex::parse_hex;
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
pub(super) struct Kept {
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
    pub(super) fn note(&mut self, entry: &Value) {
        let Some(index) = entry.get("index").and_then(Value::as_u64) else { return };
        let personal = entry.get("personal").and_then(Value::as_object).into_iter().flatten();
        for (field, commitment) in personal {
            if let Some(commitment) = commitment.as_str() {
                self.0.insert((index, field.clone()), commitment.to_owned());
            }
        }
    }

    /// The entries that commit to anything, each once.
    fn entries(&self) -> Vec<u64> {
        let mut entries: Vec<u64> = self.0.keys().map(|(entry, _)| *entry).collect();
        entries.dedup();
        entries
    }

    /// What is committed to, and not among these.
    fn without<'a>(&'a self, told: impl Iterator<Item = (u64, &'a str)>) -> impl Iterator<Item = (u64, &'a str)> {
        let told: BTreeSet<_> = told.collect();
        self.0.keys().map(|(entry, field)| (*entry, field.as_str())).filter(move |key| !told.contains(key))
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

impl Kept {
    fn values(&self) -> impl Iterator<Item = (u64, &str)> {
        self.values.iter().map(|value| (value.entry, value.field.as_str()))
    }

    fn erased(&self) -> impl Iterator<Item = (u64, &str)> {
        self.erased.iter().map(|gone| (gone.entry, gone.field.as_str()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        let file = folder.join(FILE);
        private_files::write(&file, text.as_bytes()).map_err(|error| unwritable(&file, &error))
    }
}

/// The commitment to a value.
fn committed(value: &PersonalValueView) -> Option<String> {
    let field: PersonalField = serde_json::from_value(Value::from(value.field.as_str())).ok()?;
    let salt: [u8; SALT_BYTES] = parse_hex(&value.salt)?;
    Some(PersonalValue { field, value: value.value.clone(), salt }.commitment())
}

/// Fetches the values behind the commitments, and checks each.
///
/// # Errors
/// When they are not the caller's to see, or one does not fit.
pub(super) async fn fetch(
    api: &Api,
    grant: &GrantId,
    commitments: &Commitments,
    out: &mut Output,
) -> Result<Kept, Failure> {
    let mut kept = Kept { grant: grant.to_string(), values: Vec::new(), erased: Vec::new() };
    for some in commitments.entries().chunks(ENTRIES_MAX) {
        kept.values.extend(api.personal_values(grant, some.to_vec()).await?.values);
    }
    if let Some(problem) = kept.values.iter().find_map(|value| commitments.problem(value)) {
        return Err(unverified(problem));
    }
    let gone = commitments.without(kept.values());
    kept.erased = gone.map(|(entry, field)| Gone { entry, field: field.to_owned() }).collect();
    out.note(&format!(
        "{} personal values, each as its entry commits to it; {} are erased",
        kept.values.len(),
        kept.erased.len()
    ));
    Ok(kept)
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
    let wrong = kept.values.iter().filter_map(|value| commitments.problem(value));
    let missing = commitments.without(kept.values().chain(kept.erased())).map(|(entry, field)| {
        format!("entry {entry}: its value \"{field}\" is missing, and the file does not say that it was erased")
    });
    Ok((kept.values.len(), wrong.chain(missing).collect()))
}
