//! Keys in files: made, kept, taken in, let go, and refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::folder::write_private;
use super::operate::{KeyState, init, list, retire, rotate};
use super::*;
use crate::token::SigningKey;

const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);
const VALIDITY: Duration = Duration::from_secs(90 * 86_400);
const DELAY: Duration = Duration::from_secs(3600);

fn days(count: u64) -> WallTime {
    NOW.plus(Duration::from_secs(count * 86_400))
}

struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
    config: KeysConfig,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        Self { config: KeysConfig::in_folder(path.clone(), true), path, _folder: folder }
    }

    /// As a replica, which makes nothing.
    fn replica(&self) -> KeysConfig {
        KeysConfig { create: false, ..self.config.clone() }
    }

    async fn open(&self, now: WallTime) -> Result<Keys, KeysError> {
        Keys::open(&self.config, VALIDITY, now).await
    }

    async fn renewed(&self, now: WallTime) -> Keys {
        let keys = self.open(now).await.unwrap();
        keys.renew(now).await.unwrap();
        keys
    }
}

fn signs(keys: &Keys, now: WallTime) -> String {
    keys.signing(now, now).unwrap().kid().to_owned()
}

#[tokio::test]
async fn keys_outlive_a_restart_and_overlap_when_renewed() {
    let bench = Bench::new();
    let keys = bench.open(NOW).await.unwrap();
    assert!(keys.certificates(NOW).is_empty() && keys.is_renewal_due(NOW));
    keys.renew(NOW).await.unwrap();
    let first = signs(&keys, NOW);
    keys.renew(days(59)).await.unwrap();
    assert_eq!(keys.certificates(days(59)).len(), 1);
    keys.renew(days(60)).await.unwrap();
    let both = keys.certificates(days(61));
    assert_eq!(both.len(), 2, "a third is left");
    assert_eq!(signs(&keys, days(60)), first, "the second is known before it signs");
    assert_ne!(signs(&keys, days(60).plus(DELAY)), first);
    let again = bench.open(days(61)).await.unwrap();
    assert_eq!((again.roots(), again.certificates(days(61))), (keys.roots(), both.clone()));
    assert_eq!(again.certificates(days(90)), both[1..], "the first has ended");
    assert_eq!(bench.open(days(95)).await.unwrap().certificates(days(95)), both[1..]);
    for file in std::fs::read_dir(&bench.path).unwrap().map(Result::unwrap) {
        let mode = file.metadata().unwrap().permissions().mode();
        let is_public = file.file_name() == "grant-root.pub";
        assert!(mode & 0o777 == 0o600 || is_public, "{:?} {mode:o}", file.file_name());
    }
    let pinned = std::fs::read_to_string(bench.path.join("grant-root.pub")).unwrap();
    assert_eq!(pinned.lines().collect::<Vec<_>>(), again.roots());
}

#[tokio::test]
async fn of_keys_made_in_one_second_the_newest_signs() {
    let bench = Bench::new();
    let mut made = vec![init(&bench.config, VALIDITY, NOW).await.unwrap()];
    for _ in 0..8 {
        made.push(rotate(&bench.config, VALIDITY, true, NOW).await.unwrap());
        let [.., before, newest] = &made[..] else { unreachable!() };
        assert!(newest.begins > before.begins, "{newest:?} {before:?}");
        let keys = bench.open(NOW).await.unwrap();
        assert_eq!(signs(&keys, newest.begins), newest.kid);
    }
}

#[tokio::test]
async fn a_key_that_ends_before_the_grant_does_not_sign_it() {
    let bench = Bench::new();
    let keys = bench.renewed(NOW).await;
    assert!(keys.signing(days(89), days(90)).is_ok());
    assert!(matches!(keys.signing(days(89), days(90).plus(DELAY)), Err(KeysError::NoneInForce)));
    keys.make_grant_key(days(89)).await.unwrap();
    assert!(keys.signing(days(89), days(90).plus(DELAY)).is_ok());
    assert!(keys.signing(days(88), days(90).plus(DELAY)).is_err(), "its successor has not begun");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let bench = Bench::new();
    bench.open(NOW).await.unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&bench.path.join("grant-root.pk8"), 0o640);
    let error = bench.open(NOW).await.unwrap_err();
    assert!(error.to_string().contains("may be read by others (mode 640)"), "{error}");
    mode(&bench.path, 0o755);
    let error = bench.open(NOW).await.unwrap_err();
    assert!(matches!(error, KeysError::File(FileError::Mode { mode: 0o755, wanted: 0o700, .. })), "{error}");
}

