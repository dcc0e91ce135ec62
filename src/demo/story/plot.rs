//! What happens, in order.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::log;
use super::narrator::Narrator;
use super::stage::{Credentials, Stage, Version};
use crate::cli::failure::{Exit, Failure};
use crate::demo::examples::SERVICE;
use crate::domain::GrantId;
use crate::secret::Secret;
use crate::wire::api::{ElevationView, Page, SidecarView};

const STUCK: &str = "/v1/contracts/C-1042/payments/P-7/release";
const BESIDE: &str = "/v1/contracts/C-1042/payments/P-8/release";
const CANCEL: &str = "/v1/contracts/C-1042/payments/P-8/cancel";
const OTHER: &str = "/v1/contracts/C-3001/payments/P-1/release";
const AMBIGUOUS: &str = "/v1/contracts/C-1042/payments/P-7/../P-8/release";
const LOCKED: &str = "423 locked by the rule \"frozen\"";
const THROUGH: &str = "200 released; the API was told: role payments.override, resource contract/C-1042, \
                       action payment.release";
/// How long the sidecar may take to find the control plane.
const CONNECT_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Who takes part.
struct People {
    alice: Secret<String>,
    bob: Secret<String>,
    auditor: Secret<String>,
}

/// The whole story.
///
/// # Errors
/// When something is missing without which it cannot go on.
pub(super) async fn all(stage: &Stage, tell: &mut Narrator<'_>) -> Result<(), Failure> {
    tell.act("2:13. Payment P-7 is stuck: its contract C-1042 was frozen a minute ago. Alice is on call.");
    let (alice, bob, auditor) = (stage.token("alice").await?, stage.token("bob").await?, stage.token("dave").await?);
    let people = People { alice, bob, auditor };
    connected(stage, &people.auditor).await?;
    tell.act("1  The contract API's own rules hold");
    request(stage, tell, "without a grant", STUCK, Version::Http2, None, LOCKED).await;
    tell.act("2  Alice asks for elevation: one contract, one action, two uses");
    let grant = elevation(stage, tell, &people.alice, 2).await?;
    through_and_refused(stage, tell, &people, &grant).await?;
    tell.act("5  A second grant is revoked");
    let revoked = revocation(stage, tell, &people.alice).await?;
    tell.act("6  Every override and every refusal stands in the audit log");
    log::show_and_verify(stage, tell, &people.auditor, &revoked).await
}

