//! `audit export --grant`: every entry about one grant, each with its proof.
//!
//! The whole ledger is read and verified for it, so that nothing can be left out: whoever gave only some entries would have
//! to give another root.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::check::ENDING;
use super::personal::{self, Commitments, Kept};
use super::prove::{Prover, write};
use super::source::Source;
use super::verify::whole;
use super::{Asked, trusted_checkpoint, unverified};
use crate::cli::args::TrustArgs;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::session;
use crate::domain::GrantId;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::proof::LogProof;

/// Facts by which an entry belongs to a grant: its own id, and what it came from or ended by.
const GRANT: &str = "grant";
const LINKS: [&str; 2] = ["elevation", "revocation"];

/// What was exported, for programs.
#[derive(Debug, Serialize)]
struct Contents {
    grant: String,
    origin: String,
    /// Entries of the ledger that were all read and verified.
    size: u64,
    root: String,
    entries: Vec<Exported>,
}

#[derive(Debug, Serialize)]
struct Exported {
    index: u64,
    kind: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    at: i64,
    file: String,
}

/// Which entries are about what.
#[derive(Debug, Default)]
struct Index {
    own: BTreeSet<u64>,
    /// What the entries about the grant name besides.
    named: BTreeSet<(usize, String)>,
    /// Entries by what they name.
    by_name: BTreeMap<(usize, String), Vec<u64>>,
}

impl Index {
    fn note(&mut self, grant: &str, index: u64, entry: &[u8]) {
        let Ok(document) = serde_json::from_slice::<Value>(entry) else { return };
        let fact = |name: &str| document.get("facts").and_then(|facts| facts.get(name)?.as_str());
        let is_own = fact(GRANT) == Some(grant);
        if is_own {
            self.own.insert(index);
        }
        for (link, name) in LINKS.iter().enumerate() {
            let Some(named) = fact(name) else { continue };
            if is_own {
                self.named.insert((link, named.to_owned()));
            }
            // Entries of another grant that came by the same revocation are not about this one.
            if fact(GRANT).is_none() {
                self.by_name.entry((link, named.to_owned())).or_default().push(index);
            }
        }
    }

    fn all(&self) -> BTreeSet<u64> {
        let linked = self.named.iter().filter_map(|named| self.by_name.get(named)).flatten();
        self.own.iter().chain(linked).copied().collect()
    }
}

/// What is to be exported, and where to.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Wanted<'a> {
    pub(in crate::cli) grant: &'a GrantId,
    pub(in crate::cli) folder: &'a Path,
    /// With the values behind the commitments.
    pub(in crate::cli) personal: bool,
}

/// # Errors
/// When the ledger does not hold, or has nothing about the grant; when a value does not fit its commitment.
pub(in crate::cli) async fn export(
    wanted: Wanted<'_>,
    log: &Path,
    trust: &TrustArgs,
    asked: &Asked<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let Wanted { grant, folder, personal } = wanted;
    let source = Source::open(log, asked)?;
    let signed = trusted_checkpoint(&source, trust).await?;
    let mut index = Index::default();
    let mut look = |at: u64, entry: &[u8]| index.note(grant.as_str(), at, entry);
    let report = whole(&source, &signed, &[], None, &mut look, out).await?;
    if let Some(wrong) = report.wrong {
        return Err(unverified(format!("{source} does not hold: {wrong}")));
    }
    let entries = index.all();
    if entries.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!("no entry is about {grant}"),
            "check the id, and which ledger it is",
        ));
    }
    let mut prover = Prover::new(&source, &signed);
    let mut commitments = Commitments::default();
    let mut proofs = Vec::with_capacity(entries.len());
    for entry in entries {
        let proof = prover.prove(entry).await?;
        let document = serde_json::from_slice(proof.extra.as_deref().unwrap_or_default()).unwrap_or_default();
        commitments.note(&document);
        proofs.push((told(entry, &document), proof));
    }
    let kept = if personal {
        let api = session::connect(asked.global, asked.env, out)?;
        Some(personal::fetch(&api, grant, &commitments, out).await?)
    } else {
        None
    };
    let (of, size) = (proofs.len(), signed.checkpoint.size);
    write_whole(folder, grant, &signed.checkpoint, proofs, kept)?;
    out.note(&format!("{of} entries about {grant}, of {size} that were verified"));
    out.line(&folder.display().to_string())
}

/// Writes everything beside the folder that is asked for, and gives it its name last: it is there whole or not at all.
fn write_whole(
    folder: &Path,
    grant: &GrantId,
    checkpoint: &Checkpoint,
    proofs: Vec<(Exported, LogProof)>,
    kept: Option<Kept>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| unwritable(folder, &error);
    if folder.symlink_metadata().is_ok() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let beside = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staging = tempfile::Builder::new().prefix(".breakglass-").tempdir_in(beside).map_err(failed)?;
    for (exported, proof) in &proofs {
        write(&staging.path().join(&exported.file), proof)?;
    }
    let contents = Contents {
        grant: grant.to_string(),
        origin: checkpoint.origin.to_string(),
        size: checkpoint.size,
        root: checkpoint.root.to_string(),
        entries: proofs.into_iter().map(|(exported, _)| exported).collect(),
    };
    let text = serde_json::to_string_pretty(&contents).unwrap_or_default() + "\n";
    std::fs::write(staging.path().join("contents.json"), text).map_err(failed)?;
    if let Some(kept) = kept {
        kept.write(staging.path())?;
    }
    std::fs::rename(staging.path(), folder).map_err(failed)?;
    // Nothing is left under the other name to be removed.
    let _ = staging.keep();
    Ok(())
}

fn told(index: u64, entry: &Value) -> Exported {
    let kind = entry.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let at = entry.get("at").and_then(Value::as_i64).unwrap_or_default();
    Exported { index, kind, at, file: format!("entry-{index:09}.{ENDING}") }
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("{}: {error}", path.display()),
        "name a folder that does not exist yet with --out",
    )
}
