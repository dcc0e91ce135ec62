//! Signing in at a small issuer, which is the control plane as well: device flow, code flow, renewal, the end.

mod issuer;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use http::{HeaderMap, Method};
use serde_json::json;

use super::*;
use crate::cli::args::Format;
use crate::cli::failure::Exit;
use crate::cli::output::capture::{self, Captured};
use crate::http::Limits;
use issuer::SmallIssuer;

struct Bench {
    issuer: SmallIssuer,
    folder: tempfile::TempDir,
    sign_in: SignIn,
}

impl Bench {
    async fn start() -> Self {
        let issuer = SmallIssuer::start().await;
        let folder = tempfile::tempdir().unwrap();
        let sign_in = sign_in(&issuer, &folder);
        Self { issuer, folder, sign_in }
    }

    async fn login(&self, order: Order) -> (Result<Kept, Failure>, Captured) {
        let (mut out, _, talk) = capture::output(Format::Table);
        (self.sign_in.run(&order, &mut out).await, talk)
    }

    async fn signed_in(&self) -> Kept {
        self.login(Order { flow: Flow::Device, ..Order::default() }).await.0.unwrap()
    }

    fn keeper(&self) -> Keeper {
        let (out, _, _) = capture::output(Format::Table);
        Keeper::new(self.sign_in.clone(), out)
    }
}

fn sign_in(issuer: &SmallIssuer, folder: &tempfile::TempDir) -> SignIn {
    let state = folder.path().to_str().unwrap().to_owned();
    let env = move |name: &str| (name == "XDG_STATE_HOME").then(|| state.clone());
    let client = Client::new(None, Limits::DEFAULT);
    SignIn {
        control: issuer.url.parse().unwrap(),
        client: client.clone(),
        issuers: client,
        shelf: Shelf::new(&issuer.url, &env).unwrap(),
        opener: None,
    }
}

#[tokio::test]
async fn the_device_flow_ends_in_a_file_for_its_owner_alone() {
    let bench = Bench::start().await;
    let (kept, talk) = bench.login(Order { flow: Flow::Device, ..Order::default() }).await;
    let kept = kept.unwrap();
    assert_eq!(kept.subject.as_ref().unwrap().as_str(), "alice");
    assert!(talk.text().contains("WDJB-MJHT") && talk.text().contains("/device"), "{}", talk.text());
    let forms = bench.issuer.forms("/device_authorization");
    assert!(forms[0].contains("client_id=cli") && forms[0].contains("scope=openid%20offline_access"), "{forms:?}");
    assert!(forms[0].contains("resource=urn%3Acontrol&resource=urn%3Apayments"), "{forms:?}");
    assert!(bench.issuer.forms("/token").len() > 1, "it waited");
    assert_eq!(bench.issuer.forms("/.well-known/openid-configuration").len(), 1, "it is asked for its metadata once");
    let file = bench.sign_in.shelf.file();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let said = talk.text();
    for token in ["access-", "refresh-", "device-code"] {
        assert!(!said.contains(token), "{said}");
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(bench.keeper().token(None).await.unwrap_err().message.contains("read by others"));
}

#[tokio::test]
async fn who_did_not_sign_in_as_it_was_asked_is_not_signed_in() {
    let bench = Bench::start().await;
    let order = |change: fn(&mut Order)| {
        let mut order = Order { flow: Flow::Device, ..Order::default() };
        change(&mut order);
        order
    };
    let strong = order(|order| order.asked.acr = vec!["strong".to_owned()]);
    let (refused, _) = bench.login(strong.clone()).await;
    assert!(refused.unwrap_err().message.contains("as weak, and strong was asked for"));
    assert!(bench.issuer.forms("/device_authorization")[0].contains("acr_values=strong"));
    let (refused, _) = bench.login(order(|order| order.by = Some("bob".parse().unwrap()))).await;
    assert!(refused.unwrap_err().message.contains("somebody else"));
    for (claim, value) in [("aud", json!("other")), ("iss", json!("http://evil.test")), ("exp", json!(1))] {
        bench.issuer.change_id_token(claim, value);
        assert!(bench.login(order(|_| {})).await.0.unwrap_err().message.contains("does not hold"), "{claim}");
    }
    assert!(bench.sign_in.shelf.read().await.unwrap().is_none(), "nothing of it is kept");
    bench.issuer.change_id_token("acr", json!("strong"));
    assert!(bench.login(strong).await.0.is_ok());
}

#[tokio::test]
async fn declined_and_overslept() {
    let bench = Bench::start().await;
    for (error, says) in
        [("access_denied", "declined"), ("expired_token", "in time"), ("invalid_scope", "invalid_scope")]
    {
        bench.issuer.answer_device_with(error);
        let (refused, _) = bench.login(Order { flow: Flow::Device, ..Order::default() }).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.exit, Exit::NotAuthenticated);
        assert!(refused.message.contains(says), "{}", refused.message);
    }
}

