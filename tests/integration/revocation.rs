//! Revocations of many grants and freezes with real sidecars: what is running is cut on all of them, what is not meant
//! goes on, and whoever ordered it sees it arrive, the silent by name.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use breakglass::clock::{Clock, ManualClock};
use breakglass::wire::api::GrantView;
use breakglass::wire::revocations::{FreezeView, RevocationEnforcement, RevocationView};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Ask, ByHand, Line, Raw, SidecarFile, Site, TestSidecar, raw_request, until};

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
const FIRST: &[u8] = b"9\r\ndata: 1\n\n\r\n";
const SECOND: &[u8] = b"9\r\ndata: 2\n\n\r\n";

/// Two sidecars before one upstream, on a clock that stands: who is silent stays silent.
struct Scene {
    site: Site,
    upstream: ByHand,
    sidecars: [TestSidecar; 2],
}

/// A download that is under way: the client's end and the upstream's.
struct Download {
    client: Raw,
    upstream: Line,
}

impl Scene {
    async fn open() -> Self {
        let clock = ManualClock::starting_at(Clock::System.now());
        let site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
        let upstream = ByHand::start().await;
        let file = SidecarFile { upstream: Some(upstream.url()), workers: 1, ..SidecarFile::default() };
        let sidecars = [site.sidecar_with(&file).await, site.sidecar_with(&file).await];
        for sidecar in &sidecars {
            sidecar.until_overrides().await;
        }
        Self { site, upstream, sidecars }
    }

    async fn grant(&self, person: &'static str, contract: &str) -> GrantView {
        let (resources, actions) = (vec![format!("contract/{contract}")], vec!["statement.read".to_owned()]);
        self.site.grant(&Ask { person, resources, actions, ..Ask::default() }).await
    }

    async fn download(&self, sidecar: usize, grant: &GrantView) -> Download {
        let identity = self.site.identity(grant.person.as_str());
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let path = format!("/v1/contracts/{}/statement", grant.resources[0].as_str().split_once('/').unwrap().1);
        let mut client = self.sidecars[sidecar].raw().await;
        client.write(&raw_request("GET", &path, &headers, "")).await;
        let (mut upstream, _) = self.upstream.request().await;
        upstream.write(EVENTS).await;
        assert_eq!(client.head().await.unwrap().0, 200);
        assert_eq!(client.take(FIRST.len()).await.unwrap(), FIRST);
        Download { client, upstream }
    }

    /// As a lead.
    async fn order(&self, what: Value) -> RevocationView {
        let body = json!({ "what": what, "note": "it must stop" });
        let (status, said) = self.site.api(Method::POST, "/v1/revocations", "carol", body).await;
        assert_eq!(status, 201, "{said}");
        serde_json::from_value(said).unwrap()
    }

    async fn enforcement(&self, id: &str, query: &str) -> RevocationEnforcement {
        let path = format!("/v1/revocations/{id}/enforcement{query}");
        let (status, said) = self.site.api(Method::GET, &path, "carol", Value::Null).await;
        assert_eq!(status, 200, "{said}");
        serde_json::from_value(said).unwrap()
    }
}

impl Download {
    async fn cut(mut self) {
        assert!(self.upstream.rest().await.is_empty(), "the upstream's connection is closed");
        let rest = self.client.rest().await;
        assert!(rest.is_empty(), "nothing that could look like an end: {rest:?}");
    }

