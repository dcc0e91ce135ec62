//! A log is sound, or it is not, and its verdict is an exit code.

use std::fs;
use std::path::Path;

use super::*;
use crate::audit::sample::{AT, LogBuilder, loss, one_of_each};
use crate::audit::{Event, SegmentName};
use crate::cli::output::capture;

fn verified(path: &Path) -> (Result<(), Failure>, String) {
    verified_since(path, false)
}

fn verified_since(path: &Path, since_accepted: bool) -> (Result<(), Failure>, String) {
    let (mut out, data, _) = capture::output(Format::Table);
    (segments(&[path.to_owned()], since_accepted, &mut out), data.text())
}

#[test]
fn a_folder_without_a_log_is_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verified(folder.path()).0.unwrap_err().exit, Exit::Failed);
    let other = folder.path().join("notes.txt");
    fs::write(&other, "x").unwrap();
    assert_eq!(verified(&other).0.unwrap_err().exit, Exit::Failed);
    assert_eq!(verified(Path::new("/nowhere")).0.unwrap_err().exit, Exit::Failed);
}

/// Writes a log of one segment to a folder.
fn write(folder: &Path, log: &LogBuilder) -> PathBuf {
    let name = SegmentName::new(1, log.chain.position().log_id, false);
    let path = folder.join(name.to_string());
    let text: Vec<u8> = log.lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_sound_log_with_an_open_intent_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogBuilder::new();
    log.intent("r-open");
    let segment = write(folder.path(), &log);
    for path in [folder.path(), &segment] {
        let (result, said) = verified(path);
        assert_eq!(result, Ok(()), "{said}");
        assert!(said.contains("whole and unchanged") && said.contains("request r-open"), "{said}");
    }
}

#[test]
fn an_altered_log_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &one_of_each());
    let altered = fs::read_to_string(&path).unwrap().replacen("INC-2041", "INC-2042", 1);
    fs::write(&path, altered).unwrap();
    let (result, said) = verified(folder.path());
    assert_eq!(result.unwrap_err().exit, Exit::Unverified);
    assert!(said.contains("altered"), "{said}");
}

#[test]
fn an_accepted_loss_is_told_and_fails_unless_only_what_follows_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogBuilder::new();
    log.intent("r-lost");
    log.lines.pop();
    log.restart(2);
    log.push(&Event::LossAccepted { loss: &loss(), at: AT });
    let link = log.intent("r-after");
    write(folder.path(), &log);
    let (result, said) = verified(folder.path());
    assert_eq!(result.unwrap_err().exit, Exit::Unverified);
    assert!(said.contains("by ada (the disk was replaced)") && said.contains("known up to sequence 42"), "{said}");
    let (result, said) = verified_since(folder.path(), true);
    assert_eq!(result, Ok(()), "{said}");
    assert!(said.contains("whole and unchanged since") && said.contains("line 3"), "{said}");
    log.outcome("r-after", &link, crate::audit::End::Completed);
    log.lines.remove(4 - 1);
    write(folder.path(), &log);
    assert_eq!(verified_since(folder.path(), true).0.unwrap_err().exit, Exit::Unverified);
}
