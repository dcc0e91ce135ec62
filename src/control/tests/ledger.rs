//! The log as it is signed and served, and what a start refuses.

use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

use super::bench::{Bench, bearer, problem, request};
use crate::control::StartError;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::note::VerifierKey;
use crate::ledger::verify::{Verification, bundles, examine};
use crate::wire::api::KeysView;

const PUBLIC: &str = "[ledger]\npublic = true\n";

async fn keys(bench: &Bench) -> Vec<VerifierKey> {
    let view: KeysView = bench.get("", "/v1/keys").await.json().unwrap();
    view.ledger_keys.iter().map(|key| key.parse().unwrap()).collect()
}

/// The newest checkpoint, once it covers every entry there is now.
async fn signed(bench: &Bench) -> SignedCheckpoint {
    let wanted = bench.running.store().entries(0, 1000).await.unwrap().len() as u64;
    bench.running.state.ledger.step().await.unwrap();
    let answer = bench.fetch("/ledger/checkpoint", HeaderMap::new()).await;
    assert_eq!(answer.status, 200);
    let note = String::from_utf8(answer.body.to_vec()).unwrap();
    let signed = SignedCheckpoint::verify(&note, &keys(bench).await).unwrap();
    assert!(signed.checkpoint.size >= wanted);
    signed
}

async fn bytes(bench: &Bench, path: &str) -> Option<Vec<u8>> {
    let answer = bench.fetch(&format!("/ledger/{path}"), HeaderMap::new()).await;
    (answer.status == 200).then(|| answer.body.to_vec())
}

#[tokio::test]
async fn everything_that_happened_is_in_a_log_that_verifies() {
    let bench = Bench::start_with("", PUBLIC).await;
    let alice = bench.alice();
    bench.granted(&alice, &request(json!({}))).await;
    let SignedCheckpoint { checkpoint, .. } = signed(&bench).await;
    let mut verification = Verification::new(checkpoint.clone(), Vec::new());
    for (n, width) in bundles(checkpoint.size) {
        let bundle = bytes(&bench, &format!("tile/entries/{n:03}.p/{width}")).await;
        let tile = bytes(&bench, &format!("tile/0/{n:03}.p/{width}")).await;
        verification.piece(examine((n, width), bundle.as_deref(), tile.as_deref(), &[]));
    }
    let report = verification.finish();
    assert_eq!(report.wrong, None);
    assert_eq!(report.entries, checkpoint.size);
    let answer = bench.fetch("/ledger/checkpoint", HeaderMap::new()).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "public, max-age=1");
    let answer = bench.fetch("/ledger/tile/0/000.p/1", HeaderMap::new()).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    let metrics = String::from_utf8(bench.admin("/metrics").await.body.to_vec()).unwrap();
    let size = format!("breakglass_control_ledger_signed_size {}", checkpoint.size);
    assert!(metrics.contains("breakglass_control_ledger_failing 0"), "{metrics}");
    assert!(metrics.contains("breakglass_control_ledger_signed_size ") || metrics.contains(&size), "{metrics}");
}

#[tokio::test]
async fn what_is_not_signed_or_not_there_is_not_served() {
    let bench = Bench::start_with("", PUBLIC).await;
    let size = signed(&bench).await.checkpoint.size;
    for path in [
        format!("/ledger/tile/0/000.p/{}", size + 1),
        format!("/ledger/tile/entries/000.p/{}", size + 1),
        "/ledger/tile/0/000".into(),
        "/ledger/tile/0/001.p/1".into(),
        "/ledger/tile/1/000.p/1".into(),
        "/ledger/tile/0/0.p/1".into(),
        "/ledger/tile/0/000.p/01".into(),
        "/ledger/tile/0/%2e%2e/000".into(),
        "/ledger/tile/x/000".into(),
        "/ledger/tile/".into(),
        "/ledger/".into(),
    ] {
        let answer = bench.fetch(&path, HeaderMap::new()).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
    }
}