/// The sidecar and the control plane have found each other.
async fn connected(stage: &Stage, auditor: &Secret<String>) -> Result<(), Failure> {
    let end = Instant::now() + CONNECT_MAX;
    loop {
        let known: Page<SidecarView> = stage.ask(&["sidecars"], auditor).await?;
        if known.items.iter().any(|sidecar| sidecar.connected) {
            return Ok(());
        }
        if Instant::now() > end {
            let hint = "look at the sidecar's log: does it reach the control plane's feed?";
            return Err(Failure::new(Exit::NotEnforced, "no sidecar is connected to the control plane", hint));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn request(
    stage: &Stage,
    tell: &mut Narrator<'_>,
    who: &str,
    path: &str,
    version: Version,
    by: Option<&Credentials<'_>>,
    told: &str,
) {
    tell.does(&format!("POST {path}   {}, {who}", version.as_str()));
    let came = stage.post(path, version, by).await;
    tell.compare(told, &came);
}

/// Returns once every connected sidecar enforces the grant.
async fn elevation(
    stage: &Stage,
    tell: &mut Narrator<'_>,
    alice: &Secret<String>,
    uses: u32,
) -> Result<GrantId, Failure> {
    let uses = uses.to_string();
    let words = ["request", "--service", SERVICE, "--resource", "contract/C-1042", "--action", "payment.release"];
    let words = [&words[..], &["--reason", "stuck_payment", "--ticket", "INC-2041", "--uses", &uses]].concat();
    tell.does(&format!("breakglass {}", words.join(" ")));
    let elevation: ElevationView = stage.ask(&words, alice).await?;
    let Some(grant) = elevation.grant else {
        return Err(Failure::new(Exit::Refused, "the request was not granted", "see the control plane's policy"));
    };
    let known = &grant.enforcement;
    let elapsed = known.elapsed_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
    let came = format!("{}, enforced on {} of {} sidecars{elapsed}", grant.id, known.enforced, known.sidecars);
    tell.judge(
        "a grant, enforced on every connected sidecar",
        &came,
        known.sidecars > 0 && known.enforced == known.sidecars,
    );
    Ok(grant.id)
}

async fn through_and_refused(
    stage: &Stage,
    tell: &mut Narrator<'_>,
    people: &People,
    grant: &GrantId,
) -> Result<(), Failure> {
    let own = Credentials { grant: grant.as_str(), identity: &people.alice };
    tell.act("3  The same request goes through, with the grant");
    request(stage, tell, "Alice with the grant", STUCK, Version::Http2, Some(&own), THROUGH).await;
    tell.act("4  Nothing else does");
    let beyond = "403 resource_out_of_scope";
    request(stage, tell, "another contract", OTHER, Version::Http2, Some(&own), beyond).await;
    request(stage, tell, "another action", CANCEL, Version::Http1, Some(&own), "403 action_out_of_scope").await;
    let bob = Credentials { identity: &people.bob, ..own };
    request(stage, tell, "another person: Bob", BESIDE, Version::Http2, Some(&bob), "403 grant_not_usable").await;
    let forged = forged(&stage.grant_token(grant, &people.alice).await?)?;
    let forger = Credentials { grant: forged.expose(), ..own };
    let who = "a forged token: Alice's own, rewritten for that contract";
    request(stage, tell, who, OTHER, Version::Http1, Some(&forger), "403 grant_not_usable").await;
    request(stage, tell, "an ambiguous path", AMBIGUOUS, Version::Http2, Some(&own), "400 target_ambiguous").await;
    let who = "the second and last use";
    request(stage, tell, who, BESIDE, Version::Http1, Some(&own), THROUGH).await;
    request(stage, tell, "one use too many", STUCK, Version::Http2, Some(&own), "403 grant_used_up").await;
    Ok(())
}

/// The token with another contract in it, and the signature as it was.
fn forged(token: &Secret<String>) -> Result<Secret<String>, Failure> {
    let wrong = || Failure::new(Exit::Failed, "the grant token has an unknown form", "report this as a bug");
    let mut parts = token.expose().split('.');
    let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let claims =
        URL_SAFE_NO_PAD.decode(claims).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
    let other = claims.replace("contract/C-1042", "contract/C-3001");
    if other == claims {
        return Err(wrong());
    }
    Ok(Secret::new(format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(other))))
}

async fn revocation(stage: &Stage, tell: &mut Narrator<'_>, alice: &Secret<String>) -> Result<GrantId, Failure> {
    let grant = elevation(stage, tell, alice, 5).await?;
    let own = Credentials { grant: grant.as_str(), identity: alice };
    let settled = "409 already_released";
    let who = "an override steps past rules, not past facts";
    request(stage, tell, who, STUCK, Version::Http1, Some(&own), settled).await;
    tell.does(&format!("breakglass revoke {grant}"));
    let (came, _) = stage.verb(&["revoke", grant.as_str()], alice).await?;
    let came = came.trim();
    let told = format!("{grant} revoked: enforced on 1 of 1 sidecars in … ms");
    tell.judge(&told, came, is_measured(came, &told));
    request(stage, tell, "the revoked grant", STUCK, Version::Http2, Some(&own), "403 grant_revoked").await;
    Ok(grant)
}

/// True when `came` is `told` with a number for the dots.
fn is_measured(came: &str, told: &str) -> bool {
    let Some((before, after)) = told.split_once('…') else { return came == told };
    let number = came.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_is_a_number() {
        let told = "enforced on 1 of 1 sidecars in … ms";
        assert!(is_measured("enforced on 1 of 1 sidecars in 38 ms", told));
        for other in
            ["enforced on 1 of 1 sidecars", "enforced on 0 of 1 sidecars in 3 ms", "enforced on 1 of 1 sidecars in  ms"]
        {
            assert!(!is_measured(other, told), "{other}");
        }
    }

    #[test]
    fn a_forged_token_says_something_else_under_the_same_signature() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"resource":"contract/C-1042"}"#);
        let forged = forged(&Secret::new(format!("head.{claims}.signature"))).unwrap();
        let expected = URL_SAFE_NO_PAD.encode(r#"{"resource":"contract/C-3001"}"#);
        assert_eq!(*forged.expose(), format!("head.{expected}.signature"));
    }
}
