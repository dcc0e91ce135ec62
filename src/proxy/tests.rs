//! The proxy over real sockets, before an upstream whose every byte is seen.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::http::{Limits, Relay};
use crate::secret::Secret;

/// How long anything awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy on a port, and the upstream behind it.
struct Stage {
    port: u16,
    secret: String,
    upstream: TcpListener,
    identity: watch::Sender<Option<Secret<String>>>,
    events: mpsc::Receiver<Event>,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Stage {
    async fn set() -> Self {
        Self::with(presented).await
    }

    async fn with(presented: impl FnOnce(watch::Receiver<Option<Secret<String>>>) -> Presented) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door::loopback(0).await.unwrap();
        let Entrance::Loopback { port, secret } = door.entrance.clone() else { panic!("no port") };
        let (identity, current) = watch::channel(Some(Secret::new("identity-token".to_owned())));
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let proxy = Proxy::new(door, presented(current), relay(upstream.local_addr().unwrap()), events);
        let (end, ended) = oneshot::channel();
        let serving = tokio::spawn(proxy.serve(async { ended.await.unwrap_or_default() }));
        Self { port, secret: secret.into_exposed(), upstream, identity, events: told, end, serving }
    }

    async fn client(&self) -> Line {
        Line::new(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap())
    }

    /// A request line and a Host that get in.
    fn head(&self, method: &str, path: &str) -> String {
        format!("{method} /{}{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", self.secret, self.port)
    }

    async fn at_upstream(&self) -> Line {
        Line::new(timeout(PATIENCE, self.upstream.accept()).await.unwrap().unwrap().0)
    }
}

fn presented(identity: watch::Receiver<Option<Secret<String>>>) -> Presented {
    Presented { grant: Secret::new("g-0123456789ab".to_owned()), proof: Proof::Identity(identity) }
}

fn relay(upstream: SocketAddr) -> Relay<RequestBody> {
    Relay::new(&format!("http://{upstream}").parse().unwrap(), None, Limits::DEFAULT).unwrap()
}

/// One connection, read as text.
struct Line {
    stream: TcpStream,
    read: String,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, read: String::new() }
    }

    async fn say(&mut self, text: &str) {
        timeout(PATIENCE, self.stream.write_all(text.as_bytes())).await.unwrap().unwrap();
    }

    /// Everything up to and with `end`.
    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.find(end) {
                return self.read.drain(..at + end.len()).collect();
            }
            assert!(self.more().await, "it ended with {:?}", self.read);
        }
    }

    /// All that comes until the peer closes or breaks off.
    async fn rest(&mut self) -> String {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("bytes in time").unwrap_or(0);
        self.read.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        read > 0
    }
}

