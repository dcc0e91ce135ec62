//! `breakglass certs dev`: writes a development authority and every leaf to a folder.
//!
//! All files are written aside first and then moved into place; when that fails, what was there is put back. Nothing is
//! replaced without `--force`, and keys are readable by their owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::args::{CertsArgs, CertsDevArgs, CertsVerb, Format};
use super::failure::{Exit, Failure};
use super::output::{Cell, Output};
use crate::certs::{DevAuthority, Leaf, MintError, sidecar_id};
use crate::clock::Clock;
use crate::error_chain::error_chain;
use crate::secret::Secret;

/// One file of the set.
struct Made {
    name: String,
    text: Secret<String>,
    key: bool,
    what: String,
}

/// # Errors
/// When a host is none, files are there already, or the folder cannot be written to.
pub(super) fn run(args: &CertsArgs, out: &mut Output) -> Result<(), Failure> {
    let CertsVerb::Dev(args) = &args.what;
    let made = mint(args).map_err(|error| {
        let exit = if matches!(error, MintError::Make(_)) { Exit::Failed } else { Exit::Usage };
        Failure::new(
            exit,
            error_chain(&error),
            "name the hosts that the servers are reached by: --host control.internal --host 10.0.0.7",
        )
    })?;
    let there = made.iter().filter(|file| args.out.join(&file.name).exists()).count();
    if there == made.len() && args.keep {
        out.note(&format!("{} is complete and stays as it is", args.out.display()));
        return Ok(());
    }
    if there > 0 && !args.force {
        let message = format!(
            "{} holds {there} of the {} files already, and nothing was written",
            args.out.display(),
            made.len()
        );
        return Err(Failure::new(Exit::Failed, message, "name another folder, or replace them with --force"));
    }
    place(&args.out, &made).map_err(|error| {
        let message = format!("{} cannot be written to: {error}; nothing was changed", args.out.display());
        Failure::new(Exit::Failed, message, "choose a folder that you can write to")
    })?;
    list(&args.out, &made, out)
}

fn mint(args: &CertsDevArgs) -> Result<Vec<Made>, MintError> {
    let lifetime = Duration::from_secs(u64::from(args.days) * 86_400);
    let authority = DevAuthority::new(Clock::System.wall(), lifetime)?;
    let mut made = vec![
        Made::certificate("ca.pem", authority.certificate_pem(), "the authority: what every part trusts"),
        Made::key("ca.key", authority.key_pem(), "the authority's key: nothing needs it but making more certificates"),
    ];
    let hosts = args.hosts.join(", ");
    for (name, what) in
        [("control", "control plane's API"), ("feed", "control plane's feed"), ("issuer", "demo identity issuer")]
    {
        made.extend(Made::pair(name, authority.server(name, &args.hosts)?, &format!("{what}, server at {hosts}")));
    }
    for service in &args.services {
        let server = authority.server(service.as_str(), &args.hosts)?;
        made.extend(Made::pair(
            &format!("sidecar-{service}"),
            server,
            &format!("sidecar of {service}, server at {hosts}"),
        ));
        let client = authority.sidecar_client(service)?;
        made.extend(Made::pair(
            &format!("sidecar-{service}-feed"),
            client,
            &format!("client on the feed: {}", sidecar_id(service)),
        ));
    }
    Ok(made)
}

impl Made {
    fn certificate(name: &str, pem: String, what: &str) -> Self {
        Self { name: name.to_owned(), text: Secret::new(pem), key: false, what: what.to_owned() }
    }

    fn key(name: &str, pem: Secret<String>, what: &str) -> Self {
        Self { name: name.to_owned(), text: pem, key: true, what: what.to_owned() }
    }

    fn pair(name: &str, leaf: Leaf, what: &str) -> [Self; 2] {
        [
            Self::certificate(&format!("{name}.pem"), leaf.certificate_pem, what),
            Self::key(&format!("{name}.key"), leaf.key_pem, "its key"),
        ]
    }
}

/// Writes all files beside their places, then moves them. On an error every earlier state is restored.
fn place(folder: &Path, made: &[Made]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let (fresh, former) = (aside(folder)?, aside(folder)?);
    for file in made {
        write_new(&fresh.path().join(&file.name), file)?;
    }
    let mut moved = Vec::new();
    for file in made {
        if let Err(error) = swap(folder, fresh.path(), former.path(), &file.name) {
            for name in moved {
                restore(folder, former.path(), name);
            }
            return Err(error);
        }
        moved.push(&file.name);
    }
    Ok(())
}

