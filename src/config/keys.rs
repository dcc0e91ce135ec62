//! Where the control plane's private keys are: files of a folder, or a hardware module behind PKCS #11 (OASIS PKCS #11
//! 3.1); and who may make them.
//!
//! `keys = "folder"` is the simple case, a `[keys]` table the whole. It must never let a replica on PostgreSQL make a key:
//! replicas load what an operator put there, so that all of them hold the same.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::reader::Section;
use crate::token::PublicKey;

/// How long after a key was made it begins to sign, where nothing is said: all replicas must have it by then.
const ACTIVATION_DELAY_S: u64 = 3600;
const ACTIVATION_DELAY_S_RANGE: std::ops::RangeInclusive<u64> = 0..=7 * 86_400;
const ROOT_LABEL: &str = "breakglass-root";
const GRANT_LABEL: &str = "breakglass-grant";
const LEDGER_LABEL: &str = "breakglass-ledger";

/// The keys, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysConfig {
    /// Holds the certificates, the public roots, and the private keys that are files.
    pub folder: PathBuf,
    /// Whether the control plane may make what is missing, and the next grant key when one is due.
    pub create: bool,
    /// How long after it was made a grant key begins to sign.
    pub activation_delay: Duration,
    /// Roots that were followed by the one there is: what they certified still holds.
    pub former_roots: Vec<PublicKey>,
    pub root: KeySource,
    pub grant: KeySource,
    pub ledger: KeySource,
}

/// Where the private keys of one purpose are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the folder.
    File,
    /// In a token of a hardware module.
    Token(TokenKeys),
}

/// Keys in a token, by their label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKeys {
    pub token: TokenPlace,
    /// CKA_LABEL of both halves.
    pub label: String,
    /// CKA_ID, where several keys bear the label.
    pub id: Option<ObjectId>,
}

impl TokenKeys {
    /// Whether what bears the one's label may be found under the other's.
    fn may_be_mistaken_for(&self, other: &Self) -> bool {
        let differ =
            |one: &Option<String>, other: &Option<String>| matches!((one, other), (Some(a), Some(b)) if a != b);
        let (one, two) = (&self.token, &other.token);
        let elsewhere = differ(&one.label, &two.label) || differ(&one.serial, &two.serial);
        self.label == other.label && one.module == two.module && !elsewhere
    }
}

/// Which token, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenPlace {
    /// The shared library that speaks to it.
    pub module: PathBuf,
    /// At least one of label and serial number.
    pub label: Option<String>,
    pub serial: Option<String>,
    /// Mode 0600.
    pub pin_file: PathBuf,
}

/// CKA_ID of an object, in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId(pub Vec<u8>);

impl FromStr for ObjectId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be pairs of hexadecimal digits";
        if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        let pair = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(wrong);
        (0..text.len()).step_by(2).map(pair).collect::<Result<_, _>>().map(Self)
    }
}

impl KeysConfig {
    /// Files of `folder` for every purpose.
    pub fn in_folder(folder: PathBuf, create: bool) -> Self {
        Self {
            folder,
            create,
            activation_delay: Duration::from_secs(ACTIVATION_DELAY_S),
            former_roots: Vec::new(),
            root: KeySource::File,
            grant: KeySource::File,
            ledger: KeySource::File,
        }
    }
}

/// Reads `keys` of the control plane's file, a folder or a table. On a database that replicas share, none is made.
pub(super) fn read_keys(root: &Section<'_>, is_shared: bool) -> Option<KeysConfig> {
    if root.has_table("keys") {
        read_table(&root.section("keys")?, is_shared)
    } else {
        Some(KeysConfig::in_folder(root.required_path("keys")?, !is_shared))
    }
}

fn read_table(section: &Section<'_>, is_shared: bool) -> Option<KeysConfig> {
    let folder = section.required_path("folder");
    let create = section.boolean("create", !is_shared);
    if create && is_shared {
        let hint = "leave it out, and run `breakglass-control keys init` once";
        section.mistake("create", "a replica on PostgreSQL never makes a key", Some(hint));
    }
    let delay_s = section.integer("activation_delay_s", ACTIVATION_DELAY_S_RANGE, ACTIVATION_DELAY_S);
    let former_roots = section.list("former_roots");
    let root = read_source(section, "root", ROOT_LABEL);
    let grant = read_source(section, "grant", GRANT_LABEL);
    let ledger = read_source(section, "ledger", LEDGER_LABEL);
    for (purpose, other) in [("root", &root), ("grant", &grant)] {
        if let (Some(KeySource::Token(ledger)), Some(KeySource::Token(other))) = (&ledger, other)
            && other.may_be_mistaken_for(ledger)
        {
            let what = format!("has the label of \"{purpose}\", in the same token");
            section.mistake("ledger", what, Some("give each purpose its own label"));
        }
    }
    if let (Some(KeySource::Token(root)), Some(KeySource::Token(grant))) = (&root, &grant)
        && root.may_be_mistaken_for(grant)
    {
        section.mistake(
            "grant",
            "has the label of the root, in the same token",
            Some("give each purpose its own label"),
        );
    }
    let activation_delay = Duration::from_secs(delay_s);
    let folder = folder?;
    Some(KeysConfig { folder, create, activation_delay, former_roots, root: root?, grant: grant?, ledger: ledger? })
}

