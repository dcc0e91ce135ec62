//! Databases of a PostgreSQL that is the tests' own (`tests/postgres`). Also a part of the library's own tests.

use std::path::PathBuf;
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
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
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

/// Runs one of PostgreSQL's own programs.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
