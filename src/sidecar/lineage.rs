//! The name of this sidecar's audit folder for its whole life. Shares of `max_uses` belong to it.
//!
//! INVARIANT: where the log is lost or does not verify, the name is lost with it, and with the name every share: uses
//! that may have been spent are never allotted again.

use std::io::{self, Write as _};
use std::path::Path;

use super::audit_log::Recovery;

const FILE: &str = "lineage";

/// The folder's name: the one that stands there, if the log it belongs to is still there and whole; else a new one.
///
/// # Errors
/// When the file can't be read or written.
pub fn read_or_begin(folder: &Path, recovery: &Recovery) -> io::Result<String> {
    let file = folder.join(FILE);
    if recovery.previous.is_some() && recovery.problem.is_none() {
        match std::fs::read_to_string(&file) {
            Ok(text) if is_lineage(text.trim()) => return Ok(text.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let lineage = super::request_id::fresh();
    let temporary = folder.join("lineage.new");
    let mut written = std::fs::File::create(&temporary)?;
    writeln!(written, "{lineage}")?;
    written.sync_all()?;
    std::fs::rename(&temporary, &file)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(lineage)
}

fn is_lineage(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_log_loses_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let lost = Recovery::default();
        let first = read_or_begin(folder.path(), &lost).unwrap();
        assert_ne!(read_or_begin(folder.path(), &lost).unwrap(), first);
    }
}
