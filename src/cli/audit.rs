//! `breakglass audit`: checks a sidecar's audit log without asking anybody; what is asked about a ledger is in `ledger`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{AuditArgs, AuditVerb, Format, Global};
use super::failure::{Exit, Failure};
use super::output::{Cell, Colour, Output};
use super::{ledger, session};
use crate::audit::folder::{self, read_segments};
use crate::audit::pruned::{self, Pruned};
use crate::audit::verify::NoObserver;
use crate::audit::{AcceptedLoss, Beginning, Expectation, FolderError, Loss, PastIntent, Report};
use crate::error_chain::error_chain;

/// What was found at one path.
#[derive(Debug, Serialize)]
struct Finding {
    path: String,
    /// From the beginning, or from the last accepted loss where that was asked.
    sound: bool,
    segments: u64,
    records: u64,
    overrides: u64,
    refusals: u64,
    observed: u64,
    summarised: u64,
    /// Overrides of which nobody knows how they ended: no failure of the log, but something to look into.
    unknown_outcomes: u64,
    open: Vec<Open>,
    torn_tails: Vec<String>,
    /// Losses that an operator accepted: what stands before the last of them is not whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accepted_losses: Vec<LossFinding>,
    /// A sidecar found the log damaged, and nobody has accepted that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unaccepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Head>,
}

/// An intent without an outcome.
#[derive(Debug, Serialize)]
struct Open {
    log_id: String,
    sequence: u64,
    request_id: String,
}

