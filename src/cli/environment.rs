//! `breakglass env`: what a shell needs to use a live grant with plain curl.
//!
//! No credential is printed: a terminal keeps what it shows, and every child of a shell has its environment. What holds
//! the identity token, and the grant token where the grant is bound to that, is a file of its owner's alone that curl
//! reads (`-H @FILE`). Files of grants that have expired are removed by the next call.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{EnvArgs, Format, Global, Shell};
use super::credential::{self, Credential};
use super::failure::{Exit, Failure};
use super::grants::joined;
use super::output::Output;
use super::private_files;
use super::session::{self, Lookup};
use super::{enforcement, held, shell_word};
use crate::clock::Clock;
use crate::domain::{Binding, GrantId, WallTime};
use crate::wire::api::GrantView;

const SUFFIX: &str = ".headers";

/// What is exported, and how it is used.
#[derive(Debug, Serialize)]
struct Prepared {
    grant: GrantId,
    expires_at: WallTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<PathBuf>,
    /// It and its key, where they prove the grant.
    #[serde(skip)]
    certificate: Option<(PathBuf, PathBuf)>,
    #[serde(skip)]
    note: String,
    #[serde(skip)]
    binding: Binding,
}

/// # Errors
/// When no live grant fits, or no file can be written.
pub(super) async fn run(args: &EnvArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let grant = held::find(&api, &args.which).await?;
    if grant.binding == Binding::Mtls {
        credential::certificate(&grant, global)?;
    }
    let headers = match credential::of(&api, &grant, (global, env)).await? {
        Credential::Identity { named, identity } => Some(credential::lines(&named, Some(&identity))),
        Credential::Certificate { named } => Some(credential::lines(&named, None)),
        // Each request has a proof of its own, and a token without one is nothing.
        Credential::Key { .. } => None,
    };
    let headers = headers.map(|lines| write(&grant, &lines, env)).transpose()?;
    let note = format!(
        "{}: {} on {} of {}, until {}",
        grant.id,
        joined(&grant.actions),
        joined(&grant.resources),
        grant.service,
        enforcement::clock_time(grant.expires_at)
    );
    let certificate =
        (grant.binding == Binding::Mtls).then(|| global.client_cert.clone().zip(global.client_key.clone()));
    let prepared = Prepared {
        grant: grant.id,
        expires_at: grant.expires_at,
        headers,
        certificate: certificate.flatten(),
        note,
        binding: grant.binding,
    };
    match out.format {
        Format::Json => out.json(&prepared),
        Format::Table => out.bytes(script(&prepared, args.shell.unwrap_or_else(|| shell_of(env))).as_bytes()),
    }
}

fn shell_of(env: Lookup<'_>) -> Shell {
    match env("SHELL") {
        Some(shell) if shell.ends_with("fish") => Shell::Fish,
        None if cfg!(windows) => Shell::PowerShell,
        _ => Shell::Sh,
    }
}

/// Writes the headers where only their owner can read them.
fn write(grant: &GrantView, lines: &str, env: Lookup<'_>) -> Result<PathBuf, Failure> {
    let failed = |error: std::io::Error| {
        let hint = "set XDG_RUNTIME_DIR or TMPDIR to a folder of yours";
        Failure::new(Exit::Failed, format!("no file can be written for curl: {error}"), hint)
    };
    let folder = private_files::lasting_folder(env).map_err(failed)?;
    sweep(&folder, Clock::System.wall());
    let path = folder.join(format!("{}.{}{SUFFIX}", grant.id, grant.expires_at.unix_ms()));
    private_files::replace(&path, lines.as_bytes()).map_err(failed)?;
    Ok(path)
}