    async fn goes_on(&mut self) {
        self.upstream.write(SECOND).await;
        assert_eq!(self.client.take(SECOND.len()).await.unwrap(), SECOND);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_person_is_cut_on_every_sidecar_and_nobody_else_s() {
    let scene = Scene::open().await;
    let (first, second) = (scene.grant("alice", "C-1042").await, scene.grant("alice", "C-7").await);
    let other = scene.grant("bob", "C-1042").await;
    let (one, two) = (scene.download(0, &first).await, scene.download(1, &second).await);
    let mut beside = scene.download(1, &other).await;
    let view = scene.order(json!({ "kind": "person", "person": "alice" })).await;
    assert_eq!((view.grants_ended, view.complete), (2, true));
    one.cut().await;
    two.cut().await;
    beside.goes_on().await;
    let known = scene.enforcement(view.id.as_str(), "?wait_ms=10000").await;
    assert_eq!((known.sidecars, known.enforced, known.settled), (2, 2, true), "{known:?}");
    assert!(known.elapsed_ms.is_some(), "{known:?}");
    let recorded =
        until("its arrival is written down", async || scene.enforcement(view.id.as_str(), "").await.recorded).await;
    assert_eq!((recorded.enforced, recorded.stopped, recorded.elapsed_ms), (2, 0, known.elapsed_ms));
    let entries = scene.site.control().store().entries(0, 1000).await.unwrap();
    let told: Vec<_> = entries.iter().filter(|entry| entry.kind == "revocation_enforced").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].canonical.contains(view.id.as_str()), "{}", told[0].canonical);
    for sidecar in &scene.sidecars {
        assert_eq!(sidecar.until_facts("outcome", 1).await[0]["cause"], "grant_revoked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_on_a_resource_is_cut_and_the_silent_sidecar_is_named() {
    let scene = Scene::open().await;
    let mut silent = scene.site.sidecar().await;
    let (first, second) = (scene.grant("alice", "C-1042").await, scene.grant("bob", "C-1042").await);
    let other = scene.grant("bob", "C-7").await;
    let (one, two) = (scene.download(0, &first).await, scene.download(1, &second).await);
    let mut beside = scene.download(0, &other).await;
    silent.stop().await;
    let view = scene.order(json!({ "kind": "resource", "resource": "contract/C-1042", "service": "payments" })).await;
    assert_eq!(view.grants_ended, 2);
    one.cut().await;
    two.cut().await;
    beside.goes_on().await;
    let mut known = view.enforcement;
    while known.answered < 2 {
        known = scene.enforcement(view.id.as_str(), &format!("?wait_ms=10000&after={}", known.answered)).await;
    }
    assert_eq!((known.sidecars, known.enforced, known.settled), (3, 2, false), "{known:?}");
    assert_eq!((known.elapsed_ms, known.recorded), (None, None), "not all have answered: {known:?}");
    let [late] = known.services[0].enforcement.silent.as_slice() else { panic!("{known:?}") };
    assert_eq!(late.instance.as_str(), "s-2");
    let (stops_by, now) = (late.stops_by.unix_ms(), scene.site.clock.wall().unix_ms());
    assert!(stops_by >= now && stops_by <= now + 3_000, "within its staleness, and not over: {known:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_stayed_silent_until_it_stopped_is_written_down_as_such() {
    let clock = ManualClock::starting_at(Clock::System.now());
    let site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
    let sidecar = site.sidecar().await;
    let mut silent = site.sidecar().await;
    site.grant(&Ask::default()).await;
    silent.stop().await;
    let everything = json!({ "what": { "kind": "everything" }, "note": "it must stop" });
    let (_, said) = site.api(Method::POST, "/v1/revocations", "carol", everything).await;
    let view: RevocationView = serde_json::from_value(said).unwrap();
    let path = format!("/v1/revocations/{}/enforcement", view.id);
    let look = async || {
        let (_, said) = site.api(Method::GET, &path, "carol", Value::Null).await;
        serde_json::from_value::<RevocationEnforcement>(said).unwrap()
    };
    until("the other has answered", async || (look().await.answered == 1).then_some(())).await;
    // The writer has seen the silent one before it stops to count: it looks every second.
    let metric = async || {
        let url = format!("http://{}/metrics", site.control().admin_addr).parse().unwrap();
        let client = breakglass::http::Client::new(None, breakglass::http::Limits::DEFAULT)
            .with_cleartext(breakglass::http::Cleartext::LoopbackOnly);
        let answer = client.send(Method::GET, &url, http::HeaderMap::new(), bytes::Bytes::new()).await.unwrap();
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    until("somebody is awaited", async || {
        metric().await.contains("breakglass_control_revocations_awaited 1").then_some(())
    })
    .await;
    clock.advance(std::time::Duration::from_secs(60));
    let recorded = until("its end is written down", async || look().await.recorded).await;
    assert_eq!((recorded.enforced, recorded.stopped), (1, 1));
    sidecar.until_overrides().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_cuts_what_runs_and_refuses_what_comes_until_it_is_lifted() {
    let mut scene = Scene::open().await;
    let grant = scene.grant("alice", "C-1042").await;
    let running = scene.download(0, &grant).await;
    let note = json!({ "note": "the ledger disagrees" });
    let (status, said) = scene.site.api(Method::PUT, "/v1/freezes/payments", "carol", note).await;
    assert_eq!(status, 201, "{said}");
    let freeze: FreezeView = serde_json::from_value(said).unwrap();
    running.cut().await;
    let revocation = freeze.revocation.unwrap();
    let known = scene.enforcement(revocation.as_str(), "?wait_ms=10000").await;
    assert_eq!((known.sidecars, known.enforced), (2, 2), "{known:?}");
    let identity = scene.site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("GET", "/v1/contracts/C-1042/statement", &headers, "");
    for sidecar in &scene.sidecars {
        assert_eq!(sidecar.send(&request).await.code(), "frozen");
    }
    scene.site.stop_control().await;
    scene.site.start_control().await;
    let ask = json!({
        "service": "payments", "resources": ["contract/C-7"], "actions": ["statement.read"], "reason": "stuck_payment",
        "ticket": "INC-2041",
    });
    let (status, said) = scene.site.api(Method::POST, "/v1/elevations", "alice", ask.clone()).await;
    assert_eq!((status, &said["code"]), (409, &"frozen".into()), "nothing is granted, over a restart: {said}");
    let lift = "/v1/freezes/payments?wait_ms=10000";
    let (status, said) = scene.site.api(Method::DELETE, lift, "carol", Value::Null).await;
    assert_eq!(status, 200, "{said}");
    for (number, sidecar) in scene.sidecars.iter().enumerate() {
        sidecar.until_overrides().await;
        scene.download(number, &grant).await.goes_on().await;
    }
    let (status, said) = scene.site.api(Method::POST, "/v1/elevations", "alice", ask).await;
    assert_eq!(status, 201, "{said}");
}

/// The program itself, its data through a pipe and its talk to a terminal.
struct OnTerminal {
    status: ExitStatus,
    data: String,
    talk: String,
}

fn on_terminal(site: &Site, person: &str, words: &[&str]) -> OnTerminal {
    let (master, slave) = pseudo_terminal();
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakglass"));
    command.args(words).env("BREAKGLASS_TOKEN", site.identity(person)).env("NO_COLOR", "1");
    command.env("BREAKGLASS_CONTROL", format!("https://localhost:{}", site.control().api_addr.port()));
    command.env("BREAKGLASS_CA", site.path().join("ca.pem"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(slave);
    let mut child = command.spawn().unwrap();
    // Only the program holds the terminal's other side now, so reading ends when it does.
    drop(command);
    let mut talk = Vec::new();
    // Linux tells the end of a terminal by an error (EIO).
    let _ended = std::fs::File::from(master).read_to_end(&mut talk);
    let mut data = String::new();
    child.stdout.take().unwrap().read_to_string(&mut data).unwrap();
    OnTerminal { status: child.wait().unwrap(), data, talk: String::from_utf8(talk).unwrap() }
}

fn pseudo_terminal() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (master, slave)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_shows_it_arrive_and_names_who_has_not_answered() {
    let scene = Scene::open().await;
    scene.grant("alice", "C-1042").await;
    scene.grant("alice", "C-7").await;
    let person = ["revoke", "--person", "alice", "--note", "it must stop", "--yes"];
    let whole = tokio::task::block_in_place(|| on_terminal(&scene.site, "carol", &person));
    assert!(whole.status.success(), "{}{}", whole.data, whole.talk);
    let (before, after) = whole.data.trim_end().split_once(" in ").unwrap_or_else(|| panic!("{}", whole.data));
    assert!(before.ends_with(": 2 grants of alice ended; enforced on 2 of 2 sidecars"), "{}", whole.data);
    assert!(after.ends_with(" ms"), "{}", whole.data);
    let mut silent = scene.site.sidecar().await;
    let grant = scene.grant("bob", "C-1042").await;
    silent.stop().await;
    let one = ["revoke", grant.id.as_str(), "--note", "it must stop", "--wait", "2s"];
    let late = tokio::task::block_in_place(|| on_terminal(&scene.site, "carol", &one));
    assert_eq!(late.status.code(), Some(6), "{}{}", late.data, late.talk);
    assert_eq!(late.data, format!("{} revoked: enforced on 2 of 3 sidecars\n", grant.id));
    let shown: Vec<&str> = late.talk.split('\r').filter(|line| line.contains("waiting for")).collect();
    let last = shown.last().unwrap_or_else(|| panic!("{:?}", late.talk));
    assert!(last.contains("enforced on 2 of 3 sidecars after "), "{last:?}");
    assert!(last.contains("; waiting for: s-2 (stops by itself by "), "{last:?}");
    let ended = format!("error: {} is revoked, but enforced on 2 of 3 sidecars; s-2 stops by itself by 20", grant.id);
    assert!(late.talk.contains(&ended), "{:?}", late.talk);
    let frozen = tokio::task::block_in_place(|| {
        on_terminal(&scene.site, "carol", &["freeze", "payments", "--note", "stop", "--wait", "1s"])
    });
    assert_eq!(frozen.status.code(), Some(6), "{}{}", frozen.data, frozen.talk);
    assert_eq!(frozen.data, "payments frozen: enforced on 2 of 3 sidecars\n");
    assert!(frozen.talk.contains("s-2 stops by itself by 20"), "{}", frozen.talk);
}
