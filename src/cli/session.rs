//! Who calls, and where: the control plane's address, the certificate authorities trusted, and the caller's tokens.
//!
//! Tokens come from the environment, from files, or from the sign-in that is kept, never from the command line, and leave
//! only in a header. A control plane's address is never taken from an answer: it would let any API ask for the caller's
//! token.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;

use super::api::Api;
use super::args::Global;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::own_key::OwnKey;
use super::sign_in::{Credentials, Keeper, Opener, Shelf, SignIn};
use crate::domain::ServiceName;
use crate::error_chain::error_chain;
use crate::http::{Client, ClientIdentity, ClientTls, Limits, TlsError, TlsRoots};
use crate::secret::Secret;

/// Greatest length of a token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

const TOKEN_HINT: &str =
    "put the token in BREAKGLASS_TOKEN, or name a file that holds it with --token-file or BREAKGLASS_TOKEN_FILE";

/// Reads the environment; tests give their own.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment. What is empty counts as not set.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A client of the control plane for the caller. Without a token in the environment or a file it goes by the sign-in
/// that is kept, and speaks and asks aside of `out` where that takes a person.
///
/// # Errors
/// When the address, the token or the roots are missing or unusable.
pub(super) fn connect(global: &Global, env: Lookup<'_>, out: &Output) -> Result<Api, Failure> {
    connect_within(global, env, out, Limits::DEFAULT)
}

/// The same, with calls of other limits.
///
/// # Errors
/// As [`connect`].
pub(super) fn connect_within(global: &Global, env: Lookup<'_>, out: &Output, limits: Limits) -> Result<Api, Failure> {
    let credentials = match control_token(global, env)? {
        Some(token) => Credentials::Given(token),
        None => Credentials::Kept(Arc::new(keeper(global, env, out)?)),
    };
    let base = control_url(global.control.as_deref())?;
    let tls = tls_with(&base, global.ca.as_deref(), client_identity(global)?)?;
    Ok(Api::new(Client::new(tls, limits), base, credentials).with_key(OwnKey::find(global, env)))
}

/// What signing in at the configured control plane takes.
///
/// # Errors
/// When the address or the roots are missing or unusable, or there is no place to keep a sign-in.
pub(super) fn sign_in(global: &Global, env: Lookup<'_>) -> Result<SignIn, Failure> {
    let control = control_url(global.control.as_deref())?;
    let tls = tls_with(&control, global.ca.as_deref(), None)?;
    Ok(SignIn {
        client: Client::new(tls, Limits::DEFAULT),
        issuers: Client::new(issuer_tls(global.ca.as_deref())?, Limits::DEFAULT),
        shelf: Shelf::new(&control.to_string(), env)?,
        opener: Opener::find(env),
        control,
    })
}

/// Keeps the sign-in at the configured control plane usable.
///
/// # Errors
/// As [`sign_in`].
pub(super) fn keeper(global: &Global, env: Lookup<'_>, out: &Output) -> Result<Keeper, Failure> {
    Ok(Keeper::new(sign_in(global, env)?, out.aside()))
}

fn control_url(given: Option<&str>) -> Result<Uri, Failure> {
    let hint = "name it with --control https://HOST:PORT or BREAKGLASS_CONTROL";
    let text = given
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Failure::new(Exit::Usage, "the address of the control plane is not known", hint))?;
    let wrong = || Failure::new(Exit::Usage, format!("'{text}' is not the address of a control plane"), hint);
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let plain = uri.query().is_none() && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if matches!(uri.scheme_str(), Some("https" | "http")) && plain { Ok(uri) } else { Err(wrong()) }
}

/// What a URL is reached with, without a certificate of the caller's own.
///
/// # Errors
/// When the authorities can't be used.
pub(super) fn tls_for(base: &Uri, ca: Option<&Path>) -> Result<Option<ClientTls>, Failure> {
    tls_with(base, ca, None)
}

/// The client certificate to show.
///
/// # Errors
/// When its files can't be used.
pub(super) fn client_identity(global: &Global) -> Result<Option<ClientIdentity>, Failure> {
    let (Some(certificate), Some(key)) = (&global.client_cert, &global.client_key) else { return Ok(None) };
    let unusable =
        |error| Failure::new(Exit::Failed, error_chain(&error), "name PEM files with --client-cert and --client-key");
    ClientIdentity::from_pem_files(certificate, key).map(Some).map_err(unusable)
}

