//! `[ledger]`: under which origin the log is signed, who may read it, and where its newest checkpoint is remembered.

use std::path::PathBuf;

use http::Uri;

use super::database::DatabaseConfig;
use super::reader::Section;
use crate::domain::Issuer;
use crate::ledger::note::{KeyKind, KeyName, VerifierKey};

/// The log of the control plane's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// First line of every checkpoint, and name of the keys that sign them.
    pub origin: KeyName,
    /// Whether it was named: else the one of the first start stays, whatever the URL is later.
    pub is_origin_named: bool,
    /// Whether anybody may read it.
    pub public: bool,
    /// Names and tokens of programs that may read it, mode 0600.
    pub readers: Option<PathBuf>,
    /// Where this process remembers the newest checkpoint that it signed, outside the database.
    pub head: Option<PathBuf>,
    pub witnesses: Vec<WitnessConfig>,
}

/// Somebody else who cosigns what the log has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessConfig {
    /// Its submission prefix: `add-checkpoint` is under it.
    pub url: Uri,
    pub key: VerifierKey,
    /// Its own authority; absent: the system's.
    pub ca: Option<PathBuf>,
}

/// Reads the table, which may be absent.
pub(super) fn read_ledger(
    section: Option<&Section<'_>>,
    url: Option<&Issuer>,
    database: Option<&DatabaseConfig>,
) -> Option<LedgerConfig> {
    let is_origin_named = section.is_some_and(|section| section.has("origin"));
    let named = section.filter(|section| section.has("origin")).map(|section| section.optional("origin"));
    let origin = match named {
        Some(origin) => origin?,
        None => default_origin(url?)?,
    };
    let beside = database.and_then(DatabaseConfig::file).map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".ledger-head");
        PathBuf::from(name)
    });
    Some(LedgerConfig {
        origin,
        is_origin_named,
        public: section.is_some_and(|section| section.boolean("public", false)),
        readers: section.and_then(|section| section.path("readers")),
        head: section.and_then(|section| section.path("head")).or(beside),
        witnesses: section.map(read_witnesses).unwrap_or_default(),
    })
}

fn read_witnesses(section: &Section<'_>) -> Vec<WitnessConfig> {
    section
        .sections("witness")
        .iter()
        .filter_map(|witness| {
            let (url, key): (Option<Uri>, Option<VerifierKey>) = (witness.required("url"), witness.required("key"));
            let ca = witness.path("ca");
            let (url, key) = (url?, key?);
            if !matches!(url.scheme_str(), Some("https" | "http")) || url.query().is_some() {
                witness.mistake("url", "must begin with https:// or http://, and have no query", None);
            }
            if key.kind() != KeyKind::Cosignature {
                witness.mistake("key", "is not a key for cosignatures", Some("a witness prints its verifier key"));
            }
            Some(WitnessConfig { url, key, ca })
        })
        .collect()
}

/// The URL without its scheme, as c2sp.org/tlog-tiles recommends: where the log is served.
fn default_origin(url: &Issuer) -> Option<KeyName> {
    let (_, rest) = url.as_str().split_once("://")?;
    format!("{}/ledger", rest.trim_end_matches('/')).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::parse;
    use super::*;

    fn read(text: &str) -> Result<LedgerConfig, String> {
        let url: Issuer = "https://breakglass.example:9443/".parse().unwrap();
        let database = DatabaseConfig::Sqlite("data/control.db".into());
        parse(Path::new("etc/c.toml"), text, |root| {
            read_ledger(root.section("ledger").as_ref(), Some(&url), Some(&database))
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_need_be_said() {
        let config = read("").unwrap();
        assert_eq!(config.origin.as_str(), "breakglass.example:9443/ledger");
        assert_eq!((config.public, config.readers, config.is_origin_named), (false, None, false));
        assert_eq!(config.head, Some("data/control.db.ledger-head".into()));
    }

    #[test]
    fn a_witness_is_somewhere_and_has_a_key_for_cosignatures() {
        let key = |kind| VerifierKey::new("w.test".parse().unwrap(), kind, [7; 32]);
        let text = |url: &str, kind| format!("[[ledger.witness]]\nurl = \"{url}\"\nkey = \"{}\"\n", key(kind));
        let config = read(&text("https://w.test/a", KeyKind::Cosignature)).unwrap();
        assert_eq!(config.witnesses[0].key, key(KeyKind::Cosignature));
        let report = read(&text("ftp://w.test", KeyKind::Note)).unwrap_err();
        for wanted in ["witness[0].url: must begin with https://", "witness[0].key: is not a key for cosignatures"] {
            assert!(report.contains(wanted), "{wanted:?} is not in\n{report}");
        }
    }

    #[test]
    fn everything_can_be_said_and_a_mistake_is_told() {
        let config =
            read("[ledger]\norigin = \"log.example/a\"\npublic = true\nreaders = \"r\"\nhead = \"/h\"\n").unwrap();
        assert_eq!(config.origin.as_str(), "log.example/a");
        assert_eq!((config.public, config.readers, config.is_origin_named), (true, Some("etc/r".into()), true));
        assert_eq!(config.head, Some("/h".into()));
        let report = read("[ledger]\norigin = \"a log\"\n").unwrap_err();
        assert!(report.contains("ledger.origin: a key's name is not empty"), "{report}");
    }
}