#[tokio::test]
async fn garbage_and_a_root_that_is_missing_or_another_are_refused() {
    let bench = Bench::new();
    bench.renewed(NOW).await;
    let root = bench.path.join("grant-root.pk8");
    let bytes = std::fs::read(&root).unwrap();
    for garbage in [&b""[..], b"garbage", &[0; 20_000], &bytes[..40]] {
        std::fs::write(&root, garbage).unwrap();
        let error = bench.open(NOW).await.unwrap_err();
        assert!(matches!(error, KeysError::File(FileError::Key { .. } | FileError::Size { .. })), "{error}");
    }
    std::fs::remove_file(&root).unwrap();
    for config in [bench.config.clone(), bench.replica()] {
        let error = Keys::open(&config, VALIDITY, NOW).await.unwrap_err();
        assert!(matches!(error, KeysError::RootMissing { .. }), "{error}");
    }
    write_private(&root, SigningKey::generate().unwrap().pkcs8_der().expose()).unwrap();
    let error = bench.open(NOW).await.unwrap_err();
    assert!(matches!(error, KeysError::RootReplaced { .. }), "sidecars pin another: {error}");
    std::fs::remove_file(bench.path.join("grant-root.pub")).unwrap();
    let error = bench.open(NOW).await.unwrap_err();
    assert!(matches!(error, KeysError::Certificate { .. }), "another root did not certify it: {error}");
}

#[tokio::test]
async fn a_root_is_followed_by_another_that_names_it() {
    let bench = Bench::new();
    let keys = bench.renewed(NOW).await;
    let old = keys.root.public().clone();
    let root = SigningKey::generate().unwrap();
    write_private(&bench.path.join("grant-root.pk8"), root.pkcs8_der().expose()).unwrap();
    std::fs::write(bench.path.join("grant-root.pub"), format!("{}\n{old}\n", root.public())).unwrap();
    let config = KeysConfig { former_roots: vec![old.clone()], ..bench.config.clone() };
    let keys = Keys::open(&config, VALIDITY, NOW).await.unwrap();
    assert_eq!(keys.roots(), [root.public().to_string(), old.to_string()]);
    assert_eq!(keys.certificates(NOW).len(), 1, "what the former root certified holds");
}

#[tokio::test]
async fn a_certificate_that_is_missing_or_of_another_key_is_refused() {
    let bench = Bench::new();
    let keys = bench.renewed(NOW).await;
    let kid = signs(&keys, NOW);
    let file = |kid: &str, ending: &str| bench.path.join(format!("grant-key-{kid}.{ending}"));
    let certificate = std::fs::read(file(&kid, "jwt")).unwrap();
    let private = std::fs::read(file(&kid, "pk8")).unwrap();
    write_private(&file(&kid, "pk8"), SigningKey::generate().unwrap().pkcs8_der().expose()).unwrap();
    let error = bench.open(NOW).await.unwrap_err();
    assert!(matches!(error, KeysError::Certificate { .. }), "{error}");
    write_private(&file(&kid, "pk8"), &private).unwrap();
    std::fs::remove_file(file(&kid, "jwt")).unwrap();
    let error = bench.open(NOW).await.unwrap_err();
    assert!(matches!(error, KeysError::NoCertificate { .. }), "{error}");
    write_private(&file("another", "jwt"), &certificate).unwrap();
    write_private(&file("another", "pk8"), &private).unwrap();
    std::fs::remove_file(file(&kid, "pk8")).unwrap();
    let error = bench.open(NOW).await.unwrap_err();
    assert!(matches!(error, KeysError::Certificate { .. }), "its name lies: {error}");
}