/// The address that is to be opened.
async fn address(talk: &Captured) -> String {
    loop {
        if let Some(at) = talk.text().find("  http") {
            return talk.text()[at..].trim().lines().next().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_browser_comes_back_with_a_code_for_this_sign_in() {
    let bench = Bench::start().await;
    let (mut out, _, talk) = capture::output(Format::Table);
    let sign_in = bench.sign_in.clone();
    let order = Order { flow: Flow::Browser, ..Order::default() };
    let running = tokio::spawn(async move { sign_in.run(&order, &mut out).await });
    let url = address(&talk).await;
    for wanted in
        ["response_type=code", "code_challenge_method=S256", "prompt=consent", "nonce=", "&resource=urn%3Acontrol"]
    {
        assert!(url.contains(wanted), "{url}");
    }
    let back = bench.issuer.authorize(&url);
    let client = Client::new(None, Limits::DEFAULT);
    let get = async |url: String| {
        client.send(Method::GET, &url.parse().unwrap(), HeaderMap::new(), bytes::Bytes::new()).await.unwrap().status
    };
    assert_eq!(get(back.replace("state=", "state=x")).await, 400, "a forged answer does not end the wait");
    assert_eq!(get(back).await, 200);
    let kept = running.await.unwrap().unwrap();
    assert_eq!(kept.subject.unwrap().as_str(), "alice");
    let form = bench.issuer.forms("/token").pop().unwrap();
    assert!(form.contains("grant_type=authorization_code") && form.contains("code_verifier="), "{form}");
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_believed() {
    let bench = Bench::start().await;
    let (mut out, _, talk) = capture::output(Format::Table);
    let sign_in = bench.sign_in.clone();
    let order = Order { flow: Flow::Browser, ..Order::default() };
    let running = tokio::spawn(async move { sign_in.run(&order, &mut out).await });
    let back = bench.issuer.authorize(&address(&talk).await);
    let (without, _) = back.split_once("&iss=").unwrap();
    let other = format!("{without}&iss=http%3A%2F%2Fevil.test").parse().unwrap();
    let client = Client::new(None, Limits::DEFAULT);
    client.send(Method::GET, &other, HeaderMap::new(), bytes::Bytes::new()).await.unwrap();
    assert!(running.await.unwrap().unwrap_err().message.contains("not from"));
    assert_eq!(bench.issuer.forms("/token").len(), 0, "the code went nowhere");
}

#[tokio::test]
async fn a_refresh_token_is_spent_once_however_many_shells_there_are() {
    let bench = Bench::start().await;
    bench.issuer.set_lifetime_s(0);
    bench.signed_in().await;
    bench.issuer.set_lifetime_s(600);
    let before = bench.issuer.forms("/token").len();
    let keepers: Vec<_> = (0..8).map(|_| Arc::new(bench.keeper())).collect();
    let all = keepers.into_iter().map(|keeper| tokio::spawn(async move { keeper.token(None).await }));
    let tokens: Vec<_> =
        futures_util::future::join_all(all).await.into_iter().map(|token| token.unwrap().unwrap()).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(bench.issuer.forms("/token").len(), before + 1);
    let service = "payments".parse().unwrap();
    let other = bench.keeper().token(Some(&service)).await.unwrap();
    assert_ne!(other, tokens[0]);
    assert!(bench.issuer.forms("/token").pop().unwrap().contains("resource=urn%3Apayments"));
    assert_eq!(bench.keeper().token(Some(&service)).await.unwrap(), other, "kept");
}

#[tokio::test]
async fn what_the_issuer_has_ended_is_gone_here_too() {
    let bench = Bench::start().await;
    bench.issuer.set_lifetime_s(0);
    bench.signed_in().await;
    bench.issuer.end_all();
    let failure = bench.keeper().token(None).await.unwrap_err();
    assert_eq!(failure.exit, Exit::NotAuthenticated);
    assert!(failure.message.contains("ended at the issuer") && failure.hint.contains("breakglass login"));
    assert!(bench.sign_in.shelf.read().await.unwrap().is_none());
}

#[tokio::test]
async fn an_issuer_that_is_down_ends_nothing() {
    let bench = Bench::start().await;
    bench.issuer.set_lifetime_s(0);
    bench.signed_in().await;
    bench.issuer.set_down(true);
    assert_eq!(bench.keeper().token(None).await.unwrap_err().exit, Exit::Unreachable);
    bench.issuer.set_down(false);
    bench.issuer.set_lifetime_s(600);
    bench.keeper().token(None).await.unwrap();
}

#[tokio::test]
async fn logging_out_ends_it_here_and_at_the_issuer() {
    let bench = Bench::start().await;
    let kept = bench.signed_in().await;
    let (mut out, _, _) = capture::output(Format::Table);
    assert!(bench.sign_in.end(&mut out).await.unwrap());
    assert!(bench.sign_in.shelf.read().await.unwrap().is_none());
    let form = bench.issuer.forms("/revoke").pop().unwrap();
    assert!(form.contains(kept.refresh_token.unwrap().expose()), "{form}");
    assert!(!bench.sign_in.end(&mut out).await.unwrap());
    bench.signed_in().await;
    bench.issuer.set_down(true);
    assert!(bench.sign_in.end(&mut out).await.unwrap(), "gone from here, whatever the issuer says");
    assert!(bench.sign_in.shelf.read().await.unwrap().is_none());
    assert!(bench.folder.path().exists());
}

#[tokio::test]
async fn signing_in_anew_takes_the_place_and_nothing_of_it_is_revoked() {
    let bench = Bench::start().await;
    let first = bench.signed_in().await.refresh_token.unwrap();
    let second = bench.signed_in().await.refresh_token.unwrap();
    assert_ne!(first, second);
    assert_eq!(bench.sign_in.shelf.read().await.unwrap().unwrap().refresh_token.unwrap(), second);
    assert!(bench.issuer.forms("/revoke").is_empty(), "an issuer may end with it all that this person has here");
}

#[tokio::test]
async fn what_is_sent_again_is_the_same_request_under_the_same_key() {
    let bench = Bench::start().await;
    bench.signed_in().await;
    let control: Uri = bench.issuer.url.parse().unwrap();
    let credentials = Credentials::Kept(Arc::new(bench.keeper()));
    let api = crate::cli::api::Api::new(bench.sign_in.client.clone(), control, credentials);
    let call = async || api.deny(&"e-000000000009".parse().unwrap(), "no".to_owned()).await;
    bench.issuer.refuse_access_tokens(true);
    call().await.unwrap_err();
    let refused = bench.issuer.calls();
    assert_eq!(refused.len(), 3, "it is not asked for ever: {refused:?}");
    bench.issuer.refuse_access_tokens(false);
    call().await.unwrap_err();
    let calls = bench.issuer.calls();
    assert_eq!(calls.len(), 4);
    let (tokens, keys): (Vec<_>, Vec<_>) = calls.iter().cloned().unzip();
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2], "{tokens:?}");
    assert!(keys[0].len() >= 32 && keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
    assert!(bench.issuer.forms("/v1/elevations/e-000000000009/deny").iter().all(|body| body == "{\"note\":\"no\"}"));
}

#[tokio::test]
async fn garbage_on_the_shelf_is_told_and_logout_removes_it() {
    let bench = Bench::start().await;
    bench.signed_in().await;
    for garbage in ["", "{}", "[1", "{\"version\":2}"] {
        std::fs::write(bench.sign_in.shelf.file(), garbage).unwrap();
        assert_eq!(bench.keeper().token(None).await.unwrap_err().exit, Exit::NotAuthenticated, "{garbage:?}");
    }
    let (mut out, _, _) = capture::output(Format::Table);
    assert!(bench.sign_in.end(&mut out).await.unwrap());
    bench.signed_in().await;
}
