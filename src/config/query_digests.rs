//! `[audit.query_digests]`: values of a query that are told as keyed digests.

use std::path::PathBuf;

use super::reader::Section;

const PARAMETERS_MAX: usize = 32;
const PARAMETER_BYTES_MAX: usize = 64;

/// Which values, and by which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryDigestConfig {
    /// 32 bytes or more, of whatever kind.
    pub key_file: PathBuf,
    /// Names as they stand in a query, before anything is decoded.
    pub parameters: Vec<String>,
}

pub(super) fn read_query_digests(section: &Section<'_>) -> Option<QueryDigestConfig> {
    let key_file = section.required_path("key_file");
    let parameters: Vec<String> = section.required_list("parameters");
    let fits = |name: &String| {
        let is_sound = |byte: u8| byte.is_ascii_graphic() && !b"&=#".contains(&byte);
        (1..=PARAMETER_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_sound)
    };
    if parameters.len() > PARAMETERS_MAX || !parameters.iter().all(fits) {
        let what =
            format!("must be at most {PARAMETERS_MAX} names of 1 to {PARAMETER_BYTES_MAX} characters, as in a URL");
        section.mistake("parameters", what, None);
    }
    Some(QueryDigestConfig { key_file: key_file?, parameters })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader;

    fn read(text: &str) -> Result<QueryDigestConfig, String> {
        reader::parse(Path::new("sidecar.toml"), text, read_query_digests).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_held_to_what_a_url_can_carry() {
        let config = read("key_file = \"k\"\nparameters = [\"invoice\", \"%69ban\"]").unwrap();
        assert_eq!(config.parameters, ["invoice", "%69ban"]);
        for (text, wanted) in [
            ("parameters = [\"a\"]", "key_file: is missing"),
            ("key_file = \"k\"", "parameters: is missing"),
            ("key_file = \"k\"\nparameters = []", "parameters: must not be empty"),
            ("key_file = \"k\"\nparameters = [\"a=b\"]", "parameters: must be at most 32 names"),
            ("key_file = \"k\"\nparameters = [\"\"]", "parameters: must be at most 32 names"),
        ] {
            let report = read(text).unwrap_err();
            assert!(report.contains(wanted), "{wanted:?} is not in {report}");
        }
    }
}
