//! curl's default configuration file. It can hold any option, so what is not accepted on the command line is not accepted
//! there either. Redirects, retries and tracing are switched off for the override in any case.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::plan::NotAccepted;
use crate::cli::session::Lookup;

/// Settings that add requests, send them with a header of ours, or keep what is sent.
const DENIED: &[&str] =
    &["url", "next", "config", "libcurl", "parallel", "anyauth", "digest", "negotiate", "ntlm", "follow"];

/// # Errors
/// When a default file would be read and has a setting that cannot be allowed.
pub(super) fn check(arguments: &[OsString], env: Lookup<'_>) -> Result<(), NotAccepted> {
    let disabled = arguments.first().is_some_and(|word| word == "-q" || word == "--disable");
    let Some(file) = (if disabled { None } else { default_file(env) }) else { return Ok(()) };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    text.lines().find(|line| is_denied(line)).map_or(Ok(()), |line| {
        let what = format!("in {}, '{}'", file.display(), setting(line));
        Err(NotAccepted { what, why: "it could send more than one request: put -q first to leave that file out" })
    })
}

/// The first default file there is, where curl looks for it.
fn default_file(env: Lookup<'_>) -> Option<PathBuf> {
    let home = env("HOME");
    let candidates = [
        env("CURL_HOME").map(|folder| Path::new(&folder).join(".curlrc")),
        env("XDG_CONFIG_HOME").map(|folder| Path::new(&folder).join("curlrc")),
        home.as_ref().map(|folder| Path::new(folder).join(".curlrc")),
        home.as_ref().map(|folder| Path::new(folder).join(".config/curlrc")),
    ];
    candidates.into_iter().flatten().find(|file| file.is_file())
}

fn is_denied(line: &str) -> bool {
    let setting = setting(line);
    matches!(setting, ":" | "K" | "Z") || DENIED.contains(&setting)
}

/// The name of the option that a line sets, without dashes.
fn setting(line: &str) -> &str {
    let name = line.trim_start().trim_start_matches('-');
    name.split([' ', '\t', '=', ':']).next().filter(|name| !name.is_empty()).unwrap_or(if name.starts_with(':') {
        ":"
    } else {
        ""
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_file_may_not_add_requests() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let env = |name: &str| (name == "HOME").then(|| home.clone());
        let file = folder.path().join(".curlrc");
        assert!(check(&[], &env).is_ok(), "there is none");
        for (text, accepted) in [
            ("# url = x\ncacert = /ca.pem\nproxy = http://p\n", true),
            ("location\nretry = 3\nverbose\n", true),
            ("url = https://a/", false),
            ("--url https://a/", false),
            ("  next\n", false),
            ("-: \n", false),
            ("-K other\n", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(check(&[], &env).is_ok(), accepted, "{text}");
            assert!(check(&["-q".into()], &env).is_ok(), "{text}");
        }
    }
}