/// An accepted loss, and what verification itself finds before it.
#[derive(Debug, Serialize)]
struct LossFinding {
    segment: String,
    line: u64,
    #[serde(flatten)]
    accepted: AcceptedLoss,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Head {
    log_id: String,
    sequence: u64,
    hash: String,
}

/// # Errors
/// When a log cannot be read, or does not hold.
pub(super) async fn run(
    args: &AuditArgs,
    global: &Global,
    env: session::Lookup<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let asked = ledger::Asked { global, env };
    match &args.what {
        AuditVerb::Verify { paths, since_accepted, trust, known, copy_to } => {
            let ledgers = paths.iter().filter(|path| ledger::is_ledger(path)).count();
            if ledgers == 0 {
                return segments(paths, *since_accepted, out);
            }
            if ledgers < paths.len() {
                let hint = "run it once for the ledger and once for the sidecars' logs";
                return Err(Failure::new(Exit::Usage, "a ledger and audit logs are not checked in one run", hint));
            }
            ledger::verify(paths, trust, known, copy_to.as_deref(), &asked, out).await
        }
        AuditVerb::Prove { entry, log, trust, out: file } => {
            ledger::prove(*entry, log, trust, file.as_deref(), &asked, out).await
        }
        AuditVerb::CheckProof { paths, trust } => ledger::check_proofs(paths, trust, out),
        AuditVerb::Export { grant, log, trust, out: folder, personal } => {
            let wanted = ledger::Wanted { grant, folder, personal: *personal };
            Box::pin(ledger::export(wanted, log, trust, &asked, out)).await
        }
    }
}

fn segments(paths: &[PathBuf], since_accepted: bool, out: &mut Output) -> Result<(), Failure> {
    let findings =
        paths.iter().map(|path| verify(path, since_accepted)).collect::<Result<Vec<_>, _>>().map_err(|error| {
            Failure::new(
                Exit::Failed,
                error_chain(&error),
                "name the folder that holds audit-*.jsonl, or one of its segments",
            )
        })?;
    match out.format {
        Format::Json => out.json(&findings)?,
        Format::Table => findings.iter().try_for_each(|finding| print(finding, out))?,
    }
    let broken: Vec<&str> =
        findings.iter().filter(|finding| !finding.sound).map(|finding| finding.path.as_str()).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let is_accepted = |finding: &Finding| finding.sound || (finding.problem.is_none() && !finding.unaccepted);
    if findings.iter().all(is_accepted) {
        let hint = "a loss was accepted: --since-accepted asks only for what stands after it";
        return Err(Failure::new(Exit::Unverified, format!("{} is not whole", broken.join(", ")), hint));
    }
    let hint = "keep the files as they are: what stands before the first problem is still chained; compare with the copy that was shipped";
    Err(Failure::new(Exit::Unverified, format!("{} does not hold", broken.join(", ")), hint))
}

/// A folder is a whole log; a single segment is a part of one, whose beginning may lie in another file.
fn verify(path: &Path, since_accepted: bool) -> Result<Finding, FolderError> {
    let (report, open) = if path.is_dir() {
        let segments = folder::list_segments(path)?;
        if segments.is_empty() {
            return Err(FolderError::Empty(path.to_owned()));
        }
        let at = |source| FolderError::Io { path: path.join(pruned::FILE), source };
        let pruned = Pruned::read(path).map_err(at)?;
        let (segments, beginning) = match pruned {
            // What is left of the part that was pruned is no part of the log.
            Some(pruned) => {
                let kept = segments.into_iter().filter(|name| name.number() >= pruned.first).collect();
                (kept, Beginning::After(pruned.after))
            }
            None => (segments, Beginning::Whole),
        };
        let (report, open, _) = read_segments(path, &segments, Expectation { beginning, position: None }, NoObserver)?;
        (report, open)
    } else {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let name = name.ok_or_else(|| FolderError::Empty(path.to_owned()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (report, open, _) =
            read_segments(folder, &[name], Expectation { beginning: Beginning::Pruned, position: None }, NoObserver)?;
        (report, open)
    };
    Ok(finding(path, since_accepted, report, &open))
}

fn finding(path: &Path, since_accepted: bool, report: Report, open: &[PastIntent]) -> Finding {
    Finding {
        path: path.display().to_string(),
        sound: report.is_sound() && !report.unaccepted && (since_accepted || report.losses.is_empty()),
        segments: report.segments,
        records: report.records,
        overrides: report.overrides,
        refusals: report.refusals,
        observed: report.observed,
        summarised: report.summarised,
        unknown_outcomes: report.unknown_outcomes,
        open: open.iter().map(of_intent).collect(),
        torn_tails: report
            .torn_tails
            .iter()
            .map(|torn| format!("{}, line {}: unfinished", torn.segment, torn.line))
            .collect(),
        unaccepted: report.unaccepted,
        accepted_losses: report.losses.into_iter().map(of_loss).collect(),
        problem: report.first_problem.map(|problem| problem.to_string()),
        head: report.head.map(|head| Head {
            log_id: head.log_id.to_string(),
            sequence: head.sequence,
            hash: head.head.to_string(),
        }),
    }
}

fn of_loss(loss: Loss) -> LossFinding {
    let problem = loss.problem.map(|problem| problem.to_string());
    LossFinding { segment: loss.segment, line: loss.line, accepted: loss.accepted, problem }
}

fn of_intent(intent: &PastIntent) -> Open {
    Open { log_id: intent.log_id.to_string(), sequence: intent.seq, request_id: intent.request_id.clone() }
}

fn print(finding: &Finding, out: &mut Output) -> Result<(), Failure> {
    let verdict = match (&finding.problem, finding.accepted_losses.last()) {
        (Some(problem), _) => Cell::coloured(problem, Colour::Red),
        (None, _) if finding.unaccepted => {
            Cell::coloured("a sidecar found it damaged, and nobody has accepted that", Colour::Red)
        }
        (None, Some(loss)) => {
            let since = format!("whole and unchanged since {}, line {}", loss.segment, loss.line);
            Cell::coloured(since, Colour::Yellow)
        }
        (None, None) => Cell::coloured("whole and unchanged", Colour::Green),
    };
    let number = |count: u64| Cell::new(count.to_string());
    let mut facts = vec![
        ("log", Cell::new(&finding.path)),
        ("verdict", verdict),
        ("segments", number(finding.segments)),
        ("records", number(finding.records)),
        ("overrides", number(finding.overrides)),
        ("refusals", number(finding.refusals)),
    ];
    facts.extend((finding.observed > 0).then(|| ("observed", number(finding.observed))));
    facts.extend((finding.summarised > 0).then(|| ("summarised", number(finding.summarised))));
    facts.extend((finding.unknown_outcomes > 0).then(|| ("unknown outcomes", number(finding.unknown_outcomes))));
    for loss in &finding.accepted_losses {
        facts.push(("accepted loss", Cell::coloured(told(loss), Colour::Yellow)));
    }
    for open in &finding.open {
        let what = format!(
            "request {}, line {} of log {}: in flight, or never told",
            open.request_id, open.sequence, open.log_id
        );
        facts.push(("unknown outcome", Cell::coloured(what, Colour::Yellow)));
    }
    facts.extend(finding.torn_tails.iter().map(|torn| ("torn end", Cell::coloured(torn, Colour::Yellow))));
    if let Some(head) = &finding.head {
        facts.push(("head", format!("{} {} {}", head.log_id, head.sequence, head.hash).into()));
    }
    out.facts(&facts)
}

/// Who accepted what, in one line.
fn told(loss: &LossFinding) -> String {
    let AcceptedLoss { by, reason, known, found, findings, .. } = &loss.accepted;
    let at = |position: &Option<crate::audit::Position>| {
        position.map_or_else(|| "nothing".to_owned(), |at| format!("sequence {} of log {}", at.sequence, at.log_id))
    };
    let what = findings.join("; ");
    format!("by {by} ({reason}): {what}; known up to {}, found up to {}", at(known), at(found))
}

#[cfg(test)]
mod tests;