fn read_source(keys: &Section<'_>, purpose: &'static str, label: &str) -> Option<KeySource> {
    if !keys.has(purpose) {
        return Some(KeySource::File);
    }
    let section = keys.section(purpose)?;
    if !section.has("source") {
        section.missing("source");
    }
    let is_token = section.choice("source", &[("file", false), ("pkcs11", true)]).or_else(|| {
        section.ignore_unknown();
        None
    })?;
    if !is_token {
        return Some(KeySource::File);
    }
    let token = read_token(&section);
    let label = section.optional("label").unwrap_or_else(|| label.to_owned());
    // Of grant keys there are several by design.
    let id = if purpose == "root" { section.optional("id") } else { None };
    Some(KeySource::Token(TokenKeys { token: token?, label, id }))
}

fn read_token(section: &Section<'_>) -> Option<TokenPlace> {
    let (label, serial) = (section.optional("token"), section.optional("serial"));
    if !section.has("token") && !section.has("serial") {
        section.mistake("token", "is missing (the token's label; or name its serial number as serial)", None);
    }
    let (module, pin_file) = (section.required_path("module"), section.required_path("pin_file"));
    Some(TokenPlace { module: module?, label, serial, pin_file: pin_file? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::reader::parse;
    use super::*;

    fn read(text: &str) -> Result<KeysConfig, String> {
        parse(Path::new("etc/c.toml"), text, |root| {
            root.ignore_unknown();
            let database: Option<String> = root.optional("database");
            read_keys(root, database.is_some_and(|url| url.starts_with("postgresql:")))
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_is_enough() {
        let keys = read("database = \"x.db\"\nkeys = \"keys\"\n").unwrap();
        assert_eq!(keys, KeysConfig::in_folder("etc/keys".into(), true));
        assert!(!read("database = \"postgresql://h/d\"\nkeys = \"keys\"\n").unwrap().create);
        assert!(!read("database = \"postgresql://h/d\"\n[keys]\nfolder = \"keys\"\n").unwrap().create);
        let keys = read("[keys]\nfolder = \"k\"\ncreate = false\n[keys.root]\nsource = \"file\"\n").unwrap();
        assert_eq!(keys, KeysConfig::in_folder("etc/k".into(), false));
    }

    #[test]
    fn a_token_is_named_by_label_or_serial_number() {
        let text = "[keys]\nfolder = \"k\"\n[keys.root]\nsource = \"pkcs11\"\nmodule = \"/lib/m.so\"\ntoken = \"t\"\n\
                    pin_file = \"pin\"\nid = \"00fF\"\n[keys.grant]\nsource = \"pkcs11\"\nmodule = \"m.so\"\n\
                    serial = \"7\"\npin_file = \"/pin\"\nlabel = \"mine\"\n";
        let keys = read(text).unwrap();
        let KeySource::Token(root) = keys.root else { panic!("{keys:?}") };
        assert_eq!((root.label.as_str(), root.id), (ROOT_LABEL, Some(ObjectId(vec![0, 255]))));
        assert_eq!((root.token.module, root.token.pin_file), ("/lib/m.so".into(), "etc/pin".into()));
        let KeySource::Token(grant) = keys.grant else { panic!("{:?}", keys.grant) };
        assert_eq!((grant.label.as_str(), grant.id, grant.token.serial.as_deref()), ("mine", None, Some("7")));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, wanted) in [
            (
                "database = \"postgresql://h/d\"\n[keys]\nfolder = \"k\"\ncreate = true\n",
                "c.toml:4:10: keys.create: a replica",
            ),
            ("[keys]\ncreate = true\n", "keys.folder: is missing"),
            ("keys = 3\n", "keys: must be a string"),
            ("[keys]\nfolder = \"k\"\n[keys.root]\nmodule = \"m\"\n", "keys.root.source: is missing"),
            ("[keys]\nfolder = \"k\"\n[keys.root]\nsource = \"hsm\"\n", "must be one of \"file\", \"pkcs11\""),
            (
                "[keys]\nfolder = \"k\"\n[keys.root]\nsource = \"file\"\nmodule = \"m\"\n",
                "keys.root.module: unknown key",
            ),
            ("[keys]\nfolder = \"k\"\n[keys.grant]\nsource = \"pkcs11\"\n", "keys.grant.token: is missing"),
            (
                "[keys]\nfolder = \"k\"\n[keys.root]\nsource = \"pkcs11\"\nmodule = \"m\"\ntoken = \"t\"\n\
                 pin_file = \"p\"\nlabel = \"l\"\n[keys.grant]\nsource = \"pkcs11\"\nmodule = \"m\"\n\
                 serial = \"7\"\npin_file = \"p\"\nlabel = \"l\"\n",
                "keys.grant: has the label of the root",
            ),
            ("[keys]\nfolder = \"k\"\nformer_roots = [\"x\"]\n", "keys.former_roots: a public key is 32 bytes"),
        ] {
            let report = read(text).unwrap_err();
            assert!(report.contains(wanted), "{wanted:?} is not in\n{report}");
        }
        for id in ["", "0", "0g", "é0"] {
            assert!(id.parse::<ObjectId>().is_err(), "{id}");
        }
    }
}