#[tokio::test]
async fn only_our_own_proof_reaches_the_upstream_and_only_once() {
    let stage = Stage::set().await;
    let mut client = stage.client().await;
    let forged = "Break-Glass: g-zzzzzzzzzzzz\r\nbreak_glass_identity: forged\r\nBREAK-GLASS-ROLE: admin\r\n";
    let hop = "Connection: close, X-Hop, Break-Glass\r\nX-Hop: 1\r\nProxy-Authorization: Basic eA==\r\n";
    client
        .say(&format!("{}{forged}{hop}Authorization: Bearer api\r\nX-Kept: 1\r\n\r\n", stage.head("GET", "/a?b=c")))
        .await;
    let mut upstream = stage.at_upstream().await;
    let head = upstream.until("\r\n\r\n").await;
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for (name, count) in [
        ("break-glass: g-0123456789ab", 1),
        ("break-glass-identity: identity-token", 1),
        ("break", 2),
        ("forged", 0),
        ("x-hop", 0),
        ("proxy-auth", 0),
        ("authorization: bearer api", 1),
        ("x-kept: 1", 1),
        (&format!("host: {}", stage.upstream.local_addr().unwrap()), 1),
        (&stage.secret.to_ascii_lowercase(), 0),
    ] {
        assert_eq!(lower.matches(name).count(), count, "{name} in {head}");
    }
    upstream.say("HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-Answer: 1\r\n\r\nok").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn what_does_not_get_in_never_leaves() {
    let mut stage = Stage::set().await;
    let host = format!("Host: 127.0.0.1:{}\r\n", stage.port);
    for (request, status, code) in [
        (format!("GET /a HTTP/1.1\r\n{host}\r\n"), "403", "proxy_secret"),
        (format!("{}Origin: http://evil.example\r\n\r\n", stage.head("POST", "/a")), "403", "proxy_browser"),
        (format!("{}Sec-Fetch-Site: cross-site\r\n\r\n", stage.head("GET", "/a")), "403", "proxy_browser"),
        (format!("GET /{}/a HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", stage.secret, stage.port), "421", "proxy_host"),
        (format!("CONNECT evil.example:443 HTTP/1.1\r\n{host}\r\n"), "400", "proxy_target"),
        (format!("GET http://evil.example/{} HTTP/1.1\r\n{host}\r\n", stage.secret), "400", "proxy_target"),
    ] {
        let mut client = stage.client().await;
        client.say(&request).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request} {answer}");
        assert!(answer.contains(code) && !answer.contains(&stage.secret), "{answer}");
        let event = stage.events.recv().await.unwrap();
        assert!(event.own == Some(code) && !event.path.contains(&stage.secret), "{event:?}");
    }
    let mut client = stage.client().await;
    let long = format!("{}X: {}\r\n\r\n", stage.head("GET", "/a"), "x".repeat(8 * HEAD_BYTES_MAX));
    // It is cut, perhaps before the answer is heard.
    let _ = client.stream.write_all(long.as_bytes()).await;
    let answer = client.rest().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // The one that gets in is the first that the upstream sees.
    let mut client = stage.client().await;
    client.say(&format!("{}\r\n", stage.head("GET", "/first"))).await;
    assert!(stage.at_upstream().await.until("\r\n").await.starts_with("GET /first "));
}

#[tokio::test]
async fn bodies_flow_both_ways_while_they_are_made() {
    let stage = Stage::set().await;
    let mut client = stage.client().await;
    client.say(&format!("{}Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n", stage.head("POST", "/a"))).await;
    let mut upstream = stage.at_upstream().await;
    upstream.until("one").await;
    client.say("3\r\ntwo\r\n").await;
    upstream.until("two").await;
    upstream.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n").await;
    client.until("three").await;
    client.say("0\r\nBreak-Glass-Role: admin\r\nX-Sum: 1\r\n\r\n").await;
    upstream.until("0\r\n").await;
    upstream.say("4\r\nfour\r\n0\r\n\r\n").await;
    client.until("four").await;
    assert!(!upstream.read.to_ascii_lowercase().contains("break"), "{}", upstream.read);
}

#[tokio::test]
async fn connections_are_used_again_and_requests_never() {
    let mut stage = Stage::set().await;
    let mut client = stage.client().await;
    client.say(&format!("{}\r\n", stage.head("GET", "/1"))).await;
    let mut upstream = stage.at_upstream().await;
    upstream.until("\r\n\r\n").await;
    upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    client.until("ok").await;
    client.say(&format!("{}Content-Length: 4\r\n\r\nbody", stage.head("POST", "/2"))).await;
    assert!(upstream.until("body").await.starts_with("POST /2 "), "the same connection");
    drop(upstream);
    let answer = client.until("before repeating").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("proxy_broken_off"), "{answer}");
    assert_eq!(stage.events.recv().await.unwrap().status, 200);
    assert!(stage.events.recv().await.unwrap().why.is_some());
    let mut client = stage.client().await;
    client.say(&format!("{}\r\n", stage.head("GET", "/3"))).await;
    assert!(stage.at_upstream().await.until("\r\n").await.starts_with("GET /3 "), "nothing was sent in between");
}

