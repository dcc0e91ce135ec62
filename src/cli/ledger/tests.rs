//! Verdicts are exit codes, whoever keeps the copy.

use std::path::{Path, PathBuf};

use super::*;
use crate::cli::args::{CommandLine, Verb};
use crate::cli::output::capture;
use crate::cli::{audit, session};
use crate::domain::GrantId;
use crate::ledger::forgery::{bundles_of, first_changed, forged, forgeries};
use crate::ledger::sample::{SampleLog, write_resources};
use crate::ledger::tile::{Kind, TilePath};
use clap::Parser as _;

/// Runs `breakglass audit …`: how it ended, and what it printed.
async fn run(words: &[&str]) -> (Result<(), Failure>, String) {
    let line =
        CommandLine::try_parse_from(["breakglass", "audit"].iter().chain(words)).unwrap_or_else(|e| panic!("{e}"));
    let Verb::Audit(args) = line.verb else { panic!("not audit") };
    let (mut out, data, _) = capture::output(line.global.output);
    let env: session::Lookup<'_> = &|_| None;
    let ended = audit::run(&args, &line.global, env, &mut out).await;
    (ended, data.text())
}

struct Bench {
    log: SampleLog,
    folder: tempfile::TempDir,
    key: String,
}

impl Bench {
    fn of(size: u64) -> Self {
        let (log, folder) = (SampleLog::of(size), tempfile::tempdir().unwrap());
        log.write(&folder.path().join("log"));
        let key = log.key().to_string();
        Self { log, folder, key }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn a_copy_verifies_as_the_ledger_does_and_an_altered_one_names_the_entry() {
    let bench = Bench::of(600);
    let (log, key, copy) = (bench.path("log"), bench.key.as_str(), bench.path("copy"));
    let (ended, said) = run(&["verify", &log, "--key", key, "--copy-to", &copy]).await;
    assert_eq!(ended, Ok(()), "{said}");
    assert!(said.contains("whole and unchanged") && said.contains("600 entries, root "), "{said}");
    let (ended, said) = run(&["verify", &copy, "--key", key]).await;
    assert_eq!(ended, Ok(()), "{said}");
    let bundle = bench.file("copy/tile/entries/001");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let (ended, said) = run(&["verify", &copy, "--key", key, "--output", "json"]).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Unverified);
    let findings: serde_json::Value = serde_json::from_str(&said).unwrap();
    let named = findings[0]["first_wrong_entry"].as_u64().unwrap();
    assert!((256..512).contains(&named), "{said}");
    std::fs::remove_file(bench.file("log/tile/0/002.p/88")).unwrap();
    let (ended, said) = run(&["verify", &log, "--key", key]).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Unverified);
    assert!(said.contains("tile/0/002.p/88 is missing"), "{said}");
}

#[tokio::test]
async fn nobody_is_believed_who_was_not_named() {
    let bench = Bench::of(3);
    let log = bench.path("log");
    assert_eq!(run(&["verify", &log]).await.0.unwrap_err().exit, Exit::Usage);
    let stranger = SampleLog::of(0).key().to_string();
    assert_eq!(run(&["verify", &log, "--key", &stranger]).await.0.unwrap_err().exit, Exit::Unverified);
    let witness = SampleLog::of(0).key();
    let witness =
        crate::ledger::note::VerifierKey::new("w.test".parse().unwrap(), KeyKind::Cosignature, *witness.public());
    let (ended, _) = run(&["verify", &log, "--key", &bench.key, "--witness", &witness.to_string()]).await;
    assert!(ended.unwrap_err().message.contains("the witness w.test has not cosigned"));
    let segments = bench.path("segments");
    std::fs::create_dir(&segments).unwrap();
    assert_eq!(run(&["verify", &log, &segments, "--key", &bench.key]).await.0.unwrap_err().exit, Exit::Usage);
    let nowhere = bench.path("nowhere");
    assert_eq!(run(&["prove", "0", "--log", &nowhere, "--key", &bench.key]).await.0.unwrap_err().exit, Exit::Failed);
}

#[tokio::test]
async fn a_ledger_must_begin_as_it_was_known_to() {
    let bench = Bench::of(300);
    let log = bench.path("log");
    std::fs::write(bench.file("known"), bench.log.note_of(257)).unwrap();
    let with = async |file: &str| run(&["verify", &log, "--key", &bench.key, "--known", &bench.path(file)]).await;
    assert_eq!(with("known").await.0, Ok(()));
    let mut entries = bench.log.entries.clone();
    entries.swap(3, 4);
    std::fs::write(bench.file("fork"), bench.log.with(entries).note_of(257)).unwrap();
    let (ended, said) = with("fork").await;
    assert_eq!(ended.unwrap_err().exit, Exit::Unverified);
    assert!(said.contains("does not begin with the 257 entries"), "{said}");
}

