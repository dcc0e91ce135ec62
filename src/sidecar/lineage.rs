//! The name of this sidecar's audit folder for its whole life. Shares of `max_uses` belong to it.
//!
//! INVARIANT: where the log is lost or does not verify, the name is lost with it, and with the name every share: uses
//! that may have been spent are never allotted again. The audit log keeps the file: it begins a new name when a loss is
//! accepted, and only once its own first line is durable, so that a name without a log is damage.

use std::io;
use std::path::Path;

/// The file's name.
pub(super) const FILE: &str = "lineage";

/// The folder's name; `None` where there is none, or nothing that could be one.
///
/// # Errors
/// When the file is there and can't be read.
pub(super) fn read(folder: &Path) -> io::Result<Option<String>> {
    match std::fs::read(folder.join(FILE)) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok().map(|text| text.trim().to_owned()).filter(|text| is_name(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name that no folder had before.
pub(super) fn fresh() -> String {
    super::request_id::fresh()
}

fn is_name(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        assert_eq!(read(folder.path()).unwrap(), None);
        let name = fresh();
        std::fs::write(&file, format!("{name}\n")).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(name));
        for other in [&b""[..], b"short", &[0xff; 36]] {
            std::fs::write(&file, other).unwrap();
            assert_eq!(read(folder.path()).unwrap(), None);
        }
    }
}