#[tokio::test]
async fn the_end_cuts_what_flows() {
    let stage = Stage::set().await;
    let mut client = stage.client().await;
    client.say(&format!("{}\r\n", stage.head("GET", "/a"))).await;
    let mut upstream = stage.at_upstream().await;
    upstream.until("\r\n\r\n").await;
    upstream.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun").await;
    client.until("begun").await;
    stage.end.send(()).unwrap();
    stage.serving.await.unwrap();
    assert_eq!(client.rest().await, "");
    assert_eq!(upstream.rest().await, "");
    assert!(TcpStream::connect(("127.0.0.1", stage.port)).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let stage = Stage::set().await;
    let mut client = stage.client().await;
    client.say(&format!("{}\r\n", stage.head("GET", "/a"))).await;
    let mut upstream = stage.at_upstream().await;
    upstream.until("\r\n\r\n").await;
    drop(client);
    assert_eq!(upstream.rest().await, "");
}

#[tokio::test]
async fn without_an_identity_nothing_leaves_and_a_newer_one_is_taken() {
    let stage = Stage::set().await;
    stage.identity.send_replace(None);
    let mut client = stage.client().await;
    client.say(&format!("{}\r\n", stage.head("GET", "/a"))).await;
    assert!(client.rest().await.contains("proxy_unpresentable"));
    stage.identity.send_replace(Some(Secret::new("newer".to_owned())));
    let mut client = stage.client().await;
    client.say(&format!("{}\r\n", stage.head("GET", "/b"))).await;
    let head = stage.at_upstream().await.until("\r\n\r\n").await;
    assert!(head.starts_with("GET /b ") && head.contains(": newer\r\n"), "{head}");
}

#[tokio::test]
async fn where_nobody_answers_nothing_was_sent() {
    let stage = Stage::set().await;
    let head = stage.head("GET", "/a");
    let mut client = stage.client().await;
    drop(stage.upstream);
    client.say(&format!("{head}\r\n")).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("proxy_unreachable"), "{answer}");
}

mod proofs {
    use super::*;
    use crate::clock::Clock;
    use crate::token::dpop::{Expected, Proof as Verified, ProofKey, verify_proof};

    const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: DPoP realm=\"break-glass\", \
                           algs=\"ES256\", error=\"use_dpop_nonce\"\r\nBreak-Glass-DPoP-Nonce: nonce-1\r\n\
                           Content-Length: 0\r\n\r\n";
    const TOKEN: &str = "grant.token.signed";

    async fn stage() -> Stage {
        let prover = Prover::new(ProofKey::generate().unwrap(), Clock::System);
        let grant = Secret::new(TOKEN.to_owned());
        Stage::with(|_| Presented { grant, proof: Proof::Key(prover) }).await
    }

    /// The proof in a head that arrived, verified.
    fn proof(head: &str, stage: &Stage, method: &str, path: &str) -> Verified {
        assert!(head.contains(&format!("break-glass: {TOKEN}\r\n")) && !head.contains("identity"), "{head}");
        let line = head.lines().find_map(|line| line.strip_prefix("break-glass-dpop: ")).unwrap();
        let url = format!("http://{}{path}", stage.upstream.local_addr().unwrap()).parse().unwrap();
        let expected = Expected { method, url: &url, token: Some(TOKEN), now: Clock::System.wall() };
        verify_proof(line, &expected).unwrap()
    }

    #[tokio::test]
    async fn a_refusal_for_want_of_a_nonce_is_answered_once_with_the_same_body() {
        let stage = stage().await;
        let mut client = stage.client().await;
        client.say(&format!("{}Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n", stage.head("POST", "/a?b"))).await;
        let mut upstream = stage.at_upstream().await;
        let head = upstream.until("\r\n\r\n").await;
        assert_eq!(proof(&head, &stage, "POST", "/a").nonce, None);
        upstream.until("one").await;
        upstream.say(REFUSED).await;
        drop(upstream);
        let mut upstream = stage.at_upstream().await;
        let head = upstream.until("\r\n\r\n").await;
        assert_eq!(proof(&head, &stage, "POST", "/a").nonce.as_deref(), Some("nonce-1"));
        upstream.until("one").await;
        client.say("3\r\ntwo\r\n0\r\n\r\n").await;
        upstream.until("0\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nBreak-Glass-DPoP-Nonce: nonce-2\r\nContent-Length: 4\r\n\r\ndone";
        upstream.say(answer).await;
        let answer = client.until("done").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("nonce"), "{answer}");
        // The next one has the newest nonce at once.
        client.say(&format!("{}\r\n", stage.head("GET", "/c"))).await;
        let head = upstream.until("\r\n\r\n").await;
        assert_eq!(proof(&head, &stage, "GET", "/c").nonce.as_deref(), Some("nonce-2"));
    }

