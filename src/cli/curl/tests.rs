//! The whole path against real sockets and the system's curl: a contract API that is locked, and a control plane.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Cursor, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::super::args::{Format, Justify};
use super::super::grants::sample;
use super::super::output::capture::{self, Captured};
use super::*;
use crate::cli::session::sample::global;
use crate::wire::api::{
    ElevationRequest, ElevationView, Enforcement, Page, ReasonOption, RequestOptions, TicketOption,
};

const PROBLEM: &str = r#"{"type":"https://break-glass.dev/problems/grant_required","title":"Sealed","status":403,"detail":"a grant is needed","code":"grant_required","service":"payments","resource":"contract/C-1042","action":"payment.release"}"#;
const LINK: &str = "Link: <https://c.example/request?service=payments&resource=contract%2FC-1042&action=payment.release>; rel=\"break-glass\"\r\n";

/// One request as a server saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    target: String,
    header: String,
    body: String,
}

/// Both servers on one port, and all they saw.
struct Stage {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    folder: tempfile::TempDir,
}

impl Stage {
    /// `live`: the caller holds a fitting grant already.
    fn set(live: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, live, &record);
            }
        });
        Self { port, seen, folder: tempfile::tempdir().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn seen(&self, target: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.target.starts_with(target)).cloned().collect()
    }

    /// Runs the verb with answers to its questions.
    async fn curl(
        &self,
        justify: Justify,
        yes: bool,
        words: &[&str],
        answers: Option<&str>,
    ) -> (Result<u8, Failure>, Captured, Captured) {
        let (mut out, data, talk) = capture::output(Format::Table);
        let curl: Vec<OsString> = words.iter().map(OsString::from).collect();
        let Ok(Analysis::One(plan)) = plan::analyse(&curl) else { panic!("not one request") };
        let args = CurlArgs { justify, yes, curl };
        let global = Global { control: Some(self.url("")), ..global() };
        let env = |name: &str| match name {
            "BREAKGLASS_TOKEN" => Some("control-token".to_owned()),
            "BREAKGLASS_IDENTITY" => Some("identity-token".to_owned()),
            _ => None,
        };
        let mut prompt = match answers {
            Some(answers) => Prompt::from_reader(Cursor::new(answers.to_owned())),
            None => Prompt::nobody(),
        };
        let input = plan.reads_stdin.then(|| Box::new(Cursor::new("from standard input")) as Input);
        let ended = call(&args, &plan, (&global, &env), input, &mut prompt, &mut out).await;
        (ended, data, talk)
    }
}

fn serve(stream: TcpStream, live: bool, record: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|read| read > 2) {}
    let length =
        header.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mut start = header.split_whitespace();
    let seen = Seen {
        method: start.next().unwrap_or_default().to_owned(),
        target: start.next().unwrap_or_default().to_owned(),
        header: header.clone(),
        body: String::from_utf8(body).unwrap(),
    };
    let (status, fields, text) = answer(&seen, live, record);
    record.lock().unwrap().push(seen);
    let answer = format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    let head = header.starts_with("HEAD");
    let mut stream = reader.into_inner();
    let _ =
        stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(if head { b"" } else { text.as_bytes() }));
}

fn answer(seen: &Seen, live: bool, record: &Mutex<Vec<Seen>>) -> (u16, &'static str, String) {
    let json = |text: Result<String, serde_json::Error>| (200, "Content-Type: application/json\r\n", text.unwrap());
    let path = seen.target.split('?').next().unwrap_or_default();
    let asked_before = record.lock().unwrap().iter().any(|seen| seen.target.contains("/enforcement"));
    let enforced = u32::from(asked_before);
    let known = Enforcement { revision: 4, sidecars: 1, enforced, elapsed_ms: None, silent: vec![], rejected: vec![] };
    let far = WallTime::from_unix_s(32_000_000_000);
    let grant = GrantView { expires_at: far, enforcement: known.clone(), ..sample::grant() };
    match path {
        "/v1/grants" => {
            json(serde_json::to_string(&Page { items: if live { vec![grant] } else { vec![] }, next: None }))
        }
        "/v1/services/payments/options" => json(serde_json::to_string(&options())),
        "/v1/elevations" => json(serde_json::to_string(&elevation(&serde_json::from_str(&seen.body).unwrap(), grant))),
        _ if path.ends_with("/enforcement") => json(serde_json::to_string(&known)),
        _ if seen.header.contains("Break-Glass: g-") => (200, "", format!("done {}", seen.body)),
        "/locked" => (423, LINK, "locked".to_owned()),
        "/sealed" => (403, "Content-Type: application/problem+json\r\n", PROBLEM.to_owned()),
        "/missing" => (404, "", "no such thing".to_owned()),
        _ => (200, "", "open".to_owned()),
    }
}

