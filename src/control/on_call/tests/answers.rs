//! What the APIs answer, in the shapes of their own documentation, and who is on call by it.

use http::header::{ACCEPT, AUTHORIZATION};
use serde_json::{Value, json};

use super::server::Reply;
use super::*;

/// developer.pagerduty.com, "List all of the on-calls", with users included.
fn on_call(schedule: Value, id: &str, email: &str, start: Value, end: Value) -> Value {
    json!({
        "escalation_policy": {
            "id": "PT20YPA", "type": "escalation_policy_reference", "summary": "Another Escalation Policy",
            "self": "https://api.pagerduty.com/escalation_policies/PT20YPA",
            "html_url": "https://subdomain.pagerduty.com/escalation_policies/PT20YPA"
        },
        "escalation_level": 2,
        "schedule": schedule,
        "user": {
            "id": id, "type": "user", "summary": "Earline Greenholt",
            "self": "https://api.pagerduty.com/users/PXPGF42",
            "html_url": "https://subdomain.pagerduty.com/users/PXPGF42",
            "name": "Earline Greenholt", "email": email, "time_zone": "America/Lima", "color": "green",
            "role": "admin", "avatar_url": "https://secure.gravatar.com/avatar/a8b714a39626f2444ee05990b078995f.png",
            "description": "I'm the boss", "invitation_sent": false, "job_title": "Boss", "teams": []
        },
        "start": start,
        "end": end
    })
}

fn ours() -> Value {
    json!({
        "id": "PI7DH85", "type": "schedule_reference", "summary": "Daily Engineering Rotation",
        "self": "https://api.pagerduty.com/schedules/PI7DH85",
        "html_url": "https://subdomain.pagerduty.com/schedules/PI7DH85"
    })
}

fn page(oncalls: &[Value], more: bool) -> Reply {
    Reply::ok(json!({"oncalls": oncalls, "limit": 100, "offset": 0, "more": more, "total": null}))
}

/// Alice until 03:00 by New York's clock, then Bob; Carol by another schedule; Dave always, by no schedule.
fn rota() -> Reply {
    let change = json!("2026-11-21T22:00:00-05:00");
    let elsewhere = json!({"id": "POTHER", "type": "schedule_reference"});
    page(
        &[
            on_call(ours(), "PALICE", "Alice@Example.com", json!("2026-11-15T03:00:00Z"), change.clone()),
            on_call(ours(), "PALICE", "Alice@Example.com", json!("2026-11-15T03:00:00Z"), change.clone()),
            on_call(ours(), "PBOB", "bob@example.com", change, json!("2026-11-29T03:00:00Z")),
            on_call(elsewhere, "PCAROL", "carol@example.com", json!("2026-11-15T03:00:00Z"), Value::Null),
            on_call(Value::Null, "PDAVE", "dave@example.com", Value::Null, Value::Null),
        ],
        false,
    )
}

#[tokio::test]
async fn pagerduty_is_asked_as_it_documents() {
    let server = Server::start(rota()).await;
    Bench::start(&pagerduty(&server, "")).ready().await;
    let [asked] = &server.asked()[..] else { panic!("{:?}", server.asked()) };
    assert_eq!(asked.headers[AUTHORIZATION], format!("Token token={TOKEN}"));
    assert_eq!(asked.headers[ACCEPT], "application/vnd.pagerduty+json;version=2");
    assert_eq!(
        asked.uri,
        "/oncalls?schedule_ids%5B%5D=PI7DH85&include%5B%5D=users&time_zone=UTC\
         &since=2026-11-22T02:12:00.000Z&until=2026-11-22T03:13:00.000Z&limit=100&offset=0"
    );
}

#[tokio::test]
async fn a_change_of_shift_between_two_fetches_is_honoured() {
    let server = Server::start(rota()).await;
    let bench = Bench::start(&pagerduty(&server, "")).ready().await;
    let (as_of, until) = (WallTime::from_unix_s(NOW_S), Some(at("2026-11-22T03:00:00Z")));
    assert_eq!(bench.standing("alice@example.com"), Standing::Yes { via: "primary".to_owned(), as_of, until });
    assert_eq!(bench.standing("bob@example.com"), Standing::No { as_of });
    for stranger in ["carol@example.com", "dave@example.com", "PALICE", "alice", "alice@example.org"] {
        assert!(!bench.is_on_call(stranger), "{stranger}");
    }
    let health = bench.health();
    assert_eq!((health.people, health.unread, health.freshness), (1, 2, Freshness::Current));
    bench.advance(47 * 60 - 1);
    assert!(bench.is_on_call("alice@example.com"), "one second before");
    bench.advance(1);
    assert!(!bench.is_on_call("alice@example.com"), "to the second");
    assert!(bench.is_on_call("bob@example.com"));
    assert_eq!(server.asked().len(), 1, "and nobody was asked again");
}