#[tokio::test]
async fn an_entry_is_proven_by_a_file_that_stands_alone() {
    let bench = Bench::of(300);
    let (log, file) = (bench.path("log"), bench.path("e.tlog-proof"));
    assert_eq!(run(&["prove", "271", "--log", &log, "--key", &bench.key, "--out", &file]).await.0, Ok(()));
    std::fs::remove_dir_all(&log).unwrap();
    let (ended, said) = run(&["check-proof", &file, "--key", &bench.key]).await;
    assert_eq!(ended, Ok(()), "{said}");
    assert!(said.contains("271") && said.contains("grant_expired") && said.contains("holds"), "{said}");
    let altered = std::fs::read_to_string(&file).unwrap().replace("index 271", "index 270");
    std::fs::write(&file, altered).unwrap();
    let (ended, said) = run(&["check-proof", &file, "--key", &bench.key]).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Unverified);
    assert!(said.contains("another root"), "{said}");
    let (ended, _) = run(&["check-proof", &file]).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Usage);
}

#[tokio::test]
async fn what_does_not_prove_its_entries_gives_no_proof() {
    let bench = Bench::of(300);
    let mut resources = bench.log.resources();
    let tile = TilePath { kind: Kind::Hashes(0), n: 1, width: 44 };
    resources.get_mut(&tile).unwrap()[5] ^= 1;
    let forged = bench.file("forged");
    write_resources(&forged, &bench.log.note(), &resources);
    let prove = async |entry: &str| {
        run(&["prove", entry, "--log", forged.to_str().unwrap(), "--key", &bench.key]).await.0.unwrap_err()
    };
    assert!(prove("7").await.message.contains("does not prove entry 7"));
    let beyond = prove("300").await;
    assert_eq!((beyond.exit, beyond.message.as_str()), (Exit::Failed, "the tree of 300 entries has no entry 300"));
}

#[tokio::test]
async fn everything_about_a_grant_is_exported_with_proofs() {
    let bench = Bench::of(300);
    let (log, folder) = (bench.path("log"), bench.path("export"));
    // The sample has three entries of each grant.
    let grant = GrantId::from_random(90).to_string();
    let export = ["export", "--grant", &grant, "--log", &log, "--key", &bench.key, "--out", &folder];
    let (ended, said) = run(&export).await;
    assert_eq!(ended, Ok(()), "{said}");
    let contents: serde_json::Value =
        serde_json::from_slice(&std::fs::read(Path::new(&folder).join("contents.json")).unwrap()).unwrap();
    let indices: Vec<_> =
        contents["entries"].as_array().unwrap().iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!((indices, contents["size"].as_u64()), (vec![270, 271, 272], Some(300)));
    assert_eq!(run(&["check-proof", &folder, "--key", &bench.key]).await.0, Ok(()));
    assert_eq!(run(&export).await.0.unwrap_err().exit, Exit::Failed, "nothing is written over");
    let nobody = GrantId::from_random(4711).to_string();
    let (ended, _) =
        run(&["export", "--grant", &nobody, "--log", &log, "--key", &bench.key, "--out", &bench.path("x")]).await;
    assert!(ended.unwrap_err().message.starts_with("no entry is about"));
}

/// The verifier in Go, built once; it shares no code with this project.
fn go_verifier() -> &'static Path {
    static BUILT: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    static PATH: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    PATH.get_or_init(|| {
        let folder = BUILT.get_or_init(|| tempfile::tempdir().unwrap());
        let (source, program) =
            (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verifier/verify.go"), folder.path().join("verify"));
        let built = std::process::Command::new("go")
            .args(["build", "-o", program.to_str().unwrap(), source])
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .env("GOFLAGS", "")
            .env("GOCACHE", concat!(env!("CARGO_MANIFEST_DIR"), "/target/go-cache"))
            .output()
            .expect("install golang-go and golang-golang-x-mod-dev");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    })
}

fn go(words: &[&str]) -> (bool, String) {
    let ended = std::process::Command::new(go_verifier()).args(words).output().unwrap();
    (ended.status.success(), String::from_utf8_lossy(&ended.stdout).trim().to_owned())
}

