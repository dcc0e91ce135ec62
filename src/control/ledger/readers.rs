//! Programs that may read the ledger: each line of the file is a name and its token.
//!
//! Only digests of the tokens are kept, and all are compared. Must never: show a token.

use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::control::keys::{FileError, read_private};

/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 32;

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadersError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{}, line {line}: a name and a token of at least {TOKEN_BYTES_MIN} visible ASCII characters are expected",
        path.display()
    )]
    Line { path: PathBuf, line: usize },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Readers(Vec<Reader>);

#[derive(Debug)]
struct Reader {
    name: String,
    digest: Vec<u8>,
}

impl Readers {
    pub(super) fn read(path: Option<&Path>) -> Result<Self, ReadersError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = String::from_utf8_lossy(&read_private(path)?).into_owned();
        let mut readers = Vec::new();
        for (line, text) in
            (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty() && !text.starts_with('#'))
        {
            let wrong = || ReadersError::Line { path: path.to_owned(), line };
            let (name, token) = text.trim().split_once(' ').ok_or_else(wrong)?;
            let token = token.trim();
            if token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong());
            }
            readers.push(Reader { name: name.to_owned(), digest: digest_of(token) });
        }
        Ok(Self(readers))
    }

    /// Whose token it is.
    pub(super) fn name_of(&self, token: &str) -> Option<&str> {
        let shown = digest_of(token);
        // Every one is compared, so that the time taken says nothing of which it was.
        self.0.iter().fold(None, |found, reader| {
            if verify_slices_are_equal(&reader.digest, &shown).is_ok() { Some(reader.name.as_str()) } else { found }
        })
    }
}

fn digest_of(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("readers");
        crate::control::keys::write_private(&path, text.as_bytes()).unwrap();
        (folder, path)
    }

    #[test]
    fn a_reader_is_known_by_the_whole_of_the_token() {
        let token = "t".repeat(32);
        let (_folder, path) = file(&format!("# who\n\nmirror {token}\nmonitor {}\n", "m".repeat(40)));
        let readers = Readers::read(Some(&path)).unwrap();
        assert_eq!(readers.name_of(&token), Some("mirror"));
        assert_eq!(readers.name_of(&token[1..]), None);
        assert_eq!(readers.name_of(""), None);
        assert_eq!(Readers::read(None).unwrap().name_of(&token), None);
        assert!(!format!("{readers:?}").contains(&token));
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_and_no_token_shown() {
        for text in ["mirror\n", "mirror short\n", &format!("mirror {}\u{e9}\n", "t".repeat(32))] {
            let (_folder, path) = file(text);
            let error = Readers::read(Some(&path)).unwrap_err().to_string();
            assert!(error.contains("line 1") && !error.contains("short"), "{error}");
        }
        assert!(Readers::read(Some(Path::new("/nowhere"))).is_err());
    }
}