#[tokio::test]
async fn every_page_is_read() {
    let server = Server::start(Reply::Hang).await;
    server.answer_by(|asked| {
        let offset: usize = asked.uri.query().unwrap().rsplit_once("offset=").unwrap().1.parse().unwrap();
        let name = format!("p{offset}@example.com");
        page(&[on_call(ours(), "P", &name, Value::Null, Value::Null)], offset < 300)
    });
    let bench = Bench::start(&pagerduty(&server, "")).ready().await;
    for name in ["p0@example.com", "p100@example.com", "p300@example.com"] {
        assert!(bench.is_on_call(name), "{name}");
    }
    assert_eq!(server.asked().len(), 4);
    server.answer(page(&[], true));
    let failures = bench.on_call.refresh().await;
    assert!(failures[0].1.to_string().contains("more pages than are read"), "{failures:?}");
    assert!(bench.is_on_call("p0@example.com"), "half an answer takes nothing away");
}

#[tokio::test]
async fn an_entry_that_is_not_as_documented_spoils_the_answer() {
    let server = Server::start(Reply::Hang).await;
    let bench = Bench::start(&pagerduty(&server, ""));
    let good = on_call(ours(), "P", "alice@example.com", json!("2026-11-15T03:00:00Z"), Value::Null);
    for (name, value) in
        [("start", json!("yesterday")), ("end", json!(7)), ("user", json!("P")), ("schedule", json!({}))]
    {
        let mut bad = good.clone();
        bad[name] = value;
        server.answer(page(&[good.clone(), bad], false));
        assert_eq!(bench.on_call.refresh().await[0].1.kind(), FailureKind::Malformed, "{name}");
    }
    for name in ["start", "end", "schedule"] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(name);
        server.answer(page(&[bad], false));
        assert_eq!(bench.on_call.refresh().await.len(), 1, "without {name} nobody is on call for ever");
    }
    assert_eq!(bench.health().failures.iter().map(|(_, count)| count).sum::<u64>(), 7);
    let mut without_address = good.clone();
    without_address["user"].as_object_mut().unwrap().remove("email");
    server.answer(page(&[without_address], false));
    let bench = bench.ready().await;
    assert_eq!((bench.health().people, bench.health().unread, bench.health().failure), (0, 1, None));
}

/// docs.opsgenie.com, "Who is On Call API", response with flat = true.
fn flat(recipients: &[&str]) -> Value {
    json!({
        "data": {
            "_parent": {"id": "d875alp4-9b4e-4219-alp3-0c26936d18de", "name": "ScheduleName", "enabled": true},
            "onCallRecipients": recipients
        },
        "took": 0.101,
        "requestId": "7f0alpde-3c67-455f-97ec-24754432d413"
    })
}

#[tokio::test]
async fn opsgenie_names_who_is_on_call_now() {
    let server = Server::start(Reply::ok(flat(&["user4@opsgenie.com", "Escalation"]))).await;
    let bench = Bench::start(&opsgenie(&server, "person_prefix = \"og:\"")).ready().await;
    let as_of = WallTime::from_unix_s(NOW_S);
    assert_eq!(
        bench.standing("og:user4@opsgenie.com"),
        Standing::Yes { via: "primary".to_owned(), as_of, until: None }
    );
    assert!(!bench.is_on_call("user4@opsgenie.com"), "without the prefix it is somebody else");
    assert_eq!((bench.health().people, bench.health().unread), (1, 1));
    let [asked] = &server.asked()[..] else { panic!() };
    assert_eq!(asked.headers[AUTHORIZATION], format!("GenieKey {TOKEN}"));
    assert_eq!(
        asked.uri,
        "/v2/schedules/d875alp4-9b4e-4219-alp3-0c26936d18de/on-calls?scheduleIdentifierType=id&flat=true"
    );
    server.answer(Reply::ok(flat(&[])));
    let bench = bench.ready().await;
    assert_eq!(bench.standing("og:user4@opsgenie.com"), Standing::No { as_of });
}

