//! The device flow (RFC 8628): the person signs in wherever they have a browser, and types a short code there.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::asked::Asked;
use super::endpoint::{Endpoint, EndpointError, Tokens};
use super::error::SignInError;
use crate::cli::output::Output;
use crate::domain::Audience;
use crate::http::HttpError;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Between two questions, where the issuer does not say (§3.2).
const INTERVAL_S: u64 = 5;
const INTERVAL_S_MAX: u64 = 60;
/// `slow_down` adds this (§3.5).
const SLOWER_S: u64 = 5;
/// The person has no longer than this, whatever the issuer allows.
const LIFETIME_S_MAX: u64 = 1_800;
const TEXT_BYTES_MAX: usize = 2_048;

#[derive(Deserialize)]
struct Started {
    device_code: String,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

/// Runs the flow: says where to go, and waits.
///
/// # Errors
/// When the issuer refuses, or nobody signs in in time.
pub(super) async fn run(
    endpoint: &Endpoint,
    scopes: &[String],
    audiences: &[Audience],
    asked: &Asked,
    out: &mut Output,
) -> Result<Tokens, SignInError> {
    let url = endpoint.provider.device_authorization.as_ref().ok_or(SignInError::NoFlow("device flow"))?;
    let mut fields = vec![("scope", scopes.join(" "))];
    fields.extend(endpoint.indicated(audiences));
    fields.extend(asked.parameters());
    let answer = endpoint.post(url, fields).await?;
    let started: Started =
        answer.json().map_err(|_| EndpointError::Unusable("it is not an answer of the device flow"))?;
    show(&started, out)?;
    wait(endpoint, &started, audiences, out).await
}

fn show(started: &Started, out: &mut Output) -> Result<(), SignInError> {
    let shown = |url: &str| url.len() <= TEXT_BYTES_MAX && (url.starts_with("https://") || url.starts_with("http://"));
    if !shown(&started.verification_uri) || started.user_code.len() > TEXT_BYTES_MAX {
        return Err(EndpointError::Unusable("it names no place to sign in at").into());
    }
    out.choice(&format!("To sign in, open  {}", started.verification_uri));
    out.choice(&format!("and enter         {}", started.user_code));
    if let Some(complete) = started.verification_uri_complete.as_deref().filter(|url| shown(url)) {
        out.choice(&format!("or open           {complete}"));
        out.choice("                  and see that it shows the same code");
    }
    Ok(())
}

async fn wait(
    endpoint: &Endpoint,
    started: &Started,
    audiences: &[Audience],
    out: &mut Output,
) -> Result<Tokens, SignInError> {
    let end = Instant::now() + Duration::from_secs(started.expires_in.min(LIFETIME_S_MAX));
    let mut pause_s = started.interval.unwrap_or(INTERVAL_S).clamp(1, INTERVAL_S_MAX);
    loop {
        out.progress("waiting for you to sign in");
        sleep(Duration::from_secs(pause_s)).await;
        if Instant::now() >= end {
            return Err(SignInError::NobodyCame);
        }
        let mut fields = vec![("grant_type", GRANT_TYPE.to_owned()), ("device_code", started.device_code.clone())];
        fields.extend(endpoint.indicated(audiences.first()));
        match endpoint.tokens(fields).await {
            Ok(tokens) => return Ok(tokens),
            Err(error) => pause_s = next_pause(error, pause_s)?,
        }
    }
}

/// How long to wait before it is asked again; an error where asking again is of no use (§3.5).
fn next_pause(error: EndpointError, pause_s: u64) -> Result<u64, SignInError> {
    match &error {
        EndpointError::Refused { code, .. } => match code.as_str() {
            "authorization_pending" => Ok(pause_s),
            "slow_down" => Ok(pause_s.saturating_add(SLOWER_S).min(INTERVAL_S_MAX)),
            "expired_token" => Err(SignInError::NobodyCame),
            "access_denied" => Err(SignInError::Declined),
            _ => Err(error.into()),
        },
        EndpointError::Http(HttpError::Status(answer)) if !answer.status.is_server_error() => Err(error.into()),
        // A network that is away for a moment: less often from now on.
        EndpointError::Http(_) => Ok(pause_s.saturating_mul(2).min(INTERVAL_S_MAX)),
        EndpointError::Unusable(_) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asking_again_depends_on() {
        let refused = |code: &str| EndpointError::Refused { code: code.to_owned(), description: None };
        assert_eq!(next_pause(refused("authorization_pending"), 5).unwrap(), 5);
        assert_eq!(next_pause(refused("slow_down"), 5).unwrap(), 10);
        assert_eq!(next_pause(refused("slow_down"), 58).unwrap(), INTERVAL_S_MAX);
        assert!(matches!(next_pause(refused("access_denied"), 5), Err(SignInError::Declined)));
        assert!(matches!(next_pause(refused("expired_token"), 5), Err(SignInError::NobodyCame)));
        assert!(matches!(next_pause(refused("invalid_client"), 5), Err(SignInError::Endpoint(_))));
        let timed_out = HttpError::TimedOut { step: crate::http::Step::Connect, ms: 1 };
        assert_eq!(next_pause(timed_out.into(), 5).unwrap(), 10, "exponential back-off");
    }
}
