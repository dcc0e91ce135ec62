//! Signing in with the real program at a real provider: both flows, renewal, step-up, the end of it.

mod keyring;
mod laptop;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use breakglass::clock::Clock;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::harness::{Browser, Landed, Provider, Settings, Site, raw_request, until};
use laptop::{Laptop, Terminal, ended};

/// As an operator writes it: whom tokens are asked for, by the provider's own names.
const SIGN_IN: &str = "sign_in = { client_id = \"breakglass-cli\", audience = \"urn:break-glass:control\", service = [\
                       { name = \"payments\", audience = \"urn:break-glass:payments\" }, \
                       { name = \"ledger\", audience = \"urn:break-glass:ledger\" }] }\n";
const REQUEST: [&str; 11] = [
    "request",
    "--service",
    "payments",
    "--resource",
    "contract/C-1042",
    "--action",
    "payment.release",
    "--reason",
    "stuck_payment",
    "--ticket",
    "INC-2041",
];
const RELEASE: &str = "/v1/contracts/C-1042/echo";

async fn site_of(provider: &Provider) -> Site {
    let mut site = Site::without_control(Clock::System).await;
    site.issuers = format!("[[issuer]]\nurl = \"{}\"\n", provider.issuer);
    site.control_lines = SIGN_IN.to_owned();
    site.start_control().await;
    site
}

/// Signs in where the terminal says.
async fn at_the_shown_page(terminal: &Terminal, browser: &mut Browser) {
    let url = terminal.word_after("or open").await;
    let landed = browser.open(&url).await;
    assert!(matches!(landed, Landed::Page(200, _)), "{landed:?}");
}

