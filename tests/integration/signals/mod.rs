//! Shared signals against both planes as they run: a transmitter with real keys says that a session is over, and the grant
//! is over; that a credential has changed, and the grant waits for its person.

mod transmitter;

use std::sync::Arc;
use std::time::Duration;

use breakglass::clock::{Clock, ManualClock};
use breakglass::wire::api::GrantView;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use self::transmitter::{
    ACCOUNT_DISABLED, CREDENTIAL_CHANGE, SESSION_REVOKED, Transmitter, write_poll_secret, write_secret,
};
use crate::harness::{Ask, ByHand, SidecarFile, Site, TestSidecar, raw_request, until};

/// A site whose control plane believes a transmitter, on a clock that the test moves.
struct Scene {
    clock: Arc<ManualClock>,
    site: Site,
    transmitter: Transmitter,
}

impl Scene {
    /// `delivery` is made of the folder's transmitter.
    async fn open(delivery: impl Fn(&Site, &Transmitter) -> String) -> Self {
        let clock = ManualClock::starting_at(Clock::System.now());
        let mut site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
        let transmitter = Transmitter::start().await;
        let line = transmitter.line(&format!("http://{}", site.issuer_addr), &delivery(&site, &transmitter));
        site.stop_control().await;
        site.control_lines = line;
        site.start_control().await;
        Self { clock, site, transmitter }
    }

    async fn pushed() -> Self {
        Self::open(|_, _| "push = {}".to_owned()).await
    }

    fn event(&self, id: &str, event: (&str, Value), person: &str) -> String {
        let issuer = format!("http://{}", self.site.issuer_addr);
        let at = self.clock.now().wall.unix_s();
        self.transmitter.sign(&self.transmitter.claims(id, event, &issuer, person, at))
    }

    async fn push(&self, token: &str) -> (u16, Value) {
        self.push_as(token, None).await
    }

    async fn push_as(&self, token: &str, secret: Option<&str>) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/secevent+jwt"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(secret) = secret {
            headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {secret}")).unwrap());
        }
        let answer = self.site.call(Method::POST, "/v1/signals/idp", headers, token.to_owned().into()).await;
        let (status, body) = (answer.status.as_u16(), answer.json().unwrap_or(Value::Null));
        assert!(status != 202 || answer.body.is_empty());
        (status, body)
    }

    /// The facts of the entries of a kind.
    async fn entries(&self, kind: &str) -> Vec<Value> {
        let entries = self.site.control().store().entries(0, 1000).await.unwrap();
        let of_kind = entries.into_iter().filter(|entry| entry.kind == kind);
        of_kind.map(|entry| serde_json::from_str::<Value>(&entry.canonical).unwrap()["facts"].clone()).collect()
    }

    async fn shown(&self, grant: &GrantView) -> Value {
        self.site.api(Method::GET, &format!("/v1/grants/{}", grant.id), "carol", Value::Null).await.1
    }

    async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.site.control().admin_addr).parse().unwrap();
        let client = breakglass::http::Client::new(None, breakglass::http::Limits::DEFAULT);
        let answer = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map_or(0.0, |n| n.parse().unwrap())
    }
}

async fn answered(sidecar: &TestSidecar, grant: &GrantView, identity: &str) -> String {
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity)];
    sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "")).await.code()
}