/// TLS to `base`, showing a certificate where there is one; none for http.
///
/// # Errors
/// When the authorities or the certificate can't be used.
pub(super) fn tls_with(
    base: &Uri,
    ca: Option<&Path>,
    own: Option<ClientIdentity>,
) -> Result<Option<ClientTls>, Failure> {
    if base.scheme_str() != Some("https") {
        return Ok(None);
    }
    let roots = match ca {
        Some(file) => TlsRoots::from_pem_files([file]),
        None => TlsRoots::native(),
    };
    ClientTls::new(roots.map_err(unusable)?, own).map(Some).map_err(unusable)
}

/// An issuer is often a public one, also where the control plane has an authority of its own: both are trusted for it.
fn issuer_tls(ca: Option<&Path>) -> Result<Option<ClientTls>, Failure> {
    let roots = match (ca.map(|file| TlsRoots::from_pem_files([file])), TlsRoots::native()) {
        (Some(own), Ok(system)) => own.map_err(unusable)?.and(system),
        (Some(own), Err(_)) => own.map_err(unusable)?,
        (None, Ok(system)) => system,
        // Without any authority an issuer on this machine can still be reached.
        (None, Err(_)) => return Ok(None),
    };
    ClientTls::new(roots, None).map(Some).map_err(unusable)
}

fn unusable(error: TlsError) -> Failure {
    Failure::new(
        Exit::Failed,
        error_chain(&error),
        "name a PEM file of certificate authorities with --ca or BREAKGLASS_CA",
    )
}

/// The access token that was given for the control plane: `--token-file`, else `BREAKGLASS_TOKEN`, else
/// `BREAKGLASS_TOKEN_FILE`; `None`: the sign-in that is kept.
///
/// # Errors
/// When it has the wrong form.
fn control_token(global: &Global, env: Lookup<'_>) -> Result<Option<Secret<String>>, Failure> {
    find_token(global.token_file.as_deref(), "BREAKGLASS_TOKEN", env)
}

/// The access token that was given for contract APIs: `--identity-file`, else `BREAKGLASS_IDENTITY`, else
/// `BREAKGLASS_IDENTITY_FILE`, else the control plane's.
fn given_identity(global: &Global, env: Lookup<'_>) -> Result<Option<Secret<String>>, Failure> {
    match find_token(global.identity_file.as_deref(), "BREAKGLASS_IDENTITY", env)? {
        Some(token) => Ok(Some(token)),
        None => control_token(global, env),
    }
}

/// A token to read the ledger at `base` with: `BREAKGLASS_LEDGER_TOKEN` or `BREAKGLASS_LEDGER_TOKEN_FILE`; else, only where
/// the ledger is the control plane's own, the token for that. Nobody else is ever shown it.
///
/// # Errors
/// When there is one, and it has the wrong form.
pub(super) fn ledger_token(global: &Global, base: &str, env: Lookup<'_>) -> Result<Option<Secret<String>>, Failure> {
    if let Some(token) = find_token(None, "BREAKGLASS_LEDGER_TOKEN", env)? {
        return Ok(Some(token));
    }
    let control =
        global.control.as_deref().map(|control| control.trim_end_matches('/')).filter(|control| !control.is_empty());
    if control.is_some_and(|control| base.strip_prefix(control).is_some_and(|rest| rest.starts_with('/'))) {
        return control_token(global, env);
    }
    Ok(None)
}

/// The access token for the contract API of `service`: the one that was given, else one of the sign-in that is kept.
///
/// # Errors
/// When it has the wrong form, or nobody is signed in.
pub(super) async fn identity_token(
    api: &Api,
    (global, env): (&Global, Lookup<'_>),
    service: &ServiceName,
) -> Result<Secret<String>, Failure> {
    match given_identity(global, env)? {
        Some(token) => Ok(token),
        None => api.token_for(service).await,
    }
}

/// Whether a token was given that comes before the sign-in that is kept: by which flag or variable.
pub(super) fn given_by(global: &Global, env: Lookup<'_>) -> Option<String> {
    if let Some(file) = &global.token_file {
        return Some(file.display().to_string());
    }
    ["BREAKGLASS_TOKEN", "BREAKGLASS_TOKEN_FILE"].into_iter().find(|name| env(name).is_some()).map(str::to_owned)
}

/// A shell expression that prints the identity token, for a command line to paste. It holds no token itself.
pub(super) fn identity_expression(global: &Global, env: Lookup<'_>, service: &ServiceName) -> String {
    let candidates = [(&global.identity_file, "BREAKGLASS_IDENTITY"), (&global.token_file, "BREAKGLASS_TOKEN")];
    for (file, variable) in candidates {
        if let Some(file) = file {
            return format!("$(cat {})", shell_word(&file.to_string_lossy()));
        }
        if env(variable).is_some() {
            return format!("${variable}");
        }
        if env(&format!("{variable}_FILE")).is_some() {
            return format!("$(cat \"${variable}_FILE\")");
        }
    }
    format!("$(breakglass token --service {service})")
}

/// The text as one word of a POSIX shell.
pub fn shell_word(text: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b'=' | b',' | b'@' | b'+');
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn find_token(file: Option<&Path>, variable: &str, env: Lookup<'_>) -> Result<Option<Secret<String>>, Failure> {
    if let Some(file) = file {
        return token_in_file(file).map(Some);
    }
    if let Some(token) = env(variable) {
        return checked(&token, variable).map(Some);
    }
    env(&format!("{variable}_FILE")).map(|file| token_in_file(&PathBuf::from(file))).transpose()
}

fn token_in_file(file: &Path) -> Result<Secret<String>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::NotAuthenticated, format!("{}: {error}", file.display()), TOKEN_HINT))?;
    checked(&text, &file.display().to_string())
}

