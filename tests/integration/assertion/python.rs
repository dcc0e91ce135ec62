//! `docs/examples/verify_assertion.py`, with PyJWT, against assertions as a live sidecar makes them.

use std::path::Path;

use super::*;
use crate::observed_from_outside::run;
use crate::tool;

/// What the example is asked.
#[derive(Clone, Copy)]
struct Question<'q> {
    assertion: &'q str,
    keys: &'q str,
    root: Option<&'q str>,
    service: &'q str,
    method: &'q str,
    target: &'q str,
    resource: &'q str,
    action: &'q str,
}

impl Question<'_> {
    /// The claims, or why not.
    fn asked(&self) -> Result<serde_json::Value, String> {
        let mut command = std::process::Command::new(tool("tests/run's Python", "target/venv/bin/python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/verify_assertion.py"));
        for (name, value) in [
            ("--keys", self.keys),
            ("--service", self.service),
            ("--method", self.method),
            ("--target", self.target),
            ("--resource", self.resource),
            ("--action", self.action),
        ] {
            command.args([name, value]);
        }
        command.args(self.root.map(|root| format!("--root={root}")));
        let output = run(command, self.assertion);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            Some(1) if said.starts_with("refused: ") && output.stdout.is_empty() => Err(said),
            other => panic!("{other:?}: {said}"),
        }
    }
}

/// Makes one override; what arrived.
async fn captured(stage: &Stage) -> Arrived {
    let (grant, identity) = (stage.site.grant(&Ask::default()).await, stage.site.identity("alice"));
    let answer = stage.sidecar.send(&raw_request("POST", RELEASE, &own(&grant, &identity), "")).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    stage.last()
}

fn with_header(assertion: &str, header: &str) -> String {
    use base64::Engine as _;
    let (_, rest) = assertion.split_once('.').unwrap();
    format!("{}.{rest}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_example_accepts_a_real_assertion_and_nothing_beside_it() {
    let stage = Stage::set(Site::start().await).await;
    let arrived = captured(&stage).await;
    let (assertion, keys) = (arrived.assertion.clone().unwrap(), keys_url(&stage.sidecar));
    let root = stage.roots().first().unwrap().to_string();
    let real = Question {
        assertion: &assertion,
        keys: &keys,
        root: Some(&root),
        service: "payments",
        method: "POST",
        target: &arrived.target,
        resource: "contract/C-1042",
        action: "payment.release",
    };
    let claims = real.asked().unwrap();
    assert_eq!((&claims["sub"], &claims["resource"]), (&"alice".into(), &"contract/C-1042".into()));
    assert!(Question { root: None, ..real }.asked().is_ok(), "without a root, the address is believed");

    let beside = stage.site.sidecar().await;
    let (other_keys, other_root) = (keys_url(&beside), other_root());
    let set = stage.site.path().join("forged.json");
    std::fs::write(&set, forged_set(&stage).await).unwrap();
    let kid = key_set(&stage.sidecar).await.keys[0].kid.clone();
    let typ = r#""typ":"bg-assertion+jwt""#;
    let none = format!(
        "{}.",
        with_header(&assertion, &format!(r#"{{{typ},"alg":"none","kid":"{kid}"}}"#)).rsplit_once('.').unwrap().0
    );
    let hmac = with_header(&assertion, &format!(r#"{{{typ},"alg":"HS256","kid":"{kid}"}}"#));
    let jwk = with_header(&assertion, &format!(r#"{{{typ},"alg":"EdDSA","kid":"{kid}","jwk":{{}}}}"#));
    let grant = stage.site.grant(&Ask::default()).await;
    let grant_token = stage.site.token(&grant).await;
    for (question, why) in [
        (Question { action: "payment.cancel", ..real }, "another action"),
        (Question { resource: "contract/C-2077", ..real }, "another resource"),
        (Question { target: "/v1/contracts/C-1042/payments/P-8/release", ..real }, "another target"),
        (Question { method: "PUT", ..real }, "another method"),
        (Question { service: "ledger", ..real }, "udience"),
        (Question { keys: &other_keys, ..real }, "not one of the sidecar's"),
        (Question { root: Some(&other_root), ..real }, "not one of the sidecar's"),
        (Question { keys: set.to_str().unwrap(), root: None, ..real }, "thumbprint"),
        (Question { assertion: &none, ..real }, "alg value"),
        (Question { assertion: &hmac, ..real }, "alg value"),
        (Question { assertion: &jwk, ..real }, "header"),
        (Question { assertion: &grant_token, ..real }, "header"),
        (Question { assertion: "", ..real }, "segments"),
    ] {
        let refused = question.asked().expect_err(why);
        assert!(refused.contains(why), "{refused} for want of {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_example_refuses_an_old_assertion() {
    let (clock, _) = clock_apart(-60);
    let stage = Stage::set(Site::with_clock(clock).await).await;
    let arrived = captured(&stage).await;
    let refused = Question {
        assertion: &arrived.assertion.unwrap(),
        keys: &keys_url(&stage.sidecar),
        root: None,
        service: "payments",
        method: "POST",
        target: &arrived.target,
        resource: "contract/C-1042",
        action: "payment.release",
    }
    .asked()
    .unwrap_err();
    assert!(refused.contains("expired"), "{refused}");
}

fn other_root() -> String {
    breakglass::token::SigningKey::generate().unwrap().public().to_string()
}

/// The sidecar's set with another key under its key's name.
async fn forged_set(stage: &Stage) -> Vec<u8> {
    let mut set = key_set(&stage.sidecar).await;
    set.keys[0].x = other_root();
    serde_json::to_vec(&set).unwrap()
}