#[test]
fn go_s_own_libraries_accept_the_ledger_its_growth_and_its_proofs() {
    let bench = Bench::of(700);
    let (log, key) = (bench.path("log"), bench.key.as_str());
    let expected = format!("ok: 700 entries, root {}", bench.log.root(700));
    assert_eq!(go(&["log", &log, key]), (true, expected));
    for index in [0, 255, 256, 699] {
        let file = bench.path("p.tlog-proof");
        std::fs::write(&file, bench.log.prove(index).to_string()).unwrap();
        assert_eq!(go(&["proof", &file, key]), (true, format!("ok: entry {index}")));
    }
    for old in [1, 256, 300, 512, 700] {
        let file = bench.path("old");
        std::fs::write(&file, bench.log.note_of(old)).unwrap();
        assert_eq!(go(&["consistency", &file, &log, key]), (true, format!("ok: {old} entries grew into 700")));
    }
    let stranger = SampleLog::of(0).key().to_string();
    assert!(!go(&["log", &log, &stranger]).0);
}

#[test]
fn go_s_own_libraries_refuse_what_we_refuse_and_name_the_same_entry() {
    let bench = Bench::of(600);
    let refused = |name: &str, entries: Vec<String>, first: u64| {
        let mut resources = bench.log.resources();
        for (path, bytes) in bench.log.with(entries).resources() {
            if path.kind == Kind::Entries && resources.contains_key(&path) {
                resources.insert(path, bytes);
            }
        }
        let folder = bench.file(name);
        write_resources(&folder, &bench.log.note(), &resources);
        let (accepted, said) = go(&["log", folder.to_str().unwrap(), &bench.key]);
        assert!(!accepted && said.starts_with(&format!("entry {first}: ")), "{name}: {said}");
    };
    let entries = &bench.log.entries;
    let mut altered = entries.clone();
    altered[300] = altered[300].replace("grant_expired", "grant_revoked");
    refused("altered", altered, 300);
    let mut swapped = entries.clone();
    swapped.swap(10, 500);
    refused("swapped", swapped, 10);
    let mut dropped = entries.clone();
    dropped.remove(599);
    let short = TilePath { kind: Kind::Entries, n: 2, width: 88 };
    let folder = bench.file("dropped");
    let mut resources = bench.log.resources();
    resources.insert(short, bench.log.with(dropped).bundle(2));
    write_resources(&folder, &bench.log.note(), &resources);
    assert_eq!(go(&["log", folder.to_str().unwrap(), &bench.key]), (false, "entry 599: it is missing".to_owned()));
    let mut inserted = entries.clone();
    inserted.insert(256, entries[3].clone());
    refused("inserted", inserted, 256);
    for path in bench.log.resources().into_keys().filter(|path| path.kind != Kind::Entries) {
        let mut resources = bench.log.resources();
        resources.get_mut(&path).unwrap()[17] ^= 4;
        let folder = bench.file("tile");
        write_resources(&folder, &bench.log.note(), &resources);
        assert!(!go(&["log", folder.to_str().unwrap(), &bench.key]).0, "{path}");
    }
    let whole = bench.path("log");
    let (note, checkpoint) = (bench.log.note(), bench.file("log/checkpoint"));
    let signed_text = note.split("\n\n").next().unwrap().len();
    for place in 0..signed_text {
        let mut edited = note.clone().into_bytes();
        edited[place] ^= 1;
        std::fs::write(&checkpoint, edited).unwrap();
        assert!(!go(&["log", &whole, &bench.key]).0, "byte {place} of the checkpoint");
    }
    std::fs::write(&checkpoint, bench.log.note_of(599)).unwrap();
    std::fs::write(bench.file("later"), &note).unwrap();
    assert!(!go(&["consistency", &bench.path("later"), &whole, &bench.key]).0, "a shorter tree than was known");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]

    /// Whatever a forger does, Go's libraries and ours refuse it, and name the same entry.
    #[test]
    fn go_s_own_libraries_name_the_entry_that_we_name(size in 1_u64..700, forgery in forgeries()) {
        let bench = Bench::of(size);
        let entries = forged(&bench.log.entries, &forgery);
        let Some(first) = first_changed(&bench.log.entries, &entries) else { return Ok(()) };
        let folder = bench.file("forged");
        write_resources(&folder, &bench.log.note(), &bundles_of(&bench.log, entries));
        let (accepted, said) = go(&["log", folder.to_str().unwrap(), &bench.key]);
        proptest::prop_assert!(!accepted && said.starts_with(&format!("entry {first}: ")), "{:?}: {}", forgery, said);
    }
}
