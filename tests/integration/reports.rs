//! Reports out of the ledger, from the sidecar's lines to the document that an auditor reads.

use std::time::Duration;

use ::breakglass::cli::failure::Exit;
use ::breakglass::ledger::hash::Hash;
use ::breakglass::ledger::tree::check_consistency;
use ::breakglass::wire::api::GrantView;
use ::breakglass::wire::reports::{GrantReport, PeriodReport, TreeAt};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::harness::{Ask, Site, TestSidecar, breakglass, raw_request, until_within};

/// What a reviewer might type who does not mean well.
const FINDINGS: &str = "=1+1 </td><script>alert(1)</script>, \"quoted\"";
const NOTE: &str = "<img src=x onerror=alert(2)> & done";

/// Two overrides, an end by somebody else, a refusal after it, a review; and the account is closed.
async fn incident(site: &Site, sidecar: &TestSidecar) -> GrantView {
    let grant = site.grant(&Ask { max_uses: Some(9), ..Ask::default() }).await;
    let identity = site.identity("alice");
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "body");
    for _ in 0..2 {
        assert_eq!(sidecar.send(&request).await.status, 200);
    }
    let revoke = format!("/v1/grants/{}/revoke", grant.id);
    let (status, said) = site.api(Method::POST, &revoke, "carol", json!({ "note": NOTE })).await;
    assert_eq!(status, 200, "{said}");
    site.enforcement(&grant, "alice").await;
    assert_eq!(sidecar.send(&request).await.status, 403);
    let words = ["review", grant.id.as_str(), "--verdict", "unclear", "--findings", FINDINGS];
    let (ended, _, talk) = breakglass(site, "dave", &words).await;
    assert!(ended.is_ok(), "{ended:?} {talk}");
    grant
}

/// As `person` is told, once the account is closed.
async fn closed_report(site: &Site, grant: &GrantView) -> GrantReport {
    let path = format!("/v1/reports/grants/{}", grant.id);
    until_within(Duration::from_secs(60), "the account is closed", async || {
        let (status, said) = site.api(Method::GET, &path, "dave", Value::Null).await;
        assert_eq!(status, 200, "{said}");
        let report: GrantReport = serde_json::from_value(said).unwrap();
        let is_whole =
            report.account.is_some() && report.refusals.len() == 1 && report.end.as_ref()?.enforcement.is_some();
        is_whole.then_some(report)
    })
    .await
}

async fn document(site: &Site, path: &str, person: &str) -> (HeaderMap, String) {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", site.identity(person))).unwrap());
    let answer = site.call(Method::GET, path, headers, Bytes::new()).await;
    assert_eq!(answer.status, 200, "{path}");
    (answer.headers, String::from_utf8(answer.body.to_vec()).unwrap())
}