fn options() -> RequestOptions {
    let reason = |code: &str| ReasonOption { code: code.parse().unwrap(), text: "why".into() };
    RequestOptions {
        service: "payments".parse().unwrap(),
        reasons: vec![reason("limit-wrong"), reason("stuck-payment")],
        tickets: vec![TicketOption { tracker: "inc".into(), pattern: "INC-\\d+".into(), example: "INC-2041".into() }],
        tiers: vec![],
    }
}

fn elevation(request: &ElevationRequest, grant: GrantView) -> ElevationView {
    ElevationView {
        service: request.service.clone(),
        resources: request.resources.clone(),
        actions: request.actions.clone(),
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
        grant: Some(grant),
        ..sample::elevation()
    }
}

fn justified() -> Justify {
    Justify {
        reason: Some("stuck-payment".parse().unwrap()),
        ticket: Some("INC-2041".parse().unwrap()),
        wait: Some(Duration::from_secs(5)),
        ..Justify::default()
    }
}

fn waiting() -> Justify {
    Justify { wait: Some(Duration::from_secs(5)), ..Justify::default() }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn from_refusal_to_override_with_three_short_answers() {
    let stage = Stage::set(false);
    let (url, file) = (stage.url("/locked"), stage.file("out"));
    let words = ["-sS", "-X", "POST", "-d", "a=1", "-o", file.to_str().unwrap(), &url];
    let (ended, data, talk) = stage.curl(waiting(), false, &words, Some("2\nINC-2041\ny\n")).await;
    assert_eq!(ended, Ok(0), "{}", talk.text());
    assert_eq!(read(&file), "done a=1");
    assert_eq!(data.text(), "");
    let sent = stage.seen("/locked");
    assert_eq!(sent.len(), 2);
    assert!(!sent[0].header.contains("Break-Glass") && sent[0].body == sent[1].body && sent[1].method == "POST");
    assert!(sent[1].header.contains("\r\nBreak-Glass-Identity: identity-token\r\n"), "{}", sent[1].header);
    let request: ElevationRequest = serde_json::from_str(&stage.seen("/v1/elevations")[0].body).unwrap();
    assert_eq!((request.reason.as_str(), request.ticket.as_str()), ("stuck-payment", "INC-2041"));
    assert_eq!(request.resources[0].as_str(), "contract/C-1042");
    assert!(stage.seen("/v1/grants/").len() >= 2, "it waits until the sidecar enforces it");
    for word in ["identity-token", "control-token"] {
        assert!(!talk.text().contains(word), "a token is never shown");
    }
    assert!(
        talk.text().contains("payment.release on contract/C-1042 of payments")
            && talk.text().contains(&format!("POST {url}"))
    );
}

#[tokio::test]
async fn one_line_with_a_sealed_route_and_its_problem() {
    let stage = Stage::set(false);
    let (url, file) = (stage.url("/sealed"), stage.file("out"));
    let words = ["-s", "-o", file.to_str().unwrap(), &url];
    let (ended, _, talk) = stage.curl(justified(), true, &words, None).await;
    assert_eq!(ended, Ok(0), "{}", talk.text());
    assert_eq!(read(&file), "done ");
    assert_eq!(stage.seen("/sealed").len(), 2);
    assert!(stage.seen("/v1/services").is_empty(), "nothing is asked that was given");
}

#[tokio::test]
async fn a_body_from_standard_input_is_sent_both_times() {
    let stage = Stage::set(false);
    let (url, file) = (stage.url("/locked"), stage.file("out"));
    let words = ["-s", "--data-binary", "@-", "-o", file.to_str().unwrap(), &url];
    let (ended, _, talk) = stage.curl(justified(), true, &words, None).await;
    assert_eq!(ended, Ok(0), "{}", talk.text());
    assert_eq!(read(&file), "done from standard input");
    assert_eq!(stage.seen("/locked").iter().filter(|seen| seen.body == "from standard input").count(), 2);
}

#[tokio::test]
async fn a_live_grant_is_used_again() {
    let stage = Stage::set(true);
    let url = stage.url("/locked");
    let (ended, _, talk) =
        stage.curl(waiting(), true, &["-s", "-o", stage.file("out").to_str().unwrap(), &url], None).await;
    assert_eq!(ended, Ok(0), "{}", talk.text());
    assert!(stage.seen("/v1/elevations").is_empty());
    assert!(talk.text().contains("which you hold already"), "{}", talk.text());
    assert!(stage.seen("/v1/grants?")[0].target.contains("service=payments&state=active&mine=true"));
}

#[tokio::test]
async fn no_is_no() {
    let stage = Stage::set(false);
    let url = stage.url("/sealed");
    let (ended, data, _) = stage.curl(justified(), false, &["-s", &url], Some("n\n")).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Refused);
    assert_eq!(data.text(), PROBLEM, "what curl would have shown is shown");
    assert_eq!(stage.seen("/sealed").len(), 1);
}