async fn signed_in(laptop: &Laptop, browser: &mut Browser) {
    let terminal = laptop.terminal(&["login", "--device"]);
    at_the_shown_page(&terminal, browser).await;
    let (code, said) = terminal.ended().await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("signed in as") && said.contains("it renews itself"), "{said}");
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// Has the policy want a step-up in the tier "on-call", and as approvals are to be given.
async fn demand(site: &Site, provider: &Provider, terms: &str) {
    let token = provider.identity("carol", "control").await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let shown = site.call(Method::GET, "/v1/policy", headers.clone(), Bytes::new()).await;
    let view: Value = shown.json().unwrap();
    let policy = view["policy"].as_str().unwrap().replacen("approvals = 0", terms, 1);
    headers.insert("if-match", shown.headers["etag"].clone());
    headers.insert("content-type", "application/json".parse().unwrap());
    let services = view["services"].as_array().unwrap().iter();
    let services: Vec<&Value> = services.map(|service| &service["text"]).collect();
    let body = json!({"policy": policy, "services": services});
    let answer = site.call(Method::PUT, "/v1/policy", headers, body.to_string().into()).await;
    assert!(answer.status.is_success(), "{}", String::from_utf8_lossy(&answer.body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_in_by_a_device_a_person_does_all_and_signs_out() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    let sidecar = site.sidecar().await;
    let laptop = Laptop::new(&site);
    let nobody = laptop.run(&["whoami"]).await;
    assert_eq!(nobody.code, 4, "{nobody:?}");
    assert!(nobody.talk.contains("you are not signed in") && nobody.talk.contains("breakglass login"), "{nobody:?}");
    signed_in(&laptop, &mut provider.browser("alice")).await;
    let who: Value = serde_json::from_str(&laptop.data(&["whoami", "--output", "json"]).await).unwrap();
    assert_eq!((&who["person"], &who["groups"]), (&json!("alice"), &json!(["payments-oncall"])), "{who}");
    let made = laptop.data(&[&REQUEST[..], &["--output", "json"]].concat()).await;
    let grant = serde_json::from_str::<Value>(&made).unwrap()["grant"]["id"].as_str().unwrap().to_owned();
    // One token for each audience, by one refresh token.
    let token = laptop.data(&["token", "--service", "payments"]).await.trim().to_owned();
    assert_eq!(claims(&token)["aud"], "payments");
    assert_eq!(claims(laptop.data(&["token"]).await.trim())["aud"], "control");
    let own = [("Break-Glass", grant.as_str()), ("Break-Glass-Identity", token.as_str())];
    assert_eq!(sidecar.send(&raw_request("POST", RELEASE, &own, "")).await.code(), "override");
    let kept = std::fs::read_to_string(laptop.kept().unwrap()).unwrap();
    let refresh = serde_json::from_str::<Value>(&kept).unwrap()["refresh_token"].as_str().unwrap().to_owned();
    let out = laptop.run(&["logout"]).await;
    assert_eq!((out.code, out.talk.contains("signed out")), (0, true), "{out:?}");
    assert_eq!(laptop.kept(), None);
    assert_eq!(provider.asked("/token/revocation").await, 1);
    // The thief of a backup gets nothing by it.
    let tokens = crate::harness::Tokens { access: String::new(), refresh: Some(refresh), id: None };
    assert_eq!(provider.refresh(&tokens, "control").await.unwrap_err(), "invalid_grant");
    assert_eq!(laptop.run(&["grants"]).await.code, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browser_of_this_machine_comes_back_to_it() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    let mut laptop = Laptop::new(&site);
    let opened = laptop.path().join("opened");
    let opener = laptop.path().join("opener");
    std::fs::write(
        &opener,
        format!("#!/bin/sh\nprintf %s \"$1\" > '{0}.new' && mv '{0}.new' '{0}'\n", opened.display()),
    )
    .unwrap();
    std::fs::set_permissions(&opener, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    laptop.set("BROWSER", opener.to_str().unwrap().to_owned());
    let terminal = laptop.terminal(&["login"]);
    let url = until("the browser to be opened", async || std::fs::read_to_string(&opened).ok()).await;
    let Landed::Elsewhere(back) = provider.browser("alice").open(&url).await else { panic!("no way back") };
    assert!(back.starts_with("http://127.0.0.1:") && back.contains("/callback?"), "{back}");
    let answer =
        provider.client.send(Method::GET, &back.parse().unwrap(), HeaderMap::new(), Bytes::new()).await.unwrap();
    assert_eq!(answer.status, 200);
    let (code, said) = terminal.ended().await;
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("eyJ"), "no token is shown: {said}");
    let shown = laptop.data(&["whoami"]).await;
    assert!(shown.contains("alice") && shown.contains("which renews itself"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_up_is_run_by_itself_and_the_same_request_goes_on() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    let sidecar = site.sidecar().await;
    demand(&site, &provider, "approvals = 0\nstep_up = { acr = [\"mfa\"], max_age_s = 300 }").await;
    let laptop = Laptop::new(&site);
    let mut browser = provider.browser("alice");
    signed_in(&laptop, &mut browser).await;
    // Where nobody can be asked, it says what to run.
    let refused = laptop.run(&REQUEST).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.talk.contains("breakglass login --acr mfa --max-age 300s"), "{refused:?}");
    let terminal = laptop.terminal(&REQUEST);
    terminal.until("The policy wants a stronger or fresher login").await;
    at_the_shown_page(&terminal, &mut browser).await;
    let (code, said) = terminal.ended().await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(browser.sign_ins, 2, "one to sign in, one to step up");
    let listed: Value = serde_json::from_str(&laptop.data(&["requests", "--mine", "--output", "json"]).await).unwrap();
    let listed = &listed["items"];
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(
        (&listed[0]["authentication"]["acr"], &listed[0]["authentication"]["amr"]),
        (&json!("mfa"), &json!(["pwd", "otp"]))
    );
    // And so say the override's intent in the audit log, and the ledger.
    let grant = listed[0]["grant"]["id"].as_str().unwrap();
    let token = laptop.data(&["token", "--service", "payments"]).await;
    let own = [("Break-Glass", grant), ("Break-Glass-Identity", token.trim())];
    assert_eq!(sidecar.send(&raw_request("POST", RELEASE, &own, "")).await.code(), "override");
    sidecar.until_facts("outcome", 1).await;
    let auth_time = claims(token.trim())["auth_time"].as_i64().unwrap();
    let intent = &sidecar.facts("intent")[0]["authentication"];
    assert_eq!((&intent["acr"], &intent["amr"]), (&json!("mfa"), &json!(["pwd", "otp"])), "{intent}");
    assert_eq!(intent["auth_time"], json!(auth_time * 1000));
    let entries = site.control().store().entries(0, 100).await.unwrap();
    for kind in ["elevation_requested", "grant_issued"] {
        let entry = entries.iter().find(|entry| entry.kind == kind).unwrap();
        assert!(
            entry.canonical.contains("\"acr\":\"mfa\"") && entry.canonical.contains("\"amr\":[\"pwd\",\"otp\"]"),
            "{entry:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_approves_steps_up_and_the_approval_goes_on() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    let approvals =
        "approvals = { count = 1, groups = [\"payments-leads\"], step_up = { acr = [\"mfa\"], max_age_s = 60 } }";
    demand(&site, &provider, approvals).await;
    let (alice, carol) = (Laptop::new(&site), Laptop::new(&site));
    signed_in(&alice, &mut provider.browser("alice")).await;
    let mut browser = provider.browser("carol");
    signed_in(&carol, &mut browser).await;
    let asked = alice.data(&[&REQUEST[..], &["--no-wait", "--output", "json"]].concat()).await;
    let id = serde_json::from_str::<Value>(&asked).unwrap()["id"].as_str().unwrap().to_owned();
    let mut terminal = carol.terminal(&["approve", &id]);
    terminal.until("Approve it?").await;
    terminal.type_line("y").await;
    at_the_shown_page(&terminal, &mut browser).await;
    let (code, said) = terminal.ended().await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{id} approved")), "{said}");
    let entries = site.control().store().entries(0, 100).await.unwrap();
    let entry = entries.iter().find(|entry| entry.kind == "elevation_approved").unwrap();
    assert!(entry.canonical.contains("\"acr\":\"mfa\""), "{entry:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_steps_up_for_a_request() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    demand(&site, &provider, "approvals = 0\nstep_up = { acr = [\"mfa\"] }").await;
    let laptop = Laptop::new(&site);
    signed_in(&laptop, &mut provider.browser("alice")).await;
    let terminal = laptop.terminal(&REQUEST);
    at_the_shown_page(&terminal, &mut provider.browser("bob")).await;
    let (code, said) = terminal.ended().await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("somebody else signed in"), "{said}");
    let who: Value = serde_json::from_str(&laptop.data(&["whoami", "--output", "json"]).await).unwrap();
    assert_eq!(who["person"], "alice", "the sign-in before stands");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_shells_renew_one_sign_in_and_none_spends_a_token_twice() {
    let provider = Provider::with_settings(Settings { access_token_s: 1, ..Settings::default() }).await;
    let site = site_of(&provider).await;
    let laptop = Laptop::new(&site);
    signed_in(&laptop, &mut provider.browser("alice")).await;
    // Long enough for several of them to find an old token: each is old after three quarters of a second.
    for _ in 0..3 {
        let shells: Vec<_> = (0..6).map(|_| laptop.start(&["token"])).collect();
        for shell in shells {
            let ended = ended(shell).await;
            assert_eq!(ended.code, 0, "{ended:?}");
        }
    }
    // Killed at any moment, the file is whole; at worst the issuer takes the next use for a theft and ends the sign-in.
    for _ in 0..5 {
        let mut shell = laptop.start(&["token"]);
        tokio::task::yield_now().await;
        shell.kill().await.unwrap();
        let after = laptop.run(&["token"]).await;
        let clear = after.code == 0 || (after.code == 4 && after.talk.contains("breakglass login"));
        assert!(clear, "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_signs_in_by_itself() {
    let provider = Provider::start().await;
    let site = site_of(&provider).await;
    let sidecar = site.sidecar().await;
    let laptop = Laptop::new(&site);
    let url = format!("https://localhost:{}/v1/contracts/C-1042/payments/P-7/release", sidecar.address.port());
    let ca = site.path().join("ca.pem");
    let words = [
        "curl",
        "--reason",
        "stuck_payment",
        "--ticket",
        "INC-2041",
        "--yes",
        "--",
        "-sS",
        "--cacert",
        ca.to_str().unwrap(),
        "-X",
        "POST",
        &url,
    ];
    let mut terminal = laptop.terminal(&words);
    terminal.until("Sign in now?").await;
    terminal.type_line("y").await;
    at_the_shown_page(&terminal, &mut provider.browser("alice")).await;
    let (code, said) = terminal.ended().await;
    assert_eq!(code, 0, "{said}");
    sidecar.until_facts("outcome", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_down_or_has_ended_it_is_told_apart() {
    let provider = Provider::with_settings(Settings { access_token_s: 1, ..Settings::default() }).await;
    let site = site_of(&provider).await;
    let laptop = Laptop::new(&site);
    signed_in(&laptop, &mut provider.browser("alice")).await;
    provider.go_down().await;
    let down = until("a token that is too old", async || {
        let ended = laptop.run(&["token"]).await;
        (ended.code != 0).then_some(ended)
    })
    .await;
    assert_eq!(down.code, 5, "{down:?}");
    assert!(laptop.kept().is_some(), "it is still there");
    provider.come_up().await;
    laptop.data(&["token"]).await;
    provider.revoke("alice").await;
    let ended = until("an end", async || {
        let ended = laptop.run(&["token"]).await;
        (ended.code != 0).then_some(ended)
    })
    .await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.talk.contains("ended at the issuer"), "{ended:?}");
    assert_eq!(laptop.kept(), None);
}
