//! `breakglass config check`: every mistake of every file, before anything is started with it.

use std::path::{Path, PathBuf};

use super::args::{ConfigArgs, ConfigVerb, Format};
use super::failure::{Exit, Failure};
use super::output::Output;
use crate::config::{ConfigError, Mistake, ServiceConfig, reader};

/// Keys that only one kind of file has, at its top.
const MARKS: &[(Kind, &[&str])] = &[
    (Kind::Service, &["name", "mode", "ceiling", "route"]),
    (Kind::Sidecar, &["service", "instance", "listen", "tls", "upstream", "trust", "audit", "freeze_file"]),
    (Kind::Control, &["url", "database", "keys", "policy", "services", "api", "groups"]),
    (Kind::Policy, &["organisation", "reason", "ticket", "tier"]),
];

/// Which reader a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    Sidecar,
    Control,
    Policy,
}

/// # Errors
/// When a file has a mistake, or there is nothing to check.
pub(super) fn run(args: &ConfigArgs, out: &mut Output) -> Result<(), Failure> {
    let ConfigVerb::Check { paths } = &args.what;
    let files = files(paths)?;
    let mut mistakes = Vec::new();
    for file in &files {
        match check(file, &files) {
            Ok(warnings) => warnings.iter().for_each(|warning| out.warn(&warning.to_string())),
            Err(error) => mistakes.extend(error.mistakes),
        }
    }
    let mistakes = once(mistakes);
    print(&files, &mistakes, out)?;
    if mistakes.is_empty() {
        return Ok(());
    }
    let count = if mistakes.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", mistakes.len()) };
    Err(Failure::new(
        Exit::Unverified,
        format!("{count} found"),
        "correct them all and check again: nothing starts with a mistake",
    ))
}

/// A service file is read for itself and for the sidecar's file that names it: its mistakes are told once.
fn once(mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let mut told: Vec<Mistake> = Vec::new();
    for mistake in mistakes {
        if !told.contains(&mistake) {
            told.push(mistake);
        }
    }
    told
}

fn print(files: &[PathBuf], mistakes: &[Mistake], out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        let list: Vec<_> = mistakes
            .iter()
            .map(|m| serde_json::json!({"file": m.file, "line": m.line, "column": m.column, "what": m.what, "hint": m.hint}))
            .collect();
        return out.json(&serde_json::json!({"files": files, "mistakes": list}));
    }
    for mistake in mistakes {
        out.line(&mistake.to_string())?;
    }
    if mistakes.is_empty() {
        for file in files {
            out.line(&format!("{}: no mistakes", file.display()))?;
        }
    }
    Ok(())
}

/// The files named, and the .toml files of the folders named, with those of their folders.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            collect(path, &mut files).map_err(|error| unreadable(path, &error.to_string()))?;
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    if files.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is no .toml file to check", "name a file"));
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link to a folder could lead in circles.
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {why}", path.display()), "name a file or folder that can be read")
}

/// Warnings, when there is no mistake.
fn check(file: &Path, all: &[PathBuf]) -> Result<Vec<Mistake>, ConfigError> {
    let text = reader::read_file(file)?;
    match kind(&text) {
        Some(Kind::Service) => ServiceConfig::parse(file, &text).map(|_| Vec::new()),
        Some(Kind::Sidecar) => check_sidecar(file),
        Some(Kind::Control) => check_control(file),
        Some(Kind::Policy) => check_policy(file, &text, all),
        None => Err(ConfigError::one(Mistake::of_file(file, "is no configuration file that is known here"))),
    }
}

#[cfg(feature = "sidecar")]
fn check_sidecar(file: &Path) -> Result<Vec<Mistake>, ConfigError> {
    crate::config::sidecar::SidecarConfig::load(file).map(|config| config.warnings(file))
}

#[cfg(not(feature = "sidecar"))]
fn check_sidecar(file: &Path) -> Result<Vec<Mistake>, ConfigError> {
    Err(elsewhere(file, "breakglass-sidecar"))
}