#[tokio::test]
async fn opsgenie_s_answer_must_be_about_our_schedule_and_in_force() {
    let server = Server::start(Reply::Hang).await;
    let bench = Bench::start(&opsgenie(&server, ""));
    let mut other = flat(&["user4@opsgenie.com"]);
    other["data"]["_parent"]["id"] = json!("another");
    server.answer(Reply::ok(&other));
    let failures = bench.on_call.refresh().await;
    assert!(failures[0].1.to_string().contains("another schedule"), "{failures:?}");
    let mut off = flat(&["user4@opsgenie.com"]);
    off["data"]["_parent"]["enabled"] = json!(false);
    server.answer(Reply::ok(&off));
    let bench = bench.ready().await;
    assert!(!bench.is_on_call("user4@opsgenie.com"), "it is switched off");
}

#[tokio::test]
async fn people_are_known_by_what_the_policy_says() {
    let entry = |id: &str, email: &str| on_call(ours(), id, email, Value::Null, Value::Null);
    let people = [entry("PA", "Alice@Example.com"), entry("PB", "bob@evil.test"), entry("PC", "carol@@example.com")];
    let server = Server::start(page(&people, false)).await;
    let on_call = async |more: &str| {
        let bench = Bench::start(&pagerduty(&server, more)).ready().await;
        let names = [
            "alice@example.com",
            "ALICE@example.com",
            "alice",
            "Alice",
            "bob",
            "bob@evil.test",
            "PA",
            "pa",
            "i:PA",
            "anne",
        ];
        names.into_iter().filter(|name| bench.is_on_call(name)).collect::<Vec<_>>()
    };
    assert_eq!(on_call("").await, ["alice@example.com", "ALICE@example.com", "bob@evil.test"]);
    assert_eq!(on_call("person = \"id\"").await, ["PA"]);
    assert_eq!(on_call("person = \"id\"\nperson_prefix = \"i:\"").await, ["i:PA"]);
    let login = "person = \"login\"\nemail_domain = \"example.COM\"";
    assert_eq!(on_call(login).await, ["alice", "Alice"], "nobody of another domain");
    let table = "[schedule.persons]\n\"alice@EXAMPLE.com\" = \"anne\"\n\"PB\" = \"bob\"";
    assert_eq!(on_call(table).await, ["bob", "anne"], "what the table says goes before the rule");
    assert_eq!(on_call(&format!("person = \"table\"\n{table}")).await, ["bob", "anne"]);
    let one = "person = \"table\"\n[schedule.persons]\n\"pa\" = \"alice\"\n\"PB\" = \"bob\"";
    assert_eq!(on_call(one).await, ["bob"], "ids are compared byte for byte");
}

#[tokio::test]
async fn a_calendar_is_fetched_with_its_credentials() {
    let ics = include_str!("../../../../tests/cases/calendars/pagerduty.ics");
    let server = Server::start(Reply::ok(ics)).await;
    let bench = Bench::start(&calendar(&server, "")).ready().await;
    let until = Some(at("2026-11-23T08:00:00Z"));
    let as_of = WallTime::from_unix_s(NOW_S);
    assert_eq!(bench.standing("jane@example.com"), Standing::Yes { via: "primary".to_owned(), as_of, until });
    assert!(!bench.is_on_call("john@example.com"));
    assert!(!server.asked()[0].headers.contains_key(AUTHORIZATION));

    for (more, expected) in [
        ("token_file = \"token\"", format!("Bearer {TOKEN}")),
        ("token_file = \"token\"\nauthorization = \"basic\"", "Basic dStzM2NyM3QtdDBrM24=".to_owned()),
    ] {
        Bench::start(&calendar(&server, more)).ready().await;
        assert_eq!(server.asked().last().unwrap().headers[AUTHORIZATION], expected);
    }

    let table = "[[schedule]]\nname = \"primary\"\nsource = \"icalendar\"\nurl_file = \"private\"\n";
    let bench = Bench::start(table);
    bench.write("private", &format!("{}/private/5ecret/feed/P1\n", server.url), 0o600);
    let bench = bench.ready().await;
    assert!(bench.is_on_call("jane@example.com"));
    assert_eq!(server.asked().last().unwrap().uri, "/private/5ecret/feed/P1");
    assert!(!format!("{:?}", bench.on_call).contains("5ecret"));
}