#[tokio::test]
async fn where_nobody_can_be_asked_nothing_is_requested() {
    let stage = Stage::set(false);
    let url = stage.url("/sealed");
    let (ended, data, _) = stage.curl(waiting(), false, &["-s", &url], None).await;
    assert_eq!(ended.unwrap_err().exit, Exit::Refused);
    assert_eq!(data.text(), PROBLEM);
    let (ended, _, _) = stage.curl(waiting(), true, &["-s", &url], None).await;
    let failure = ended.unwrap_err();
    assert!(
        failure.hint.contains("limit-wrong, stuck-payment") && failure.hint.contains("INC-2041"),
        "{}",
        failure.hint
    );
    assert!(stage.seen("/v1/elevations").is_empty());
}

#[tokio::test]
async fn an_ordinary_answer_is_curls_own_affair() {
    let stage = Stage::set(false);
    let head = stage.file("head");
    let (open, missing) = (stage.url("/open"), stage.url("/missing"));
    for (words, code, shown) in [
        (vec!["-s", &open], 0, "open".to_owned()),
        (vec!["-s", "-w", " %{http_code}", &missing], 0, "no such thing 404".to_owned()),
        (vec!["-sf", &missing], 22, String::new()),
        (vec!["-s", "--fail-with-body", &missing], 22, "no such thing".to_owned()),
        (vec!["-s", "-D", head.to_str().unwrap(), &open], 0, "open".to_owned()),
        (vec!["-s", "http://127.0.0.1:1/"], 7, String::new()),
    ] {
        let (ended, data, talk) = stage.curl(waiting(), false, &words, None).await;
        assert_eq!((ended, data.text()), (Ok(code), shown), "{words:?} {}", talk.text());
    }
    assert!(read(&head).starts_with("HTTP/1.1 200"), "the header went where it was asked for");
    for words in [["-si", &open], ["-sD-", &open]] {
        let (_, data, _) = stage.curl(waiting(), false, &words, None).await;
        assert!(
            data.text().starts_with("HTTP/1.1 200 X\r\n") && data.text().ends_with("\r\n\r\nopen"),
            "{}",
            data.text()
        );
    }
    assert!(stage.seen("/v1").is_empty(), "the control plane is not asked");
}

#[tokio::test]
async fn header_and_body_on_one_stream_are_told_apart() {
    let stage = Stage::set(false);
    let (sealed, locked) = (stage.url("/sealed"), stage.url("/locked"));
    for words in
        [vec!["-si", &sealed], vec!["-sfS", &sealed], vec!["-sI", &locked], vec!["-s", "-w", "%{http_code}", &sealed]]
    {
        let (ended, _, talk) = stage.curl(justified(), false, &words, Some("n\n")).await;
        assert_eq!(ended.unwrap_err().message, "the override was not sent", "{words:?} {}", talk.text());
    }
}

#[tokio::test]
async fn tracing_never_shows_the_identity() {
    let stage = Stage::set(false);
    let (url, trace) = (stage.url("/locked"), stage.file("trace"));
    let words = ["-s", "--trace-ascii", trace.to_str().unwrap(), "-o", stage.file("out").to_str().unwrap(), &url]
        .map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (ended, _, _) = stage.curl(justified(), true, &words, None).await;
    assert_eq!(ended, Ok(0));
    assert!(!read(&trace).contains("identity-token"));
}

#[test]
fn an_identity_is_not_sent_in_the_clear() {
    let plan = |url: &str| match plan::analyse(&[url.into()]) {
        Ok(Analysis::One(plan)) => *plan,
        other => panic!("{other:?}"),
    };
    for url in ["https://a/", "http://127.0.0.1:1/", "http://[::1]:8/x", "localhost:80", "HTTPS://a"] {
        assert!(check_cleartext(&plan(url)).is_ok(), "{url}");
    }
    for url in ["http://a/", "a.example", "http://127.0.0.1@evil/", "http://localhost.evil/", "ftp://a/"] {
        assert!(check_cleartext(&plan(url)).is_err(), "{url}");
    }
    assert_eq!(shown_url("https://user:pw@a/b?c=d@e"), "https://a/b?c=d@e");
}
