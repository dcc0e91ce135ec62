//! Who is calling, told by the tokens of a real OpenID provider to a live control plane and a live sidecar.

mod attacks;
mod flows;
mod recheck;
mod rotation;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Site, TestSidecar, raw_request, until};

const TARGET: &str = "/v1/contracts/C-1042/echo";

/// What a JWT says; nobody's word for it is needed here.
fn claims(token: &str) -> Value {
    part(token, 1)
}

fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, number: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap()).unwrap()
}

fn elevation() -> Value {
    json!({"service": "payments", "resources": ["contract/C-1042"], "actions": ["payment.release"],
        "reason": "stuck_payment", "ticket": "INC-2041", "duration_s": 600})
}

/// Asks for a grant with an access token for the control plane, and waits for the sidecars.
async fn granted(site: &Site, token: &str) -> String {
    let (status, said) = site.api_by(Method::POST, "/v1/elevations", token, elevation()).await;
    assert_eq!(status, 201, "{said}");
    let id = said["grant"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/grants/{id}/enforcement?wait_ms=10000");
    until("every sidecar enforces it", async || {
        let (_, said) = site.api_by(Method::GET, &path, token, Value::Null).await;
        (said["enforced"] == said["sidecars"]).then_some(())
    })
    .await;
    id
}

fn request(grant: &str, identity: &str) -> Vec<u8> {
    raw_request("POST", TARGET, &[("Break-Glass", grant), ("Break-Glass-Identity", identity)], "")
}

async fn presented(sidecar: &TestSidecar, grant: &str, identity: &str) -> Answer {
    sidecar.send(&request(grant, identity)).await
}

/// The code that an override of `grant` with this identity gets.
async fn used(sidecar: &TestSidecar, grant: &str, identity: &str) -> String {
    presented(sidecar, grant, identity).await.code()
}

/// The code that the control plane has for a caller with this token.
async fn called(site: &Site, token: &str) -> String {
    let (status, said) = site.api_by(Method::GET, "/v1/grants", token, Value::Null).await;
    if status == 200 { "ok".to_owned() } else { said["code"].as_str().unwrap().to_owned() }
}
