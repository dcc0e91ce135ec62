//! Sources that are down, slow, wrong or hostile: the last answer goes on for its time, and no longer.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::Reply;
use super::*;

const ALICE: &str = r#"{"data":{"_parent":{"id":"d875alp4-9b4e-4219-alp3-0c26936d18de","name":"S","enabled":true},
"onCallRecipients":["alice@x.test"]},"took":0.1,"requestId":"r"}"#;

fn alice() -> Reply {
    Reply::ok(ALICE)
}

fn count(bench: &Bench, kind: FailureKind) -> u64 {
    bench.health().failures.into_iter().find(|(known, _)| *known == kind).unwrap().1
}

#[tokio::test]
async fn what_was_known_outlives_every_failure() {
    let server = Server::start(alice()).await;
    let bench = Bench::start(&opsgenie(&server, "")).ready().await;
    let long = format!("{{\"data\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let failures = [
        (Reply::status(401, "who are you"), FailureKind::Unauthorised),
        (Reply::status(403, r#"{"message":"api key s3cr3t"}"#), FailureKind::Unauthorised),
        (Reply::status(404, ""), FailureKind::NotFound),
        (Reply::status(429, "").with("retry-after", "7"), FailureKind::RateLimited),
        (Reply::status(500, ""), FailureKind::Status),
        (Reply::status(302, "").with("location", "http://127.0.0.1:1/elsewhere"), FailureKind::Status),
        (Reply::ok("<html>Sign in</html>"), FailureKind::Malformed),
        (Reply::ok(""), FailureKind::Malformed),
        (Reply::ok("{\"data\":{}}"), FailureKind::Malformed),
        (Reply::ok("[".repeat(100_000)), FailureKind::Malformed),
        (Reply::ok(long), FailureKind::TooLarge),
        (Reply::BreakOff, FailureKind::Unreachable),
    ];
    for (reply, kind) in failures {
        server.answer(reply);
        let before = count(&bench, kind);
        let failed = bench.on_call.refresh().await;
        assert_eq!(failed.len(), 1, "{kind:?}");
        assert_eq!(count(&bench, kind), before + 1, "{kind:?}: {:?}", failed[0].1);
        assert!(bench.is_on_call("alice@x.test"), "{kind:?}");
        let said = bench.health().failure.unwrap();
        assert!(!said.contains("s3cr3t") && !said.contains(TOKEN) && !said.contains("html"), "{said}");
    }
    server.answer(alice());
    let bench = bench.ready().await;
    assert_eq!(bench.health().failure, None, "it is over");
}

#[tokio::test]
async fn no_answer_is_waited_for_long() {
    let limits = Limits { response_ms_max: 200, total_ms_max: 400, ..Limits::DEFAULT };
    let server = Server::start(alice()).await;
    let bench = Bench::with(&opsgenie(&server, ""), limits);
    for reply in [Reply::Hang, Reply::Stall] {
        server.answer(reply);
        assert_eq!(bench.on_call.refresh().await[0].1.kind(), FailureKind::TimedOut);
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let table = opsgenie(&server, "").replace(&server.url, &format!("http://{closed}"));
    let bench = Bench::start(&table);
    assert_eq!(bench.on_call.refresh().await[0].1.kind(), FailureKind::Unreachable);
}

#[tokio::test]
async fn an_answer_is_used_until_it_is_too_old_and_then_the_group_stands_in() {
    let server = Server::start(alice()).await;
    let bench = Bench::start(&opsgenie(&server, "stale_max_s = 600\nfallback_group = \"leads\""));
    let unknown = Standing::Unknown { fallback_group: Some("leads".to_owned()), as_of: None };
    assert_eq!(bench.standing("alice@x.test"), unknown, "before the first answer");
    let (via, group) = ("primary".to_owned(), "leads".to_owned());
    let fallback = Standing::Fallback { via: via.clone(), group: group.clone(), as_of: None };
    assert_eq!(bench.standing_in("carol", &["others", "leads"]), fallback);
    assert_eq!((bench.health().freshness, bench.health().age), (Freshness::Unknown, None));

    let bench = bench.ready().await;
    let as_of = WallTime::from_unix_s(NOW_S);
    assert_eq!(bench.standing_in("carol", &["leads"]), Standing::No { as_of }, "the schedule is known");
    server.answer(Reply::status(500, ""));
    bench.advance(599);
    assert_eq!(bench.on_call.refresh().await.len(), 1);
    assert!(bench.is_on_call("alice@x.test"));
    bench.advance(1);
    let as_of = Some(as_of);
    assert_eq!(
        bench.standing("alice@x.test"),
        Standing::Unknown { fallback_group: Some(group.clone()), as_of },
        "to the second"
    );
    assert_eq!(bench.standing_in("carol", &["leads"]), Standing::Fallback { via, group, as_of });
    let health = bench.health();
    assert_eq!((health.freshness, health.people, health.age), (Freshness::Stale, 0, Some(Duration::from_secs(600))));
    server.answer(alice());
    let bench = bench.ready().await;
    assert!(bench.is_on_call("alice@x.test"));
    assert!(!bench.standing_in("carol", &["leads"]).is_on_call());
}

#[tokio::test]
async fn without_a_group_an_unknown_schedule_lets_nobody_in() {
    let server = Server::start(alice()).await;
    let bench = Bench::start(&opsgenie(&server, ""));
    let unknown = Standing::Unknown { fallback_group: None, as_of: None };
    assert_eq!(bench.standing_in("alice@x.test", &["leads", ""]), unknown);
    let bench = bench.ready().await;
    let other = bench.on_call.is_on_call("secondary", &person("alice@x.test"), &[], bench.clock.now());
    assert_eq!(other, unknown, "no schedule has that name");
    let all = bench.on_call.schedules_of(&person("alice@x.test"), &[], bench.clock.now());
    assert_eq!(all.len(), 1);
    let said = serde_json::to_value(&all[0]).unwrap();
    assert_eq!(
        (&said["schedule"], &said["on_call"], &said["via"]),
        (&"primary".into(), &"yes".into(), &"primary".into())
    );
}

#[tokio::test]
async fn no_step_of_a_clock_makes_an_answer_younger() {
    let server = Server::start(alice()).await;
    let bench = Bench::start(&opsgenie(&server, "stale_max_s = 600")).ready().await;
    bench.clock.step_wall(-60_000);
    assert!(bench.is_on_call("alice@x.test"), "as far as clocks are mended");
    bench.clock.step_wall(-1_000);
    assert!(!bench.is_on_call("alice@x.test"), "whose turn it was then was not asked");
    bench.clock.step_wall(61_000 + 600_000);
    assert!(!bench.is_on_call("alice@x.test"), "set forward, it is too old");
    bench.clock.step_wall(-600_000);
    assert!(bench.is_on_call("alice@x.test"));
    bench.advance(600);
    bench.clock.step_wall(-600_000);
    assert!(!bench.is_on_call("alice@x.test"), "set back, it stays too old");
}

#[tokio::test]
async fn an_answer_that_comes_late_takes_nothing_from_a_newer_one() {
    let server = Server::start(alice()).await;
    let notice = Arc::new(tokio::sync::Notify::new());
    server.answer(Reply::Held(Arc::clone(&notice), Box::new(alice())));
    let bench = Bench::start(&opsgenie(&server, ""));
    let late = Arc::clone(&bench.on_call);
    let late = tokio::spawn(async move { late.refresh().await });
    server.until_asked(1).await;
    bench.advance(1);
    server.answer(Reply::ok(ALICE.replace("alice", "bob")));
    let bench = bench.ready().await;
    notice.notify_one();
    assert_eq!(late.await.unwrap().len(), 0);
    assert!(bench.is_on_call("bob@x.test") && !bench.is_on_call("alice@x.test"));
}

#[tokio::test]
async fn a_credential_that_others_can_read_is_not_sent() {
    let server = Server::start(alice()).await;
    let bench = Bench::start(&opsgenie(&server, ""));
    let failure = async || {
        let mut failed = bench.on_call.refresh().await;
        assert_eq!(failed[0].1.kind(), FailureKind::Credential);
        crate::error_chain::error_chain(&failed.remove(0).1)
    };
    for mode in [0o640, 0o604, 0o666] {
        bench.write("token", TOKEN, mode);
        let said = failure().await;
        assert!(said.contains(&format!("may be read by others (mode {mode:o})")) && !said.contains(TOKEN), "{said}");
    }
    for text in ["", "\n", "two\nlines", "t\u{e9}", &"x".repeat(9_000)] {
        bench.write("token", text, 0o600);
        assert!(failure().await.contains("is not one line of text"), "{text:?}");
    }
    std::fs::remove_file(bench.credentials.path().join("token")).unwrap();
    assert!(failure().await.contains("can't be read"));
    assert_eq!(server.asked().len(), 0);
    bench.write("token", &format!("{TOKEN}\n"), 0o400);
    bench.ready().await;
}

#[tokio::test]
async fn without_a_folder_there_are_no_credentials() {
    let server = Server::start(alice()).await;
    let settings = OnCallSettings::new(None, None);
    let on_call = OnCall::new(&schedules(&opsgenie(&server, "")), settings, Clock::System);
    let failed = on_call.refresh().await;
    assert!(crate::error_chain::error_chain(&failed[0].1).contains("sets no credentials folder aside"), "{failed:?}");
}

#[tokio::test]
async fn a_source_of_its_own_authority_is_believed_by_it_alone() {
    let (server, authority) = Server::start_tls(alice()).await;
    let bench = Bench::start(&opsgenie(&server, "ca = \"corp.pem\""));
    let kind = async || bench.on_call.refresh().await[0].1.kind();
    assert_eq!(kind().await, FailureKind::Credential, "the file is not there");
    bench.write("corp.pem", "garbage", 0o644);
    assert_eq!(kind().await, FailureKind::Credential);
    let (_, other) = Server::start_tls(alice()).await;
    bench.write("corp.pem", &other, 0o644);
    assert_eq!(kind().await, FailureKind::Unreachable, "another authority's word");
    assert_eq!(server.asked().len(), 0, "no token was sent");
    bench.write("corp.pem", &authority, 0o644);
    assert!(bench.ready().await.is_on_call("alice@x.test"));
    let bench = Bench::start(&opsgenie(&server, ""));
    assert_eq!(bench.on_call.refresh().await[0].1.kind(), FailureKind::Unreachable, "without one");
}

#[tokio::test]
async fn a_source_says_how_long_it_wants_to_be_left_alone() {
    let server = Server::start(Reply::Hang).await;
    let bench = Bench::start(&opsgenie(&server, ""));
    for (reply, expected) in [
        (Reply::status(429, "").with("retry-after", "7"), Some(7)),
        (Reply::status(503, "").with("retry-after", "30"), Some(30)),
        (Reply::status(429, "").with("ratelimit-reset", "12"), Some(12)),
        (Reply::status(500, "").with("ratelimit-reset", "12"), None),
        (Reply::status(429, "").with("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None),
        (Reply::status(429, "").with("retry-after", "-1"), None),
        (Reply::status(429, ""), None),
    ] {
        server.answer(reply);
        let failed = bench.on_call.refresh().await;
        assert_eq!(failed[0].1.retry_after(), expected.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn the_background_goes_on_through_failures() {
    let server = Server::start(alice()).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    server.answer_by(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0..5 => Reply::status(503, ""),
        _ => alice(),
    });
    let bench = Bench::start(&opsgenie(&server, ""));
    let mut attempts = bench.on_call.attempts();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&bench.on_call).run(async { drop(stopped.await) }));
    attempts.wait_for(|attempts| *attempts >= 6).await.unwrap();
    assert!(bench.is_on_call("alice@x.test"));
    assert_eq!(count(&bench, FailureKind::Status), 5);
    drop(stop);
    running.await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 6, "when all is well it is asked once an interval");
}