#[cfg(feature = "control")]
fn check_control(file: &Path) -> Result<Vec<Mistake>, ConfigError> {
    crate::config::control::ControlConfig::load(file).map(|_| Vec::new())
}

#[cfg(not(feature = "control"))]
fn check_control(file: &Path) -> Result<Vec<Mistake>, ConfigError> {
    Err(elsewhere(file, "breakglass-control"))
}

/// A policy speaks of services: those among the files that are checked with it.
fn check_policy(file: &Path, text: &str, all: &[PathBuf]) -> Result<Vec<Mistake>, ConfigError> {
    let is_service = |file: &&PathBuf| reader::read_file(file).is_ok_and(|text| kind(&text) == Some(Kind::Service));
    let services: Vec<ServiceConfig> =
        all.iter().filter(is_service).filter_map(|file| ServiceConfig::load(file).ok()).collect();
    crate::config::policy::PolicyConfig::parse(file, text, &services).map(|_| Vec::new())
}

/// This build has no reader for the file; the program that it is for has.
#[cfg(not(all(feature = "sidecar", feature = "control")))]
fn elsewhere(file: &Path, program: &str) -> ConfigError {
    let hint = Some(format!("{program} --config {} config check", file.display()));
    ConfigError::one(Mistake { hint, ..Mistake::of_file(file, format!("is checked by {program} itself")) })
}

/// The kind whose marks are most of what stands at the top of the file. A file that is not whole TOML has its kind too:
/// its reader says what is wrong.
fn kind(text: &str) -> Option<Kind> {
    let keys = top_keys(text);
    let score = |marks: &[&str]| keys.iter().filter(|key| marks.contains(key)).count();
    let best = MARKS.iter().max_by_key(|(_, marks)| score(marks))?;
    (score(best.1) > 0).then_some(best.0)
}

/// The keys before the first table, and the first part of every table's name.
fn top_keys(text: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    let mut in_table = false;
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            in_table = true;
            keys.extend(table.trim_start_matches('[').split([']', '.']).next());
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !in_table && !line.starts_with('#')) {
            keys.push(key.trim());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;

    fn checked(path: &Path) -> (Result<(), Failure>, String) {
        let (mut out, data, _) = capture::output(Format::Table);
        let args = ConfigArgs { what: ConfigVerb::Check { paths: vec![path.to_owned()] } };
        (run(&args, &mut out), data.text())
    }

    #[test]
    fn the_examples_have_no_mistakes() {
        let (result, said) = checked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/services"));
        assert_eq!(result, Ok(()), "{said}");
        let every = ["config/control.toml", "config/policy.toml", "config/services"]
            .map(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let (mut out, data, _) = capture::output(Format::Table);
        let args = ConfigArgs { what: ConfigVerb::Check { paths: every.to_vec() } };
        assert_eq!(run(&args, &mut out), Ok(()), "{}", data.text());
        assert!(said.contains("payments-demo.toml: no mistakes"), "{said}");
    }

    #[test]
    fn mistakes_are_data_and_end_with_their_own_code() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.toml"), "name = \"Not A Name\"\nmoed = \"enforce\"\n").unwrap();
        std::fs::write(folder.path().join("b.toml"), "what = 1\n").unwrap();
        std::fs::write(folder.path().join("c.txt"), "no toml").unwrap();
        let (result, said) = checked(folder.path());
        assert_eq!(result.unwrap_err().exit, Exit::Unverified);
        assert!(said.contains("a.toml:1:") && said.contains("a.toml:2:") && said.contains("b.toml: "), "{said}");
        assert!(!said.contains("c.txt"));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let (result, said) = checked(Path::new("/nowhere/x.toml"));
        assert_eq!(result.unwrap_err().exit, Exit::Unverified);
        assert!(said.contains("/nowhere/x.toml"), "{said}");
    }
}
