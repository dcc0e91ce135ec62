//! `[audit.capture]`: what keeping members of JSON bodies may cost, and by which key their digests are made.
//!
//! Which members are kept is for a service's routes to say ([`super::captured_field`]).

use std::path::PathBuf;

use super::reader::Section;

const BODY_BYTES_DEFAULT: u64 = 64 * 1024;
const MEMORY_BYTES_DEFAULT: u64 = 32 << 20;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureConfig {
    /// A longer body is not captured.
    pub body_bytes_max: usize,
    /// Of all bodies that are held at once.
    pub memory_bytes_max: usize,
    /// 32 bytes or more, of whatever kind.
    pub key_file: Option<PathBuf>,
}

/// `[audit.capture]`; everything in it has a default.
pub(super) fn read_capture(audit: &Section<'_>) -> CaptureConfig {
    let read = |section: &Section<'_>| CaptureConfig {
        body_bytes_max: section.size("body_bytes_max", 1024..=(1 << 20), BODY_BYTES_DEFAULT),
        memory_bytes_max: section.size("memory_bytes_max", (1 << 20)..=(1 << 30), MEMORY_BYTES_DEFAULT),
        key_file: section.path("key_file"),
    };
    audit.section("capture").map_or_else(CaptureConfig::default, |section| read(&section))
}

impl Default for CaptureConfig {
    fn default() -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { body_bytes_max: size(BODY_BYTES_DEFAULT), memory_bytes_max: size(MEMORY_BYTES_DEFAULT), key_file: None }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader;

    #[test]
    fn what_a_capture_may_cost_has_limits() {
        let read = |text: &str| {
            reader::parse(Path::new("sidecar.toml"), text, |root| Some(read_capture(root)))
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("").unwrap(), CaptureConfig::default());
        let config = read("[capture]\nbody_bytes_max = 2048\nkey_file = \"k\"\n").unwrap();
        assert_eq!((config.body_bytes_max, config.key_file), (2048, Some(PathBuf::from("k"))));
        assert!(read("[capture]\nbody_bytes_max = 9\n").unwrap_err().contains("must be from 1024 to 1048576"));
    }
}