#[tokio::test]
async fn a_replica_makes_nothing_and_says_what_to_run() {
    let bench = Bench::new();
    let error = Keys::open(&bench.replica(), VALIDITY, NOW).await.unwrap_err();
    assert!(error.to_string().contains("run `breakglass-control keys init`"), "{error}");
    assert!(!bench.path.exists());
    std::fs::create_dir(&bench.path).unwrap();
    std::fs::set_permissions(&bench.path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = Keys::open(&bench.replica(), VALIDITY, NOW).await.unwrap_err();
    assert!(error.to_string().contains("run `breakglass-control keys init`"), "{error}");
    assert_eq!(std::fs::read_dir(&bench.path).unwrap().count(), 0);
    let made = init(&bench.replica(), VALIDITY, NOW).await.unwrap();
    let replica = Keys::open(&bench.replica(), VALIDITY, NOW).await.unwrap();
    assert_eq!((replica.roots(), signs(&replica, NOW)), (made.roots, made.kid));
    replica.renew(days(80)).await.unwrap();
    assert!(replica.is_renewal_due(days(80)) && replica.certificates(days(80)).len() == 1, "it makes none");
    let error = Keys::open(&bench.replica(), VALIDITY, days(91)).await.unwrap_err();
    assert!(error.to_string().contains("run `breakglass-control keys rotate`"), "{error}");
    assert!(matches!(init(&bench.replica(), VALIDITY, NOW).await.unwrap_err(), KeysError::MadeBefore { .. }));
}

#[tokio::test]
async fn replicas_take_in_a_new_key_and_begin_to_sign_with_it_at_one_time() {
    let bench = Bench::new();
    let first = init(&bench.replica(), VALIDITY, NOW).await.unwrap().kid;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Keys::open(&bench.replica(), VALIDITY, NOW).await.unwrap());
    }
    let second = rotate(&bench.replica(), VALIDITY, false, NOW).await.unwrap();
    assert_eq!(second.begins, NOW.plus(DELAY));
    for replica in &replicas {
        assert!(replica.take_changed());
        replica.reload(NOW).await.unwrap();
        assert!(replica.take_changed() && !replica.take_changed());
        assert_eq!(replica.certificates(NOW).len(), 2, "it is told of before it signs");
        assert_eq!(signs(replica, NOW.plus(DELAY - Duration::from_secs(1))), first);
        assert_eq!(signs(replica, NOW.plus(DELAY)), second.kid);
    }
    let third = rotate(&bench.replica(), VALIDITY, true, NOW).await.unwrap();
    retire(&bench.replica(), &first).await.unwrap();
    for replica in &replicas {
        replica.reload(NOW).await.unwrap();
        assert_eq!(replica.certificates(NOW).len(), 2, "the removed one is told of no more");
        assert_eq!(signs(replica, third.begins), third.kid);
    }
    assert!(matches!(retire(&bench.config, &first).await.unwrap_err(), KeysError::Unknown { .. }));
    assert!(matches!(retire(&bench.config, "../grant-root").await.unwrap_err(), KeysError::Unknown { .. }));
}

#[tokio::test]
async fn a_folder_that_is_not_ours_or_holds_garbage_takes_nothing_away() {
    let bench = Bench::new();
    let keys = bench.renewed(NOW).await;
    let first = signs(&keys, NOW);
    let garbage = bench.path.join("grant-key-garbage.pk8");
    write_private(&garbage, b"garbage").unwrap();
    let second = rotate(&bench.config, VALIDITY, true, NOW).await;
    assert!(second.is_err(), "an operator sees it at once");
    std::fs::remove_file(&garbage).unwrap();
    let second = rotate(&bench.config, VALIDITY, true, days(1)).await.unwrap().kid;
    write_private(&garbage, b"garbage").unwrap();
    assert!(keys.reload(days(1)).await.is_err());
    assert_eq!(signs(&keys, days(1)), second, "a good one beside it is taken in");
    let away = bench.path.with_extension("away");
    std::fs::rename(&bench.path, &away).unwrap();
    assert!(keys.reload(days(1)).await.is_err());
    std::fs::create_dir(&bench.path).unwrap();
    assert!(keys.reload(days(1)).await.is_err(), "an empty folder is one that is not mounted");
    assert_eq!(keys.certificates(days(1)).len(), 2);
    assert_ne!(first, second);
}

#[tokio::test]
async fn every_key_is_listed_with_its_state() {
    let bench = Bench::new();
    init(&bench.config, VALIDITY, NOW).await.unwrap();
    rotate(&bench.config, VALIDITY, true, days(70)).await.unwrap();
    rotate(&bench.config, VALIDITY, false, days(71)).await.unwrap();
    let garbage = bench.path.join("grant-key-garbage.pk8");
    write_private(&garbage, b"garbage").unwrap();
    let states = async |now| {
        let listed = list(&bench.config, now).await.unwrap();
        listed.into_iter().map(|key| format!("{} {}", key.purpose.as_str(), key.state)).collect::<Vec<_>>()
    };
    let broken = format!("grant unusable: {} has no certificate beside it", garbage.display());
    let expected = |states: [&str; 3]| {
        let grants = states.map(|state| format!("grant {state}"));
        [vec!["root certifies".to_owned(), broken.clone()], grants.to_vec(), vec!["ledger signs".to_owned()]].concat()
    };
    let sorted = |mut states: Vec<String>| {
        states[..2].sort_by(|a, b| b.cmp(a));
        states
    };
    assert_eq!(sorted(states(days(71)).await), expected(["holds", "signs", "waits"]));
    assert_eq!(sorted(states(days(95)).await), expected(["ended", "holds", "signs"]));
    let unmade = KeysConfig::in_folder(bench.path.join("nowhere"), true);
    assert!(list(&unmade, NOW).await.is_err() && !unmade.folder.exists(), "looking makes nothing");
    assert_eq!(KeyState::Ended.to_string(), "ended");
    assert!(matches!(rotate(&unmade, VALIDITY, true, NOW).await, Err(KeysError::NotMade { .. })));
}
