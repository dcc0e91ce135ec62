//! Databases of a PostgreSQL that is the tests' own (`tests/postgres`). Also a part of the library's own tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder of the server's socket; the first that asks starts it.
pub(crate) fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
        let output = Command::new(script).arg("start").output().expect(script);
        assert!(output.status.success(), "tests/postgres start: {}", String::from_utf8_lossy(&output.stderr));
        let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        drop_left_over(&folder);
        folder
    })
}

/// Drops the databases of test processes that have ended: the server outlives them, and each takes megabytes.
fn drop_left_over(folder: &Path) {
    let place = ["--username", "postgres", "--host", folder.to_str().unwrap(), "--dbname", "postgres"];
    let ask = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command"];
    let names =
        run("psql", &[&ask[..], &["SELECT datname FROM pg_database WHERE datname LIKE 't%\\_%'"], &place].concat());
    for name in names.lines() {
        let process = name.trim_start_matches('t').split('_').next().unwrap();
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            // Another test process may be faster.
            let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            let _ = Command::new("psql").args(ask).arg(sql).args(place).output();
        }
    }
}

/// Makes an empty database and answers its URL. It goes with the server.
pub(crate) fn fresh_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    run_sql("postgres", &format!("CREATE DATABASE {name}"));
    format!("postgresql://postgres@localhost/{name}?host={}", folder().display())
}

/// Runs SQL as an operator would, with psql.
fn run_sql(database: &str, sql: &str) {
    let folder = folder().to_str().unwrap();
    let place = ["--username", "postgres", "--host", folder, "--dbname", database];
    run("psql", &[&["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", sql][..], &place].concat());
}

/// Runs one of PostgreSQL's own programs, and answers what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
