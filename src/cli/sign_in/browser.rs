//! Authorization code with PKCE in the browser of this machine (RFC 8252, RFC 7636, RFC 9207, OpenID Connect Core 1.0
//! §3.1).

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::asked::Asked;
use super::endpoint::{Endpoint, EndpointError, Tokens};
use super::error::SignInError;
use super::loopback::{Loopback, Parameters};
use super::proof::Proof;
use crate::cli::output::Output;
use crate::cli::session::Lookup;
use crate::domain::Audience;
use crate::http::form::encoded;

/// How long the person may take.
const WAIT_MAX: Duration = Duration::from_secs(900);

/// What opens an address in a browser: a program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Opener(Vec<String>);

impl Opener {
    /// `BROWSER`, or what the desktop of this machine has; `None` where there is none, such as over SSH.
    pub(in crate::cli) fn find(env: Lookup<'_>) -> Option<Self> {
        let words = |words: &[&str]| Some(Self(words.iter().map(ToString::to_string).collect()));
        if let Some(browser) = env("BROWSER") {
            return words(&[&browser]);
        }
        if env("SSH_CONNECTION").is_some() {
            None
        } else if cfg!(target_os = "macos") {
            words(&["open"])
        } else if cfg!(windows) {
            words(&["rundll32", "url.dll,FileProtocolHandler"])
        } else if env("DISPLAY").or_else(|| env("WAYLAND_DISPLAY")).is_some() {
            words(&["xdg-open"])
        } else {
            None
        }
    }

    /// INVARIANT: the address is one argument, and begins with http: no shell reads it, and it names no option.
    fn open(&self, url: &str) -> bool {
        let Some((program, first)) = self.0.split_first() else { return false };
        let mut command = Command::new(program);
        command.args(first).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().is_ok()
    }
}

/// Runs the flow; the tokens, and the nonce that the ID token must have.
///
/// # Errors
/// When the issuer refuses, or nobody signs in in time.
pub(super) async fn run(
    endpoint: &Endpoint,
    scopes: &[String],
    audiences: &[Audience],
    (asked, opener): (&Asked, Option<&Opener>),
    out: &mut Output,
) -> Result<(Tokens, String), SignInError> {
    let proof = Proof::new()?;
    let loopback = Loopback::bind().await.map_err(SignInError::Loopback)?;
    let redirect_uri = loopback.redirect_uri();
    let url = authorization_url(endpoint, scopes, audiences, asked, (&proof, &redirect_uri))?;
    if opener.is_some_and(|opener| opener.open(&url)) {
        out.choice("Sign in in the browser that opens. If none does, open this address on this machine:");
    } else {
        out.choice("To sign in, open this address on this machine:");
    }
    out.choice(&format!("  {url}"));
    out.progress("waiting for you to sign in");
    let is_ours = |answer: &Parameters| answer.get("state").is_some_and(|state| proof.is_state(state));
    let answer = timeout(WAIT_MAX, loopback.answer(is_ours)).await.map_err(|_| SignInError::NobodyCame)?;
    let code = code_of(endpoint, answer.map_err(SignInError::Loopback)?)?;
    let mut fields = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", proof.verifier.clone()),
    ];
    fields.extend(endpoint.indicated(audiences.first()));
    Ok((endpoint.tokens(fields).await?, proof.nonce))
}

fn authorization_url(
    endpoint: &Endpoint,
    scopes: &[String],
    audiences: &[Audience],
    asked: &Asked,
    (proof, redirect_uri): (&Proof, &str),
) -> Result<String, SignInError> {
    let base = endpoint.provider.authorization.as_ref().ok_or(SignInError::NoFlow("code flow with PKCE"))?;
    let mut fields = vec![
        ("response_type", "code".to_owned()),
        ("client_id", endpoint.client_id.clone()),
        ("redirect_uri", redirect_uri.to_owned()),
        ("scope", scopes.join(" ")),
        ("state", proof.state.clone()),
        ("nonce", proof.nonce.clone()),
        ("code_challenge", proof.challenge()),
        ("code_challenge_method", "S256".to_owned()),
    ];
    // OpenID Connect Core 1.0 §11: without consent there is no refresh token.
    if scopes.iter().any(|scope| scope == "offline_access") {
        fields.push(("prompt", "consent".to_owned()));
    }
    fields.extend(endpoint.indicated(audiences));
    fields.extend(asked.parameters());
    let joint = if base.query().is_some() { '&' } else { '?' };
    Ok(format!("{base}{joint}{}", encoded(&fields)))
}

/// The code of an answer whose state is ours already.
fn code_of(endpoint: &Endpoint, mut answer: Parameters) -> Result<String, SignInError> {
    let issuer = endpoint.provider.issuer.as_str();
    let named = answer.get("iss").map(String::as_str);
    // RFC 9207 §2.4: an issuer that says it names itself and does not is another.
    if named.is_some_and(|named| named != issuer) || (named.is_none() && endpoint.provider.names_itself) {
        return Err(SignInError::MixedUp(issuer.to_owned()));
    }
    if let Some(code) = answer.remove("error") {
        let description = answer.remove("error_description");
        return match code.as_str() {
            "access_denied" => Err(SignInError::Declined),
            _ => Err(EndpointError::Refused { code, description }.into()),
        };
    }
    let missing = EndpointError::Unusable("it has neither a code nor an error");
    answer.remove("code").filter(|code| !code.is_empty()).ok_or_else(|| missing.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_a_browser() {
        let found = |names: &[(&str, &str)]| {
            let env = |name: &str| names.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            Opener::find(&env).map(|opener| opener.0)
        };
        assert_eq!(found(&[("BROWSER", "firefox"), ("SSH_CONNECTION", "x")]).unwrap(), ["firefox"]);
        assert_eq!(found(&[("SSH_CONNECTION", "x"), ("DISPLAY", ":0")]), None);
        if cfg!(target_os = "linux") {
            assert_eq!(found(&[("DISPLAY", ":0")]).unwrap(), ["xdg-open"]);
            assert_eq!(found(&[]), None);
        }
    }
}