#[tokio::test]
async fn a_log_that_is_not_public_is_for_those_who_see_everything_and_for_readers() {
    let token = "r".repeat(40);
    let bench = Bench::start().await;
    let readers = format!("mirror {token}\n");
    let bench = bench
        .restart_after(async |folder| {
            crate::control::keys::write_private(&folder.join("readers"), readers.as_bytes()).unwrap();
            let file = folder.join("control.toml");
            let text = std::fs::read_to_string(&file).unwrap() + "\n[ledger]\nreaders = \"readers\"\n";
            std::fs::write(file, text).unwrap();
        })
        .await
        .unwrap();
    bench.running.state.ledger.step().await.unwrap();
    let ask = async |headers: HeaderMap| bench.fetch("/ledger/checkpoint", headers).await;
    assert_eq!(problem(&ask(HeaderMap::new()).await).code, "identity_missing");
    assert_eq!(problem(&ask(bearer(&token[1..])).await).code, "identity_invalid");
    assert_eq!(problem(&ask(bearer(&bench.alice())).await).code, "not_permitted");
    let auditor = bench.token("ann", &["auditors"], json!({}));
    for good in [&token, &auditor] {
        let answer = ask(bearer(good)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers[header::CACHE_CONTROL]),
            (200, &HeaderValue::from_static("private, max-age=1"))
        );
    }
    assert_eq!(bench.fetch("/ledger/tile/0/000.p/1", HeaderMap::new()).await.status, 401);
    assert_eq!(bench.fetch("/ledger/tile/0/000.p/1", bearer(&token)).await.status, 200);
}

async fn refused(bench: Bench, act: impl AsyncFnOnce(&std::path::Path)) -> String {
    match bench.restart_after(act).await {
        Err(error @ StartError::Ledger(_)) => crate::error_chain::error_chain(&error),
        Err(other) => panic!("refused for another cause: {other}"),
        Ok(_) => panic!("it started"),
    }
}

fn key_file(folder: &std::path::Path) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(folder.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("ledger-key-")).unwrap()
}

