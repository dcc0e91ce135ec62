//! The cases through a live sidecar over TLS, with each state produced for real.
//!
//! Cases without a state share one site and one sidecar a service; every other case has a site of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breakglass::clock::{Clock, ManualClock};
use breakglass::decision::Uses;
use breakglass::demo::issuer::DemoIssuer;
use breakglass::identity::signals::Named;
use breakglass::store::{Effect, NewSignal, SignalEvent, SignalOutcome};
use breakglass::wire::api::GrantView;
use http::Method;

use super::{Case, Identity, State, Words, cases};
use crate::harness::{Answer, Ask, SidecarFile, Site, SmallDisk, TestSidecar, until};

const NOWHERE: &str = "http://127.0.0.1:1";

/// A site by a clock that the case moves.
struct Stage {
    site: Site,
    clock: Arc<ManualClock>,
    grant: GrantView,
    bearer: GrantView,
    words: Words,
}

impl Stage {
    async fn set(max_uses: Option<u32>) -> Self {
        let clock = ManualClock::starting_at(Clock::System.now());
        let site = Site::with_clock(Clock::Manual(Arc::clone(&clock))).await;
        let grant = site.grant(&Ask { max_uses, ..Ask::default() }).await;
        let foreign = site.grant(&Ask { service: "ledger".to_owned(), ..Ask::default() }).await;
        let bearer = Ask { tier: Some("pipeline"), resources: vec!["contract/B-7".to_owned()], ..Ask::default() };
        let bearer = site.grant(&bearer).await;
        let nowhere = DemoIssuer::new(NOWHERE.parse().unwrap(), vec!["payments".parse().unwrap()], site.clock.clone());
        let words = Words {
            grant_id: grant.id.to_string(),
            grant_token: site.token(&grant).await,
            foreign_token: site.token(&foreign).await,
            bearer_id: bearer.id.to_string(),
            bearer_token: site.token(&bearer).await,
            dpop_id: String::new(),
            dpop_token: String::new(),
            mtls_id: String::new(),
            mtls_token: String::new(),
            holder: site.identity("alice"),
            other: site.identity("bob"),
            unreachable: nowhere.unwrap().token("alice").unwrap().expose().clone(),
        };
        Self { site, clock, grant, bearer, words }
    }

    async fn ask(&self, sidecar: &TestSidecar, case: &Case) -> Answer {
        sidecar.send(&case.request(&self.words)).await
    }

    /// Uses the grant once, as its holder.
    async fn use_once(&self, sidecar: &TestSidecar) {
        let plain = |case: &Case| case.expect == "override" && case.credential == super::Credential::Id;
        let case = Case { headers: vec![], ..cases().into_iter().find(plain).unwrap() };
        assert_eq!(self.ask(sidecar, &case).await.code(), "override");
    }
}