/// Nothing of what was answered before lets the old session ask again; a new one does.
async fn asks(scene: &Scene, token: &str) -> (u16, Value) {
    let asked = json!({"service": "payments", "resources": ["contract/C-1042"], "actions": ["payment.release"],
        "reason": "stuck_payment", "ticket": "INC-1", "duration_s": 600});
    scene.site.api_by(Method::POST, "/v1/elevations", token, asked).await
}

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_session_ends_a_live_grant_cuts_its_stream_and_is_in_the_ledger() {
    let scene = Scene::pushed().await;
    let upstream = ByHand::start().await;
    let file = SidecarFile { upstream: Some(upstream.url()), workers: 1, ..SidecarFile::default() };
    let sidecar = scene.site.sidecar_with(&file).await;
    sidecar.until_overrides().await;
    let actions = vec!["payment.release".to_owned(), "statement.read".to_owned()];
    let grant = scene.site.grant(&Ask { actions, ..Ask::default() }).await;
    let identity = scene.site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", "/v1/contracts/C-1042/statement", &headers, "")).await;
    let (mut line, _) = upstream.request().await;
    line.write(EVENTS).await;
    assert_eq!(raw.head().await.unwrap().0, 200);
    assert_eq!(raw.take(14).await.unwrap(), b"9\r\ndata: 1\n\n\r\n");

    let token = scene.event("evt-4711", (SESSION_REVOKED, json!({"initiating_entity": "admin"})), "alice");
    assert_eq!(scene.push(&token).await, (202, Value::Null));

    assert!(line.rest().await.is_empty() && raw.rest().await.is_empty(), "the stream is cut on both sides");
    let outcome = sidecar.until_facts("outcome", 1).await.remove(0);
    assert_eq!((outcome["end"].as_str(), outcome["cause"].as_str()), (Some("cut"), Some("grant_revoked")), "{outcome}");
    let received = scene.entries("signal_received").await;
    assert_eq!(received.len(), 1);
    for (fact, value) in [
        ("event_id", "evt-4711"),
        ("event", SESSION_REVOKED),
        ("transmitter", scene.transmitter.url.as_str()),
        ("effect", "end"),
    ] {
        assert_eq!(received[0][fact], value);
    }
    let revoked = scene.entries("grant_revoked").await;
    assert_eq!(revoked.len(), 1);
    assert_eq!((&revoked[0]["grant"], &revoked[0]["event_id"]), (&grant.id.as_str().into(), &"evt-4711".into()));
    assert_eq!(scene.shown(&grant).await["state"], "revoked");
    assert_eq!(answered(&sidecar, &grant, &identity).await, "grant_revoked");

    // It comes again: it is answered alike, and does nothing.
    assert_eq!(scene.push(&token).await, (202, Value::Null));
    assert_eq!(scene.entries("signal_received").await.len(), 1);
    let replayed =
        "breakglass_control_signals_total{event=\"session_revoked\",outcome=\"replayed\",transmitter=\"idp\"}";
    assert_eq!(scene.metric(replayed).await, 1.0);

    // The session that was revoked asks for nothing any more; a new one does.
    let (status, refused) = asks(&scene, &identity).await;
    assert_eq!((status, &refused["code"]), (401, &"insufficient_user_authentication".into()));
    scene.clock.advance(Duration::from_secs(2));
    let fresh = scene.site.identity("alice");
    let (status, asked) = asks(&scene, &fresh).await;
    assert_eq!(status, 201, "{asked}");
    let again: GrantView = serde_json::from_value(asked["grant"].clone()).unwrap();
    scene.site.enforcement(&again, "carol").await;
    assert_eq!(answered(&sidecar, &again, &identity).await, "grant_not_usable", "nor does it use what the new one got");
    // Told of it once more, late, the transmitter ends nothing of the new session.
    let late = scene.transmitter.claims(
        "evt-4712",
        (SESSION_REVOKED, json!({"event_timestamp": scene.clock.now().wall.unix_s() - 2})),
        &format!("http://{}", scene.site.issuer_addr),
        "alice",
        scene.clock.now().wall.unix_s(),
    );
    assert_eq!(scene.push(&scene.transmitter.sign(&late)).await.0, 202);
    assert_eq!(scene.shown(&again).await["state"], "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_credential_suspends_until_its_person_signs_in_afresh() {
    let scene = Scene::pushed().await;
    let sidecar = scene.site.sidecar().await;
    let grant = scene.site.grant(&Ask { max_uses: Some(3), ..Ask::default() }).await;
    let old = scene.site.identity("alice");
    let until_answered = async |sidecar: &TestSidecar, identity: &str, code: &str| {
        let what = format!("the sidecar says {code}");
        until(&what, async || (answered(sidecar, &grant, identity).await == code).then_some(())).await;
    };
    until_answered(&sidecar, &old, "override").await;
    let token = scene.event("evt-1", (CREDENTIAL_CHANGE, json!({"change_type": "update"})), "alice");
    assert_eq!(scene.push(&token).await.0, 202);
    let shown = scene.shown(&grant).await;
    assert_eq!(shown["state"], "active");
    assert!(shown["suspended_at"].is_i64(), "{shown}");
    scene.site.enforcement(&grant, "carol").await;
    assert_eq!(answered(&sidecar, &grant, &old).await, "grant_suspended");
    // A sidecar that comes later is told the same, and so is one that starts again.
    let later = scene.site.sidecar().await;
    assert_eq!(answered(&later, &grant, &old).await, "grant_suspended");
    let (status, _) = scene.site.api_by(Method::GET, "/v1/grants", &old, Value::Null).await;
    assert_eq!(status, 401, "the session from before does not lift it");
    assert_eq!(answered(&sidecar, &grant, &old).await, "grant_suspended");

    scene.clock.advance(Duration::from_secs(2));
    let fresh = scene.site.identity("alice");
    let (status, listed) = scene.site.api_by(Method::GET, "/v1/grants", &fresh, Value::Null).await;
    assert_eq!(status, 200, "{listed}");
    let resumed = scene.shown(&grant).await;
    assert_eq!((&resumed["expires_at"], &resumed["suspended_at"]), (&json!(grant.expires_at), &Value::Null));
    scene.site.enforcement(&grant, "carol").await;
    for sidecar in [&sidecar, &later] {
        assert_eq!(answered(sidecar, &grant, &old).await, "grant_not_usable", "what was proven before proves nothing");
    }
    until_answered(&sidecar, &fresh, "override").await;
    assert_eq!(sidecar.shared().grants.by_id(&grant.id).unwrap().spent(), 2, "uses are counted on");
    assert_eq!(scene.entries("grant_suspended").await[0]["event_id"], "evt-1");
    assert_eq!(scene.entries("grant_resumed").await.len(), 1);

    // A credential that is gone ends it.
    scene.clock.advance(Duration::from_secs(2));
    let token = scene.event("evt-2", (CREDENTIAL_CHANGE, json!({"change_type": "delete"})), "alice");
    assert_eq!(scene.push(&token).await.0, 202);
    until_answered(&sidecar, &fresh, "grant_revoked").await;
    sidecar.verified();
    assert!(scene.site.control().store().check().await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_push_is_told_under_the_codes_of_the_standard() {
    let scene = Scene::open(|site, _| {
        write_secret(site.path(), "push-secret", "s3cret");
        "push = { token_file = \"push-secret\" }".to_owned()
    })
    .await;
    let sidecar = scene.site.sidecar().await;
    let grant = scene.site.grant(&Ask::default()).await;
    let identity = scene.site.identity("alice");
    let token = scene.event("evt-1", (ACCOUNT_DISABLED, json!({})), "alice");
    for secret in [None, Some("guess"), Some("s3cret2"), Some("")] {
        let (status, said) = scene.push_as(&token, secret).await;
        assert_eq!((status, &said["err"]), (400, &"authentication_failed".into()), "{secret:?}");
        assert!(said["description"].is_string());
    }
    let issuer = format!("http://{}", scene.site.issuer_addr);
    let at = scene.clock.now().wall.unix_s();
    let claims = scene.transmitter.claims("evt-1", (ACCOUNT_DISABLED, json!({})), &issuer, "alice", at);
    let stranger = Transmitter::start().await;
    let other = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        scene.transmitter.sign(&claims)
    };
    for (what, token, code) in [
        ("an access token", identity.clone(), "invalid_request"),
        ("no token", "nonsense".to_owned(), "invalid_request"),
        ("an empty body", String::new(), "invalid_request"),
        ("a huge one", "x".repeat(17 * 1024), "invalid_request"),
        ("signed by another", stranger.sign(&claims), "invalid_key"),
        ("by another issuer", other("iss", stranger.url.clone().into()), "invalid_issuer"),
        ("for another", other("aud", "them".into()), "invalid_audience"),
        ("that expires", other("exp", (at + 60).into()), "invalid_request"),
        ("of the future", other("iat", (at + 60).into()), "invalid_request"),
        ("without events", other("events", json!({})), "invalid_request"),
    ] {
        let (status, said) = scene.push_as(&token, Some("s3cret")).await;
        assert_eq!((status, &said["err"]), (400, &code.into()), "{what}: {said}");
    }
    // Of another issuer's people it may say what it likes.
    let foreign = scene.transmitter.claims("evt-9", (ACCOUNT_DISABLED, json!({})), "https://x.test", "alice", at);
    assert_eq!(scene.push_as(&scene.transmitter.sign(&foreign), Some("s3cret")).await.0, 202);
    let (status, _) = scene.site.api_by(Method::GET, "/v1/grants", &token, Value::Null).await;
    assert_eq!(status, 401, "an event opens nothing");
    assert_eq!(answered(&sidecar, &grant, &token).await, "identity_invalid");
    assert_eq!(answered(&sidecar, &grant, &identity).await, "override", "nothing of it did anything");
    assert_eq!(scene.push_as(&token, Some("s3cret")).await.0, 202);
    scene.site.enforcement(&grant, "carol").await;
    assert_eq!(answered(&sidecar, &grant, &identity).await, "grant_revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transmitter_that_rotates_its_key_is_believed_at_once() {
    let scene = Scene::pushed().await;
    let grant = scene.site.grant(&Ask::default()).await;
    // The first look for keys is a while ago, as it would be; so the next may be at once.
    scene.transmitter.rotate();
    let token = scene.event("evt-1", (SESSION_REVOKED, json!({})), "alice");
    until("the new key is believed", async || (scene.push(&token).await.0 == 202).then_some(())).await;
    assert_eq!(scene.shown(&grant).await["state"], "revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_fetched_acknowledged_and_refused_one_by_one() {
    for long in [true, false] {
        let scene = Scene::open(|site, transmitter| {
            write_poll_secret(site.path(), "poll-secret");
            transmitter.poll_line("poll-secret", long)
        })
        .await;
        let grant = scene.site.grant(&Ask::default()).await;
        scene.transmitter.set_down(true);
        let revoked = scene.event("evt-2", (SESSION_REVOKED, json!({})), "alice");
        scene.transmitter.hold("evt-1", scene.event("evt-other", (SESSION_REVOKED, json!({})), "nobody"));
        scene.transmitter.hold("evt-2", revoked);
        scene.transmitter.hold("evt-3", "nonsense".to_owned());
        scene.transmitter.set_down(false);
        let errors = scene.transmitter.until_settled().await;
        let refused: Vec<_> = errors.iter().map(|(id, error)| (id.as_str(), error["err"].as_str().unwrap())).collect();
        assert_eq!(refused, [("evt-1", "invalid_request"), ("evt-3", "invalid_request")]);
        assert_eq!(scene.shown(&grant).await["state"], "revoked");
        assert_eq!(scene.entries("grant_revoked").await[0]["event_id"], "evt-2");
        let polls = scene.transmitter.polls();
        assert!(polls.iter().all(|poll| poll["maxEvents"] == 2), "{polls:?}");
        let waits = polls.iter().any(|poll| poll["returnImmediately"] == false);
        assert_eq!(waits, long, "{polls:?}");
    }
}

/// What a control plane did not get round to acknowledging comes again to the next, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_not_acknowledged_comes_again_after_a_restart() {
    let mut scene = Scene::open(|site, transmitter| {
        write_poll_secret(site.path(), "poll-secret");
        transmitter.poll_line("poll-secret", true)
    })
    .await;
    let grant = scene.site.grant(&Ask::default()).await;
    let token = scene.event("evt-1", (SESSION_REVOKED, json!({})), "alice");
    scene.transmitter.hold("evt-1", token.clone());
    scene.transmitter.until_settled().await;
    assert_eq!(scene.shown(&grant).await["state"], "revoked");
    scene.site.stop_control().await;
    scene.transmitter.hold("evt-1", token);
    scene.site.start_control().await;
    scene.transmitter.until_settled().await;
    assert_eq!(scene.entries("signal_received").await.len(), 1);
}
