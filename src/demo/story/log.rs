//! The last act: the sidecar's audit log, in short lines, and what verification says of it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::narrator::Narrator;
use super::stage::Stage;
use crate::audit::SegmentName;
use crate::audit::folder::{FolderError, list_segments};
use crate::cli::failure::Failure;
use crate::decision::RefusalCode;
use crate::demo::parts::failed;
use crate::domain::GrantId;
use crate::secret::Secret;

/// Lines shown, from the end.
const LINES_MAX: usize = 40;
/// How long a refusal may take to its line, and how often it is looked for.
const WRITE_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);
/// What the story's last request is refused with.
const REVOKED: &str = RefusalCode::GrantRevoked.as_str();
/// Overrides that the story makes.
const OVERRIDES_MIN: u64 = 3;

/// Shows the log as it is once the refusal of the grant `last` stands in it: refusals are written behind the answers.
///
/// # Errors
/// When the log cannot be read, or does not hold.
pub(super) async fn show_and_verify(
    stage: &Stage,
    tell: &mut Narrator<'_>,
    auditor: &Secret<String>,
    last: &GrantId,
) -> Result<(), Failure> {
    let Some(folder) = &stage.audit else {
        tell.says("It cannot be read from here; name its folder with --audit to see it.");
        return Ok(());
    };
    let lines = settled(folder, last).await.map_err(|error| failed("the audit log cannot be read", &error))?;
    for line in lines.iter().skip(lines.len().saturating_sub(LINES_MAX)) {
        tell.shows(&short(line));
    }
    let place = folder.to_string_lossy();
    let words = ["audit", "verify", &place];
    tell.does(&format!("breakglass {}", words.join(" ")));
    let (said, _) = stage.verb(&words, auditor).await?;
    tell.shows(&said);
    let findings: Vec<Value> = stage.ask(&words, auditor).await?;
    let number = |name: &str| findings.first().and_then(|found| found.get(name)).and_then(Value::as_u64).unwrap_or(0);
    let sound = findings.iter().all(|found| found.get("sound").and_then(Value::as_bool) == Some(true));
    let verdict = if sound { "whole and unchanged" } else { "broken" };
    let unknown = number("unknown_outcomes");
    let came = format!(
        "{verdict}, {} overrides, {} refusals, {unknown} unknown outcomes",
        number("overrides"),
        number("refusals")
    );
    let as_told = sound && !findings.is_empty() && number("overrides") >= OVERRIDES_MIN && unknown == 0;
    tell.judge(&format!("whole and unchanged, {OVERRIDES_MIN} overrides or more, no unknown outcome"), &came, as_told);
    Ok(())
}

/// The log, as soon as it has the refusal of `last`, or as it is when that takes too long.
async fn settled(folder: &Path, last: &GrantId) -> Result<Vec<String>, FolderError> {
    let end = Instant::now() + WRITE_MAX;
    loop {
        let lines = lines(folder)?;
        if Instant::now() > end || lines.iter().any(|line| line.contains(last.as_str()) && line.contains(REVOKED)) {
            return Ok(lines);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn lines(folder: &Path) -> Result<Vec<String>, FolderError> {
    let mut lines = Vec::new();
    for segment in list_segments(folder)? {
        lines.extend(of_segment(folder, segment)?);
    }
    Ok(lines)
}

fn of_segment(folder: &Path, segment: SegmentName) -> Result<Vec<String>, FolderError> {
    let path = folder.join(segment.to_string());
    let text = std::fs::read_to_string(&path).map_err(|source| FolderError::Io { path, source })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// One line of the log in the words of its facts: `12 intent   POST contract/C-1042 payment.release alice g-… override`.
fn short(line: &str) -> String {
    let document: Value = serde_json::from_str(line).unwrap_or_default();
    let facts = document.pointer("/unmapped/break_glass").cloned().unwrap_or_default();
    let text = |pointer: &str| facts.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let number = |pointer: &str| facts.pointer(pointer).and_then(Value::as_u64);
    let verdict = match (text("/decision"), text("/end"), number("/status")) {
        ("", end, Some(status)) => format!("{end}, {status}"),
        ("", end, None) => end.to_owned(),
        (decision, ..) => decision.to_owned(),
    };
    let what = [text("/method"), text("/resource"), text("/action"), text("/person"), text("/grant/id"), &verdict];
    let what: Vec<&str> = what.into_iter().filter(|word| !word.is_empty()).collect();
    let seq = number("/seq").unwrap_or_default();
    format!("{seq:>3} {:<11} {}", text("/kind"), what.join("  ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_short() {
        let line = r#"{"unmapped":{"break_glass":{"kind":"outcome","seq":4,"method":"POST","resource":"contract/C-1",
            "action":"payment.release","person":"alice","grant":{"id":"g-1"},"end":"completed","status":200}}}"#;
        let expected = "  4 outcome     POST  contract/C-1  payment.release  alice  g-1  completed, 200";
        assert_eq!(short(line), expected);
        assert_eq!(short("no json"), "  0");
    }
}