    #[tokio::test]
    async fn a_second_refusal_is_the_answer() {
        let stage = stage().await;
        let mut client = stage.client().await;
        client.say(&format!("{}\r\n", stage.head("GET", "/a"))).await;
        let mut upstream = stage.at_upstream().await;
        for _ in 0..2 {
            upstream.until("\r\n\r\n").await;
            upstream.say(REFUSED).await;
        }
        assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 401 "));
    }

    #[tokio::test]
    async fn what_is_too_large_to_be_kept_is_for_the_client_to_send_again() {
        let stage = stage().await;
        let mut client = stage.client().await;
        let length = KEPT_BYTES_MAX + 1;
        client.say(&format!("{}Content-Length: {}\r\n\r\n", stage.head("PUT", "/a"), length + 1)).await;
        let mut upstream = stage.at_upstream().await;
        upstream.until("\r\n\r\n").await;
        let body = "x".repeat(length);
        let (_, read) = tokio::join!(client.say(&body), async {
            while upstream.read.len() < length {
                assert!(upstream.more().await);
            }
            upstream.read.len()
        });
        assert_eq!(read, length);
        upstream.say(REFUSED).await;
        let answer = client.until("send it again").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("proxy_again"), "{answer}");
        let mut client = stage.client().await;
        client.say(&format!("{}\r\n", stage.head("GET", "/b"))).await;
        let head = stage.at_upstream().await.until("\r\n\r\n").await;
        assert_eq!(proof(&head, &stage, "GET", "/b").nonce.as_deref(), Some("nonce-1"));
    }

    #[tokio::test]
    async fn an_apis_own_challenge_is_the_clients() {
        let stage = stage().await;
        let mut client = stage.client().await;
        client.say(&format!("{}\r\n", stage.head("GET", "/a"))).await;
        let mut upstream = stage.at_upstream().await;
        upstream.until("\r\n\r\n").await;
        upstream.say(&REFUSED.replace("Break-Glass-DPoP-Nonce", "DPoP-Nonce")).await;
        let answer = client.until("\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("nonce-1"), "{answer}");
    }
}

#[cfg(unix)]
mod socket {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn private() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        folder
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone() {
        let folder = private();
        let path = folder.path().join("socket");
        let door = Door::socket(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Door::socket(&path), Err(DoorError::Socket { .. })), "somebody listens there");
        drop(door);
        assert!(Door::socket(&path).is_ok(), "a dead one is taken over");
        std::fs::write(folder.path().join("file"), "x").unwrap();
        assert!(Door::socket(&folder.path().join("file")).is_err());
        for mode in [0o755, 0o710, 0o701] {
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
            let refused = Door::socket(&folder.path().join("other"));
            assert!(matches!(refused, Err(DoorError::OpenFolder { .. })), "{mode:o}");
        }
    }

    #[tokio::test]
    async fn a_request_over_the_socket_needs_no_secret() {
        let folder = private();
        let path = folder.path().join("socket");
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_identity, current) = watch::channel(Some(Secret::new("identity-token".to_owned())));
        let (events, _told) = mpsc::channel(EVENTS_MAX);
        let relay = relay(upstream.local_addr().unwrap());
        let proxy = Proxy::new(Door::socket(&path).unwrap(), presented(current), relay, events);
        tokio::spawn(proxy.serve(std::future::pending::<()>()));
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        client.write_all(b"GET /a HTTP/1.1\r\nHost: any\r\n\r\n").await.unwrap();
        let mut upstream = Line::new(upstream.accept().await.unwrap().0);
        assert!(upstream.until("\r\n\r\n").await.contains("break-glass: g-0123456789ab\r\n"));
    }
}