/// A private folder on the same filesystem, gone at the end.
fn aside(folder: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(".certs-").tempdir_in(folder)
}

/// Moves one file into its place, and what stood there away. On an error the place is as it was.
fn swap(folder: &Path, fresh: &Path, former: &Path, name: &str) -> io::Result<()> {
    let place = folder.join(name);
    if place.exists() {
        fs::rename(&place, former.join(name))?;
    }
    fs::rename(fresh.join(name), &place).inspect_err(|_| restore(folder, former, name))
}

/// Puts back what stood at `name`, or leaves the place empty as it was.
fn restore(folder: &Path, former: &Path, name: &str) {
    if former.join(name).exists() {
        let _ = fs::rename(former.join(name), folder.join(name));
    } else {
        let _ = fs::remove_file(folder.join(name));
    }
}

fn write_new(path: &Path, file: &Made) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if file.key { 0o600 } else { 0o644 });
    let mut handle = options.open(path)?;
    handle.write_all(file.text.expose().as_bytes())?;
    handle.sync_all()
}

fn list(folder: &Path, made: &[Made], out: &mut Output) -> Result<(), Failure> {
    if out.format == Format::Json {
        let files: Vec<_> = made
            .iter()
            .map(|file| serde_json::json!({"file": folder.join(&file.name), "private": file.key, "what": file.what}))
            .collect();
        return out.json(&files);
    }
    let rows: Vec<Vec<Cell>> = made
        .iter()
        .map(|file| vec![folder.join(&file.name).display().to_string().into(), Cell::new(&file.what)])
        .collect();
    out.table(&["FILE", "WHAT"], &rows)?;
    out.note("for development only: these keys belong to no production system");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::output::capture;
    use super::*;

    fn args(folder: &Path) -> CertsDevArgs {
        CertsDevArgs {
            out: folder.to_owned(),
            services: vec!["payments".parse().unwrap()],
            hosts: vec!["localhost".into()],
            days: 1,
            force: false,
            keep: false,
        }
    }

    fn make(args: CertsDevArgs) -> Result<String, Failure> {
        let (mut out, data, _) = capture::output(Format::Table);
        run(&CertsArgs { what: CertsVerb::Dev(args) }, &mut out).map(|()| data.text())
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_whole_set_with_private_keys() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("README.md"), "stays").unwrap();
        let printed = make(args(folder.path())).unwrap();
        assert!(printed.contains("spiffe://breakglass.dev/sidecar/payments") && !printed.contains("PRIVATE"));
        let names = names(folder.path());
        assert_eq!(names.len(), 13, "twelve files and the page that was there: {names:?}");
        #[cfg(unix)]
        for name in names.iter().filter(|name| name.ends_with(".key")) {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn nothing_is_replaced_unless_told_to() {
        let folder = tempfile::tempdir().unwrap();
        make(args(folder.path())).unwrap();
        let read = || fs::read_to_string(folder.path().join("ca.pem")).unwrap();
        let first = read();
        assert_eq!(make(args(folder.path())).unwrap_err().exit, Exit::Failed);
        make(CertsDevArgs { keep: true, ..args(folder.path()) }).unwrap();
        assert_eq!(read(), first);
        make(CertsDevArgs { force: true, ..args(folder.path()) }).unwrap();
        assert_ne!(read(), first);
        assert_eq!(names(folder.path()).len(), 12, "nothing is left lying about");
    }

    #[test]
    fn a_failure_in_the_middle_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        make(args(folder.path())).unwrap();
        let before = fs::read_to_string(folder.path().join("ca.pem")).unwrap();
        // The new file is not there: the second of the two moves fails.
        let (fresh, former) = (aside(folder.path()).unwrap(), aside(folder.path()).unwrap());
        assert!(swap(folder.path(), fresh.path(), former.path(), "ca.pem").is_err());
        assert_eq!(fs::read_to_string(folder.path().join("ca.pem")).unwrap(), before);
    }

    #[test]
    fn a_bad_host_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let bad = CertsDevArgs { hosts: vec!["two words".into()], ..args(folder.path()) };
        assert_eq!(make(bad).unwrap_err().exit, Exit::Usage);
        assert!(names(folder.path()).is_empty());
    }
}