/// The looks at reports that the ledger holds, as their facts.
async fn looks(site: &Site) -> Vec<Value> {
    let entries = site.control().store().entries(0, 10_000).await.unwrap().into_iter();
    let read = entries.filter(|entry| entry.kind == "data_read");
    let facts = read.map(|entry| serde_json::from_str::<Value>(&entry.canonical).unwrap()["facts"].clone());
    facts.filter(|facts| facts["view"].as_str().unwrap().ends_with("_report")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_of_a_grant_is_told_whole_and_reading_it_is_an_entry() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = incident(&site, &sidecar).await;
    let report = closed_report(&site, &grant).await;
    assert!(report.completeness.complete, "{}", report.completeness.statement);
    assert_eq!(report.completeness.statement, "These are all 2 overrides of this grant.");
    assert_eq!((report.usage.overrides, report.usage.refusals, report.usage.granted_uses), (2, 1, Some(9)));
    assert_eq!(report.granted.person.value.as_deref(), Some("alice"));
    let numbers: Vec<u64> = report.overrides.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2]);
    for one in &report.overrides {
        let (asked, outcome) = (one.asked.as_ref().unwrap(), one.outcome.as_ref().unwrap());
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/v1/contracts/C-1042/echo"));
        assert_eq!((outcome.end.as_str(), outcome.status), ("completed", Some(200)));
        assert_eq!(outcome.request.as_ref().unwrap().bytes, 4);
        assert_eq!(outcome.response.as_ref().unwrap().sha256.as_ref().unwrap().len(), 64);
    }
    assert_eq!(report.refusals[0].code, "grant_revoked");
    let end = report.end.as_ref().unwrap();
    assert_eq!((end.how.as_str(), end.by.value.as_deref()), ("revoked", Some("carol")));
    assert!(end.enforcement.as_ref().unwrap().elapsed_ms.is_some());
    let review = &report.reviews[0];
    assert_eq!((review.by.value.as_deref(), review.findings.value.as_deref()), (Some("dave"), Some(FINDINGS)));
    // Every entry that it names is one about this grant, and in the tree that it was made from.
    let entries = site.control().store().entries(0, 10_000).await.unwrap();
    for event in &report.events {
        let entry = &entries[usize::try_from(event.entry).unwrap()];
        assert_eq!((entry.kind.as_str(), entry.at), (event.kind.as_str(), event.at));
        assert!(event.entry < report.tree.size);
    }
    assert!(report.tree.checkpoint.contains(&report.tree.root));
    let read = looks(&site).await;
    assert!(!read.is_empty() && read.iter().all(|facts| facts["filter"]["id"] == grant.id.as_str()), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_hold_what_was_typed_as_text() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = incident(&site, &sidecar).await;
    closed_report(&site, &grant).await;
    let path = |format: &str| format!("/v1/reports/grants/{}?format={format}", grant.id);
    let (headers, html) = document(&site, &path("html"), "dave").await;
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    assert!(html.contains("alert(1)") && html.contains("onerror"), "it is there, as text");
    assert!(html.contains("These are all 2 overrides of this grant."));
    let (headers, csv) = document(&site, &path("csv"), "dave").await;
    assert_eq!(headers[header::CONTENT_DISPOSITION], format!("attachment; filename=\"{}.csv\"", grant.id).as_str());
    let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.iter().filter(|row| &row[4] == "override").count(), 2);
    let review = rows.iter().find(|row| &row[4] == "grant_reviewed").unwrap();
    assert_eq!(&review[21], format!("unclear: {FINDINGS}"));
    assert!(csv.contains("\r\n") && !csv.lines().any(|line| line.starts_with(['=', '+', '-', '@'])));
    let kept = std::env::var("BREAKGLASS_KEEP_REPORTS").ok();
    if let Some(folder) = kept {
        std::fs::write(std::path::Path::new(&folder).join("grant.html"), &html).unwrap();
        let (_, html) = document(&site, &format!("{}&format=html", period()), "dave").await;
        std::fs::write(std::path::Path::new(&folder).join("period.html"), &html).unwrap();
    }
}