pub(super) fn check(wrong: &mut Vec<String>, case: &Case, answer: &Answer) {
    let got = answer.code();
    if got != case.expect {
        wrong.push(format!(
            "{}: expected {}, got {got}: {}",
            case.name,
            case.expect,
            String::from_utf8_lossy(&answer.body)
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_sidecar_decides_each_case_without_a_state_as_expected() {
    let stage = Stage::set(None).await;
    let mut sidecars = BTreeMap::new();
    let mut wrong = Vec::new();
    let plain = |case: &Case| {
        case.state.is_empty()
            && !matches!(case.identity, Identity::Expired | Identity::Unreachable)
            && case.live.is_none()
            && !case.is_bound()
    };
    for case in cases().into_iter().filter(plain) {
        if !sidecars.contains_key(&case.service) {
            let file = SidecarFile { service: case.service_text(), ..SidecarFile::default() };
            let sidecar = stage.site.sidecar_with(&file).await;
            sidecar.until_overrides().await;
            sidecars.insert(case.service.clone(), sidecar);
        }
        let answer = stage.ask(&sidecars[&case.service], &case).await;
        check(&mut wrong, &case, &answer);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_sidecar_decides_each_case_with_a_state_as_expected() {
    let mut wrong = Vec::new();
    let with_state = |case: &Case| {
        (!case.state.is_empty() || matches!(case.identity, Identity::Expired | Identity::Unreachable))
            && case.live.is_none()
            && !case.is_bound()
    };
    for case in cases().into_iter().filter(with_state) {
        match played(&case).await {
            Some(answer) => check(&mut wrong, &case, &answer),
            None => eprintln!("not replayed live, for want of root: {}", case.name),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Has a transmitter report that alice's credential changed, and waits until every sidecar enforces it.
async fn suspend(stage: &Stage) {
    let event = SignalEvent {
        uri: "https://schemas.openid.net/secevent/caep/event-type/credential-change".to_owned(),
        effect: Effect::Suspend,
        since: stage.clock.now().wall,
        idp: "https://transmitter.test".parse().unwrap(),
        subjects: vec![Named::Person("alice".parse().unwrap())],
    };
    let transmitter = "https://transmitter.test".parse().unwrap();
    let new = NewSignal { transmitter, id: "1".to_owned(), events: vec![event] };
    let outcome = stage.site.control().store().take_signal(&new).await.unwrap();
    let SignalOutcome::Applied(outcomes) = outcome else { panic!("{outcome:?}") };
    assert!(outcomes[0].suspended.contains(&stage.grant.id) && outcomes[0].ended.contains(&stage.bearer.id));
    for grant in [&stage.grant, &stage.bearer] {
        // Asked by somebody who sees all: alice would first have to sign in afresh.
        let enforcement = stage.site.enforcement(grant, "carol").await;
        assert_eq!(enforcement.enforced, 1, "{enforcement:?}");
    }
}

/// The answer to the case; `None` where this machine does not let its state be produced.
async fn played(case: &Case) -> Option<Answer> {
    let has = |state| case.state.contains(&state);
    let disk = if has(State::AuditUnavailable) { Some(SmallDisk::mount("4m")?) } else { None };
    let mut stage = Stage::set((has(State::UsedUp) || has(State::ShareElsewhere)).then_some(1)).await;
    let file = SidecarFile {
        service: case.service_text(),
        issuer: (case.identity == Identity::Unreachable).then(|| NOWHERE.to_owned()),
        audit: disk.as_ref().map(|disk| disk.path().to_owned()),
        ..SidecarFile::default()
    };
    if has(State::NeverSynced) {
        stage.site.stop_control().await;
    }
    let mut sidecar = stage.site.sidecar_with(&file).await;
    if has(State::NeverSynced) {
        sidecar.until_issuer().await;
    } else if case.identity != Identity::Unreachable {
        sidecar.until_overrides().await;
    }
    if case.identity == Identity::Expired {
        stage.clock.advance(Duration::from_secs(3_700));
    }
    if has(State::UsedUp) {
        stage.use_once(&sidecar).await;
    }
    if has(State::ShareElsewhere) {
        let other = stage.site.sidecar_with(&file).await;
        other.until_overrides().await;
        until("the uses lie with one sidecar", async || {
            let uses = |sidecar: &TestSidecar| sidecar.shared().grants.by_id(&stage.grant.id).map(|live| live.uses());
            (uses(&sidecar), uses(&other)).eq(&(Some(Uses::Available), Some(Uses::Elsewhere))).then_some(())
        })
        .await;
        sidecar = other;
    }
    if has(State::Revoked) {
        for grant in [&stage.grant, &stage.bearer] {
            let enforcement = stage.site.revoke(grant).await;
            assert_eq!(enforcement.enforced, 1, "{enforcement:?}");
        }
    }
    if has(State::Suspended) {
        suspend(&stage).await;
    }
    if has(State::Expired) {
        stage.clock.advance(Duration::from_secs(601));
    }
    if has(State::Restarted) {
        sidecar = sidecar.restart().await;
        sidecar.until_overrides().await;
    }
    if has(State::FrozenLocally) {
        sidecar.admin(Method::PUT, "/freeze").await;
    }
    if has(State::FrozenByControl) {
        let (service, by) = ("payments".parse().unwrap(), "carol".parse().unwrap());
        stage.site.control().store().freeze(Some(&service), &by, Some("a test")).await.unwrap();
        sidecar.until_lacking("frozen").await;
    }
    if has(State::Stale) {
        stage.site.stop_control().await;
        stage.clock.advance(Duration::from_millis(3_100));
    }
    if has(State::ClockUnsettled) {
        stage.site.stop_control().await;
        stage.clock.step_wall(2_000);
        sidecar.until_lacking("clock_unsettled").await;
    }
    if let Some(disk) = &disk {
        disk.fill();
        // The log learns that its disk is full when it next needs room.
        until("the log is full", async || {
            stage.ask(&sidecar, &Case { credential: super::Credential::Id, ..case.clone() }).await;
            let lacking = sidecar.readyz().await["lacking"].clone();
            lacking.as_array().unwrap().iter().any(|lack| lack == "audit_full").then_some(())
        })
        .await;
    }
    Some(stage.ask(&sidecar, case).await)
}