async fn database(folder: &std::path::Path, text: &'static str) {
    use sqlx::{ConnectOptions as _, Connection as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("data/control.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_missing_or_replaced_key_is_refused() {
    let said = refused(Bench::start().await, async |folder| std::fs::remove_file(key_file(folder)).unwrap()).await;
    assert!(said.contains("the ledger's key is not in") && said.contains("put it back"), "{said}");
    let list = "keys/ledger-keys.pub";
    let said = refused(Bench::start().await, async |folder| std::fs::remove_file(folder.join(list)).unwrap()).await;
    assert!(said.contains("the ledger's key is not in"), "{said}");
    let said = refused(Bench::start().await, async |folder| {
        std::fs::remove_file(key_file(folder)).unwrap();
        std::fs::remove_file(folder.join(list)).unwrap();
        let config = crate::config::control::ControlConfig::load(&folder.join("control.toml")).unwrap();
        crate::control::keys::ledger::rotate(&config.keys).await.unwrap();
    })
    .await;
    assert!(said.contains("does not name the key that signed"), "{said}");
}

#[tokio::test]
async fn an_older_copy_another_history_or_an_edited_tree_is_refused() {
    let grown = async || {
        let bench = Bench::start_with("", PUBLIC).await;
        signed(&bench).await;
        bench
    };
    let head = "data/control.db.ledger-head";
    let said = refused(grown().await, async |folder| {
        let text = std::fs::read_to_string(folder.join(head)).unwrap();
        let mut lines: Vec<&str> = text.split('\n').collect();
        lines[1] = "4711";
        std::fs::write(folder.join(head), lines.join("\n")).unwrap();
    })
    .await;
    assert!(said.contains("says that 4711 entries were signed") && said.contains("older copy"), "{said}");
    let said = refused(grown().await, async |folder| {
        let text = std::fs::read_to_string(folder.join(head)).unwrap();
        let mut lines: Vec<&str> = text.split('\n').collect();
        lines[2] = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        std::fs::write(folder.join(head), lines.join("\n")).unwrap();
    })
    .await;
    assert!(said.contains("has another root for"), "{said}");
    let said = refused(grown().await, async |folder| std::fs::write(folder.join(head), "x").unwrap()).await;
    assert!(said.contains("it is not known what was signed last"), "{said}");
    let said = refused(grown().await, async |folder| {
        database(folder, "UPDATE ledger_tree SET root = '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='").await;
    })
    .await;
    assert!(said.contains("does not hold together"), "{said}");
    let said = refused(grown().await, async |folder| {
        database(folder, "UPDATE ledger_checkpoints SET note = replace(note, 'localhost', 'elsewhere')").await;
    })
    .await;
    assert!(said.contains("can't be believed"), "{said}");
    let said = refused(grown().await, async |folder| {
        let file = folder.join("control.toml");
        let text = std::fs::read_to_string(&file).unwrap().replace(PUBLIC, "[ledger]\norigin = \"other.test/log\"\n");
        std::fs::write(file, text).unwrap();
    })
    .await;
    assert!(said.contains("an origin never changes"), "{said}");
}

#[tokio::test]
async fn a_key_is_followed_by_another_and_both_sign_for_a_while() {
    let bench = Bench::start_with("", PUBLIC).await;
    let first = keys(&bench).await;
    let config = crate::config::control::ControlConfig::load(&bench.folder().join("control.toml")).unwrap();
    let made = crate::control::keys::ledger::rotate(&config.keys).await.unwrap();
    let both = signed(&bench).await;
    let now = keys(&bench).await;
    assert_eq!((now.len(), now[1].public()), (2, made.as_bytes()));
    assert_eq!(both.note.verified_by(&first), Ok(()), "who knows the first alone can verify");
    assert_eq!(both.note.verified_by(&now[1..]), Ok(()));
    let entries = bench.running.store().entries(0, 1000).await.unwrap();
    let made: Vec<_> = entries.iter().filter(|entry| entry.kind == "ledger_key_created").collect();
    assert!(made.len() == 2 && made[1].canonical.contains(&first[0].to_string()), "{made:?}");
    let kid = config_kid(&first[0]);
    crate::control::keys::operate::retire(&config.keys, &kid).await.unwrap();
    bench.granted(&bench.alice(), &request(json!({}))).await;
    let later = signed(&bench).await;
    assert!(later.note.verified_by(&first).is_err() && later.note.verified_by(&now[1..]).is_ok());
    let in_use = crate::control::keys::operate::retire(&config.keys, &config_kid(&now[1])).await.unwrap_err();
    assert!(in_use.to_string().contains("make its successor first"), "{in_use}");
    let bench = bench.restart().await;
    assert_eq!(keys(&bench).await, now[1..]);
}

fn config_kid(key: &VerifierKey) -> String {
    crate::token::PublicKey::from_bytes(*key.public()).kid().to_owned()
}

/// A real witness of the log with these keys, on a port of its own; its verifier key and its address.
async fn witness(folder: &std::path::Path, logs: Vec<VerifierKey>) -> (VerifierKey, std::net::SocketAddr) {
    let name = "witness.test/w1".parse().unwrap();
    let witness = crate::witness::Witness::open(folder, name, logs, crate::clock::Clock::System).unwrap();
    let (key, listener) = (witness.verifier().clone(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(crate::witness::serve(listener, std::sync::Arc::new(witness), std::future::pending()));
    (key, address)
}

#[tokio::test]
async fn a_witness_cosigns_and_an_older_copy_is_not_signed_on() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start_with("", PUBLIC).await;
    let (key, address) = witness(folder.path(), keys(&bench).await).await;
    let bench = bench
        .restart_after(async |folder| {
            let file = folder.join("control.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            let table = format!("{text}[[ledger.witness]]\nurl = \"http://{address}/\"\nkey = \"{key}\"\n");
            std::fs::write(file, table).unwrap();
        })
        .await
        .unwrap();
    signed(&bench).await;
    let ledger = std::sync::Arc::clone(&bench.running.state.ledger);
    ledger.witness_now(0).await.unwrap();
    let store = bench.running.store().clone();
    let copy = bench.folder().join("copy.db");
    store.back_up(&copy).await.unwrap();
    bench.granted(&bench.alice(), &request(json!({}))).await;
    signed(&bench).await;
    ledger.witness_now(0).await.unwrap();
    let newest = bench.fetch("/ledger/checkpoint", HeaderMap::new()).await;
    let newest = SignedCheckpoint::read(std::str::from_utf8(&newest.body).unwrap()).unwrap();
    let cosigned = newest.cosigned_by(std::slice::from_ref(&key)).unwrap();
    assert_eq!(cosigned.len(), 1, "{newest:?}");
    drop((ledger, store));
    let bench = bench
        .restart_after(async |folder| {
            for name in ["control.db", "control.db-wal", "control.db-shm", "control.db.ledger-head"] {
                let _ = std::fs::remove_file(folder.join("data").join(name));
            }
            std::fs::rename(folder.join("copy.db"), folder.join("data/control.db")).unwrap();
        })
        .await
        .unwrap();
    let before = bench.running.store().newest_checkpoint(bench.running.state.ledger.origin()).await.unwrap();
    bench.running.state.ledger.ask_before_signing().await;
    let refused = bench.running.state.ledger.step().await.unwrap_err().to_string();
    assert!(
        refused.contains("the witness witness.test/w1 has cosigned") && refused.contains("older copy"),
        "{refused}"
    );
    let after = bench.running.store().newest_checkpoint(bench.running.state.ledger.origin()).await.unwrap();
    assert_eq!(before, after, "nothing was signed on it");
    let alice = bench.alice();
    bench.granted(&alice, &request(json!({}))).await;
}