/// Everything that the sites of these tests live through.
fn period() -> String {
    let now = ::breakglass::clock::Clock::System.wall();
    let (since, before) = (now.minus(Duration::from_secs(86_400)), now.plus(Duration::from_secs(86_400)));
    format!("/v1/reports/periods?since_at={}&before_at={}", since.unix_ms(), before.unix_ms())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_period_says_what_was_done_and_from_which_trees() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = incident(&site, &sidecar).await;
    let story = closed_report(&site, &grant).await;
    let (status, said) = site.api(Method::GET, &period(), "carol", Value::Null).await;
    assert_eq!(status, 200, "{said}");
    let report: PeriodReport = serde_json::from_value(said).unwrap();
    let whole = &report.whole;
    assert_eq!((whole.requests, whole.grants, whole.revoked, whole.accounts), (1, 1, 1, 1));
    assert_eq!((whole.overrides, whole.completed, whole.refusals), (2, 2, 1));
    assert_eq!((whole.uses_granted, whole.uses_spent), (9, 2));
    assert_eq!((whole.reviews_due, whole.reviews_done, whole.unclear), (1, 1, 1));
    assert_eq!(whole.time_to_access.max_ms, story.usage.time_to_access_ms);
    assert_eq!((whole.granted_ms, Some(whole.stood_ms)), (600_000, story.usage.stood_ms));
    assert_eq!(whole.used_ms, story.usage.used_ms);
    let elapsed = story.end.unwrap().enforcement.unwrap().elapsed_ms;
    assert_eq!(whole.revocation_latency.max_ms, elapsed);
    let alice = report.persons.iter().find(|row| row.name.as_deref() == Some("alice")).unwrap();
    assert_eq!((alice.totals.overrides, alice.totals.refusals), (2, 1));
    assert_eq!(report.resources[0].name.as_deref(), Some("contract/C-1042"));
    // The trees at both ends are beginnings of the one that was signed.
    assert_eq!(report.begin.size, 0);
    let signed = (report.tree.size, report.tree.root.parse::<Hash>().unwrap());
    let holds = |tree: &TreeAt| {
        let proof: Vec<Hash> = tree.consistency.iter().map(|hash| hash.parse().unwrap()).collect();
        check_consistency(&proof, (tree.size, tree.root.parse().unwrap()), signed)
    };
    assert_eq!((holds(&report.begin), holds(&report.end)), (Ok(()), Ok(())));
    // A period that ended before the sites began has nothing, and the empty tree at both ends.
    let (_, said) = site.api(Method::GET, "/v1/reports/periods?since_at=0&before_at=1000", "dave", Value::Null).await;
    let empty: PeriodReport = serde_json::from_value(said).unwrap();
    assert_eq!((empty.entries, empty.begin.size, empty.end.size, empty.begin.root), (0, 0, 0, empty.end.root));
    let read = looks(&site).await;
    let periods = read.iter().filter(|facts| facts["view"] == "period_report").count();
    assert_eq!(periods, 2, "each report that is read is an entry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_look_at_what_others_did_gets_no_report() {
    let site = Site::start().await;
    let grant = site.grant(&Ask::default()).await;
    let path = format!("/v1/reports/grants/{}", grant.id);
    let refused = async |path: &str, person: &str| {
        let (status, said) = site.api(Method::GET, path, person, Value::Null).await;
        (status, said["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused(&path, "erin").await, (404, "not_found".to_owned()), "a stranger");
    assert_eq!(refused(&path, "bob").await, (404, "not_found".to_owned()), "a colleague");
    assert_eq!(refused(&path, "alice").await, (403, "not_permitted".to_owned()), "its own person");
    let unknown = "/v1/reports/grants/g-0123456789ab";
    assert_eq!(refused(unknown, "dave").await, (404, "not_found".to_owned()));
    assert_eq!(refused("/v1/reports/grants/nonsense", "dave").await, (404, "not_found".to_owned()));
    for person in ["alice", "bob", "erin"] {
        assert_eq!(refused(&period(), person).await, (403, "not_permitted".to_owned()), "{person}");
    }
    let bad = [
        ("since_at=2000&before_at=1000", 422, "period_invalid"),
        ("since_at=1000&before_at=1000", 422, "period_invalid"),
        ("since_at=0&before_at=34560000001", 422, "period_invalid"),
        ("since_at=-9223372036854775808&before_at=9223372036854775807", 422, "period_invalid"),
        ("since_at=2026-11-01&before_at=1000", 400, "malformed_request"),
        ("since_at=0", 400, "malformed_request"),
        ("since_at=0&before_at=1000&format=pdf", 400, "malformed_request"),
        ("since_at=0&before_at=1000&person=alice", 400, "malformed_request"),
    ];
    for (query, status, code) in bad {
        let said = refused(&format!("/v1/reports/periods?{query}"), "dave").await;
        assert_eq!(said, (status, code.to_owned()), "{query}");
    }
    assert!(looks(&site).await.is_empty(), "nothing was shown");
    assert_eq!(site.api(Method::GET, &path, "dave", Value::Null).await.0, 200, "a live grant has a story, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_reports() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = incident(&site, &sidecar).await;
    closed_report(&site, &grant).await;
    let id = grant.id.as_str();
    let (ended, said, _) = breakglass(&site, "dave", &["report", "--grant", id]).await;
    assert!(ended.is_ok(), "{ended:?}");
    let report: GrantReport = serde_json::from_str(&said).unwrap();
    assert_eq!(report.usage.overrides, 2);
    let (ended, said, _) = breakglass(&site, "dave", &["report", "--grant", id, "--format", "text"]).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert!(
        said.contains("These are all 2 overrides of this grant.") && said.contains("REQUESTED AGAINST USED"),
        "{said}"
    );
    let file = site.path().join("report.html");
    let from = ::breakglass::clock::Clock::System.wall().minus(Duration::from_secs(86_400)).rfc3339();
    let words = ["report", "--from", &from, "--format", "html", "--out", file.to_str().unwrap()];
    let (ended, said, _) = breakglass(&site, "dave", &words).await;
    assert_eq!((ended, said.trim()), (Ok(0), file.to_str().unwrap()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it names people");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("<!DOCTYPE html>"));
    let (ended, said, _) = breakglass(&site, "dave", &["report", "--from", &from, "--format", "csv"]).await;
    assert!(ended.is_ok() && said.starts_with("since,before,dimension,kind,name,"), "{said}");
    let (ended, ..) = breakglass(&site, "alice", &["report", "--grant", id]).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Refused);
    let backwards = ["report", "--from", "2026-02-01", "--to", "2026-01-01"];
    assert_eq!(breakglass(&site, "dave", &backwards).await.0.unwrap_err().exit, Exit::Refused);
    let words = ["report", "--grant", id, "--format", "text", "--out", "report.txt"];
    assert_eq!(breakglass(&site, "dave", &words).await.0.unwrap_err().exit, Exit::Usage);
}