/// INVARIANT: a token has visible ASCII only, so that it cannot add a header or a line of its own.
fn checked(text: &str, source: &str) -> Result<Secret<String>, Failure> {
    let token = text.trim();
    let wrong = |why: &str| Failure::new(Exit::NotAuthenticated, format!("{source} holds no token: {why}"), TOKEN_HINT);
    if token.is_empty() {
        return Err(wrong("it is empty"));
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(wrong("it is longer than any token"));
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("a token is one word of visible ASCII"));
    }
    Ok(Secret::new(token.to_owned()))
}

#[cfg(test)]
pub(crate) mod sample {
    use super::Global;
    use crate::cli::args::Format;

    /// Flags as they are when none is given.
    pub(crate) fn global() -> Global {
        Global {
            control: None,
            ca: None,
            token_file: None,
            identity_file: None,
            dpop_key: None,
            client_cert: None,
            client_key: None,
            output: Format::Table,
            quiet: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn tokens_are_looked_up_in_a_fixed_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "from-file\n").unwrap();
        let path = file.to_str().unwrap();
        let vars = [("BREAKGLASS_TOKEN", "from-variable"), ("BREAKGLASS_IDENTITY_FILE", path)];
        let mut global = sample::global();
        let control = |global: &Global| control_token(global, &env(&vars)).unwrap().unwrap().into_exposed();
        let identity = |vars: &[_]| given_identity(&sample::global(), &env(vars)).unwrap().unwrap().into_exposed();
        assert_eq!(control(&global), "from-variable");
        assert_eq!(identity(&vars), "from-file");
        assert_eq!(identity(&vars[..1]), "from-variable", "the same by default");
        global.token_file = Some(file.clone());
        assert_eq!(control(&global), "from-file", "a flag comes first");
        assert_eq!(given_by(&global, &env(&vars)).unwrap(), path);
        assert_eq!(given_by(&sample::global(), &env(&vars)).unwrap(), "BREAKGLASS_TOKEN");
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_quoted() {
        for bad in ["two words", "line\r\nX-Other: 1", "\u{e9}", "   "] {
            let failure = control_token(&sample::global(), &env(&[("BREAKGLASS_TOKEN", bad)])).unwrap_err();
            assert_eq!(failure.exit, Exit::NotAuthenticated);
            assert!(!failure.message.contains("words") && !failure.message.contains("X-Other"), "{}", failure.message);
        }
        assert_eq!(control_token(&sample::global(), &env(&[])).unwrap(), None, "then the sign-in that is kept counts");
    }

    #[test]
    fn addresses_of_a_control_plane() {
        for good in ["https://control.example:8443", "http://127.0.0.1:1/", "https://example/glass"] {
            assert!(control_url(Some(good)).is_ok(), "{good}");
        }
        for bad in ["", "control.example", "ftp://x", "https://user:pw@example", "https://x/?q=1", "https://"] {
            assert_eq!(control_url(Some(bad)).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn the_pasted_line_names_the_token_and_never_holds_it() {
        let vars = [("BREAKGLASS_TOKEN", "s3cret")];
        let expression = |global: &Global, vars: &[_]| identity_expression(global, &env(vars), &"pay".parse().unwrap());
        assert_eq!(expression(&sample::global(), &vars), "$BREAKGLASS_TOKEN");
        assert_eq!(expression(&sample::global(), &[]), "$(breakglass token --service pay)");
        let file = Global { identity_file: Some("/tmp/it's".into()), ..sample::global() };
        assert_eq!(expression(&file, &vars), "$(cat '/tmp/it'\\''s')");
    }
}
