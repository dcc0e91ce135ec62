//! `audit check-proof`: do proofs hold, and what do they prove? Nobody is asked.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::personal::{self, Commitments};
use super::{believed, unverified};
use crate::cli::args::{Format, TrustArgs};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Cell, Colour, Output};
use crate::ledger::proof::LogProof;

/// The ending of a file that holds a proof.
pub(super) const ENDING: &str = "tlog-proof";

/// One proof.
#[derive(Debug, Serialize)]
struct Finding {
    proof: String,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// The entry that is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// # Errors
/// When a proof can't be read, or does not hold.
pub(in crate::cli) fn check_proofs(paths: &[PathBuf], trust: &TrustArgs, out: &mut Output) -> Result<(), Failure> {
    let files = files(paths)?;
    let findings = files.iter().map(|file| check(file, trust)).collect::<Result<Vec<_>, _>>()?;
    match out.format {
        Format::Json => out.json(&findings)?,
        Format::Table => table(&findings, out)?,
    }
    let broken = findings.iter().filter(|finding| !finding.holds).count();
    if broken > 0 {
        return Err(unverified(format!("{broken} of {} proofs do not hold", findings.len())));
    }
    paths.iter().filter(|path| path.join(personal::FILE).is_file()).try_for_each(|path| values(path, &findings, out))
}

/// The personal values of an export, against the entries that were just proven.
fn values(folder: &Path, findings: &[Finding], out: &mut Output) -> Result<(), Failure> {
    let mut commitments = Commitments::default();
    let inside = findings.iter().filter(|finding| Path::new(&finding.proof).starts_with(folder));
    inside.filter_map(|finding| finding.entry.as_ref()).for_each(|entry| commitments.note(entry));
    let file = folder.join(personal::FILE);
    let (fit, problems) = personal::check(&file, &commitments)?;
    if problems.is_empty() {
        out.note(&format!("{}: {fit} values, each as its entry commits to it", file.display()));
        return Ok(());
    }
    for problem in &problems {
        out.warn(problem);
    }
    Err(unverified(format!("{}: {} values do not hold: {}", file.display(), problems.len(), problems.join("; "))))
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        Failure::new(Exit::Failed, format!("{}: {error}", path.display()), "name files that hold proofs")
    };
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
            let file = entry.map_err(|error| unreadable(path, &error))?.path();
            files.extend(file.extension().is_some_and(|ending| ending == ENDING).then_some(file));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "there is no proof to check",
            format!("name files, or folders with .{ENDING}"),
        ));
    }
    Ok(files)
}

fn check(file: &Path, trust: &TrustArgs) -> Result<Finding, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()), "name a file that holds a proof")
    })?;
    let finding = |index, entry, problem: Option<String>| Finding {
        proof: file.display().to_string(),
        holds: problem.is_none(),
        index,
        entry,
        problem,
    };
    let proof: LogProof = match text.parse() {
        Ok(proof) => proof,
        Err(error) => return Ok(finding(None, None, Some(format!("{error}")))),
    };
    let Some(entry) = proof.extra.clone() else {
        return Ok(finding(Some(proof.index), None, Some("it does not hold the entry that it is about".to_owned())));
    };
    // A key that is not named, or a witness that did not cosign, is told in the same words as of a ledger.
    if let Err(failure) = believed(&proof.checkpoint, trust) {
        return if failure.exit == Exit::Usage {
            Err(failure)
        } else {
            Ok(finding(Some(proof.index), None, Some(failure.message)))
        };
    }
    Ok(match proof.verify(&entry, &trust.keys) {
        Ok(_) => finding(Some(proof.index), serde_json::from_slice(&entry).ok(), None),
        Err(error) => finding(Some(proof.index), None, Some(error.to_string())),
    })
}

fn table(findings: &[Finding], out: &mut Output) -> Result<(), Failure> {
    let rows: Vec<Vec<Cell>> = findings.iter().map(row).collect();
    out.table(&["PROOF", "ENTRY", "KIND", "VERDICT"], &rows)
}

fn row(finding: &Finding) -> Vec<Cell> {
    let kind = finding.entry.as_ref().and_then(|entry| entry.get("kind")?.as_str()).unwrap_or("-");
    let verdict = match &finding.problem {
        Some(problem) => Cell::coloured(problem, Colour::Red),
        None => Cell::coloured("holds", Colour::Green),
    };
    let index = finding.index.map_or_else(|| "-".to_owned(), |index| index.to_string());
    vec![Cell::new(&finding.proof), Cell::new(index), Cell::new(kind), verdict]
}