/// Removes the files of grants that have expired. What can't be removed is left.
fn sweep(folder: &Path, now: WallTime) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let expires = name.strip_suffix(SUFFIX).and_then(|name| name.rsplit_once('.')?.1.parse::<i64>().ok());
        if expires.is_some_and(|expires| expires <= now.unix_ms()) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn script(prepared: &Prepared, shell: Shell) -> String {
    let mut text = format!("# {}\n", prepared.note);
    let mut export = |name: &str, value: &str| text.push_str(&exported(shell, name, value));
    export("BREAKGLASS_GRANT", prepared.grant.as_str());
    export("BREAKGLASS_GRANT_EXPIRES", &prepared.expires_at.rfc3339());
    if let Some(headers) = &prepared.headers {
        export("BREAKGLASS_HEADERS", &headers.to_string_lossy());
    }
    if let Some((certificate, key)) = &prepared.certificate {
        export("BREAKGLASS_CLIENT_CERT", &certificate.to_string_lossy());
        export("BREAKGLASS_CLIENT_KEY", &key.to_string_lossy());
    }
    text.push_str(&format!("# {}\n", line(prepared, shell)));
    text
}

fn exported(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Sh => format!("export {name}={}\n", shell_word(value)),
        Shell::Fish => format!("set -gx {name} '{}'\n", value.replace('\\', "\\\\").replace('\'', "\\'")),
        Shell::PowerShell => format!("$env:{name} = '{}'\n", value.replace('\'', "''")),
    }
}

/// A line to type.
fn line(prepared: &Prepared, shell: Shell) -> String {
    let variable = |name: &str| if shell == Shell::PowerShell { format!("$env:{name}") } else { format!("${name}") };
    let curl = if shell == Shell::PowerShell { "curl.exe" } else { "curl" };
    let headers = format!("-H \"@{}\" URL", variable("BREAKGLASS_HEADERS"));
    match prepared.binding {
        Binding::Identity | Binding::Bearer => format!("{curl} {headers}"),
        Binding::Mtls => {
            let (certificate, key) = (variable("BREAKGLASS_CLIENT_CERT"), variable("BREAKGLASS_CLIENT_KEY"));
            format!("{curl} --cert \"{certificate}\" --key \"{key}\" {headers}")
        }
        // Plain curl can't make the proof that each request needs.
        Binding::Dpop => format!("breakglass curl URL, or: breakglass proxy {} --to URL", prepared.grant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(binding: Binding) -> Prepared {
        Prepared {
            grant: GrantId::from_random(1),
            expires_at: WallTime::from_unix_s(900),
            headers: (binding != Binding::Dpop).then(|| "/run/it's here/h".into()),
            certificate: (binding == Binding::Mtls).then(|| ("/c.pem".into(), "/c.key".into())),
            note: "what it is for".to_owned(),
            binding,
        }
    }

    #[test]
    fn each_shell_in_its_own_words() {
        for (shell, quoted, line) in [
            (
                Shell::Sh,
                "export BREAKGLASS_HEADERS='/run/it'\\''s here/h'\n",
                "# curl -H \"@$BREAKGLASS_HEADERS\" URL\n",
            ),
            (
                Shell::Fish,
                "set -gx BREAKGLASS_HEADERS '/run/it\\'s here/h'\n",
                "# curl -H \"@$BREAKGLASS_HEADERS\" URL\n",
            ),
            (
                Shell::PowerShell,
                "$env:BREAKGLASS_HEADERS = '/run/it''s here/h'\n",
                "# curl.exe -H \"@$env:BREAKGLASS_HEADERS\" URL\n",
            ),
        ] {
            let text = script(&prepared(Binding::Identity), shell);
            assert!(text.starts_with("# what it is for\n") && text.contains(quoted) && text.ends_with(line), "{text}");
        }
        let mtls = script(&prepared(Binding::Mtls), Shell::Sh);
        assert!(mtls.contains("export BREAKGLASS_CLIENT_CERT=/c.pem\n") && mtls.contains("--cert"), "{mtls}");
        let dpop = script(&prepared(Binding::Dpop), Shell::Sh);
        assert!(!dpop.contains("BREAKGLASS_HEADERS") && dpop.contains("# breakglass curl URL"), "{dpop}");
    }

    #[test]
    fn files_of_expired_grants_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["g-1.1000.headers", "g-2.3000.headers", "g-3.headers", "other.1000"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        sweep(folder.path(), WallTime::from_unix_s(2));
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["g-2.3000.headers", "g-3.headers", "other.1000"]);
    }
}
