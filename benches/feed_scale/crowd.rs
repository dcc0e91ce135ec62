//! The sidecars' side of the feed, many times over, in a process of its own: real mutual TLS, HTTP/2, the sidecar's own
//! pauses between attempts. Each subscribes, reads, acknowledges and pings once a second; none has anything to protect.
//!
//! It leaves all at once when it reads a line, says one line whenever all are there, and ends with its input.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use breakglass::http::{ClientIdentity, ClientTls, H2Endpoint, Limits, TlsRoots, connect_h2};
use breakglass::wire::feed::{AuditPosition, CONTENT_TYPE, FromSidecar, PATH, Subscribe};
use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use crate::harness::Dice;

/// Feeds that begin in one second, where nothing went wrong before.
const BEGUN_PER_S: u32 = 500;
/// The sidecar's, as `sidecar::grant_feed` has them.
const PING_EVERY: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_secs(10);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often it is told how many are there, while not all are.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What all feeds share.
struct Crowd {
    tls: ClientTls,
    endpoint: H2Endpoint,
    /// Changes when all are to leave.
    leave: watch::Sender<Leaving>,
    there: watch::Sender<Present>,
    /// Since all left: attempts that were asked to come back later, and such as failed in another way.
    put_off: AtomicUsize,
    failed: AtomicUsize,
}

/// The storm of this number, and when it began. The quickest are back before the slowest have left.
#[derive(Clone, Copy)]
struct Leaving {
    storm: usize,
    at: Instant,
}

/// How many have everything that they began to read after the storm of this number.
#[derive(Clone, Copy)]
struct Present {
    storm: usize,
    count: usize,
}

/// Counts one that has everything, until it is dropped.
struct There<'a> {
    crowd: &'a Crowd,
    storm: usize,
}

impl<'a> There<'a> {
    fn at(crowd: &'a Crowd, storm: usize) -> Self {
        let there = Self { crowd, storm };
        there.change(|count| *count += 1);
        there
    }

    fn change(&self, count: impl FnOnce(&mut usize)) {
        let storm = self.storm;
        self.crowd.there.send_if_modified(|there| {
            let current = there.storm == storm;
            if current {
                count(&mut there.count);
            }
            current
        });
    }
}

impl Drop for There<'_> {
    fn drop(&mut self) {
        self.change(|count| *count -= 1);
    }
}

/// Why a stream ended.
enum End {
    PutOff(Duration),
    Failed(String),
}

impl<E: std::error::Error> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(breakglass::error_chain::error_chain(&error))
    }
}

/// `count` feeds at `replica`, with the certificates of `folder`.
pub(crate) async fn run(folder: &Path, replica: SocketAddr, count: usize) {
    let roots = TlsRoots::from_pem_files([folder.join("ca.pem")]).unwrap();
    let own = ClientIdentity::from_pem_files(&folder.join("feed-payments.pem"), &folder.join("feed-payments.key"));
    let server_name = ServerName::try_from("localhost").unwrap();
    let crowd = Arc::new(Crowd {
        tls: ClientTls::new(roots, Some(own.unwrap())).unwrap(),
        endpoint: H2Endpoint { host: replica.ip().to_string(), port: replica.port(), server_name },
        leave: watch::Sender::new(Leaving { storm: 0, at: Instant::now() }),
        there: watch::Sender::new(Present { storm: 0, count: 0 }),
        put_off: AtomicUsize::new(0),
        failed: AtomicUsize::new(0),
    });
    let mut asked = asked();
    let mut there = crowd.there.subscribe();
    for number in 0..count {
        tokio::spawn(Feed::new(Arc::clone(&crowd), number).keep());
        tokio::time::sleep(Duration::from_secs(1) / BEGUN_PER_S).await;
    }
    loop {
        while tokio::time::timeout(TELL_EVERY, there.wait_for(|there| there.count == count)).await.is_err() {
            let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            let (put_off, failed) = (of(&crowd.put_off), of(&crowd.failed));
            eprintln!("  {} of {count} are there; put off {put_off}, failed {failed}", crowd.there.borrow().count);
        }
        let took = crowd.leave.borrow().at.elapsed();
        let (put_off, failed) = (crowd.put_off.swap(0, Ordering::Relaxed), crowd.failed.swap(0, Ordering::Relaxed));
        println!("{} {put_off} {failed}", took.as_millis());
        asked.recv().await.unwrap();
        let storm = crowd.leave.borrow().storm + 1;
        crowd.there.send_replace(Present { storm, count: 0 });
        crowd.leave.send_replace(Leaving { storm, at: Instant::now() });
    }
}

/// One for each line of the input. The process ends with it.
fn asked() -> mpsc::Receiver<()> {
    let (line, asked) = mpsc::channel(1);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line.blocking_send(()).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    asked
}

struct Feed {
    crowd: Arc<Crowd>,
    number: usize,
    dice: Dice,
    epoch: Option<String>,
    last: u64,
    storm: usize,
}

/// The members of a line that matter here. It is not checked whether the others are what they should be.
#[derive(Deserialize)]
struct Line {
    kind: Kind,
    revision: Option<u64>,
    epoch: Option<String>,
    why: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Welcome,
    SnapshotEnd,
    Heartbeat,
    Resync,
    #[serde(other)]
    Change,
}

impl Feed {
    fn new(crowd: Arc<Crowd>, number: usize) -> Self {
        Self {
            crowd,
            number,
            dice: Dice::of((number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            epoch: None,
            last: 0,
            storm: 0,
        }
    }

    async fn keep(mut self) {
        let crowd = Arc::clone(&self.crowd);
        let mut leave = crowd.leave.subscribe();
        let mut longest = PAUSE_FIRST;
        loop {
            self.storm = leave.borrow_and_update().storm;
            let end = tokio::select! {
                end = self.stream() => Some(end),
                _ = leave.changed() => None,
            };
            let pause = match end {
                None => {
                    longest = PAUSE_FIRST;
                    self.jittered(longest)
                }
                Some(End::PutOff(asked)) => {
                    crowd.put_off.fetch_add(1, Ordering::Relaxed);
                    asked / 2 + self.jittered(asked)
                }
                Some(End::Failed(why)) => {
                    if crowd.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                        eprintln!("  the first attempt that failed: {why}");
                    }
                    self.jittered(longest)
                }
            };
            longest = (longest * 2).min(PAUSE_MAX);
            tokio::time::sleep(pause).await;
        }
    }

    fn jittered(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.dice.below(most.as_micros() as usize + 1) as u64)
    }

    /// One stream, from connecting to its end.
    async fn stream(&mut self) -> End {
        let Err(end) = self.try_stream().await;
        end
    }

    async fn try_stream(&mut self) -> Result<std::convert::Infallible, End> {
        let crowd = Arc::clone(&self.crowd);
        let mut connection = connect_h2(&crowd.endpoint, &crowd.tls, &Limits::DEFAULT).await?;
        let (mut say, body): (Sender<Bytes>, Channel<Bytes>) = Channel::new(8);
        send(&mut say, &FromSidecar::Subscribe(self.subscribe())).await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://localhost{PATH}"))
            .header("content-type", CONTENT_TYPE)
            .body(body)?;
        let response = tokio::time::timeout(SILENCE_MAX, connection.sender.send_request(request)).await??;
        if response.status() != StatusCode::OK {
            return Err(refused(&response));
        }
        self.follow(&crowd, response.into_body(), say).await
    }

    fn subscribe(&self) -> Subscribe {
        let (number, last) = (self.number, self.last);
        Subscribe {
            service: "payments".parse().unwrap(),
            instance: format!("payments-{number}").parse().unwrap(),
            version: env!("CARGO_PKG_VERSION").into(),
            service_digest: "ab".repeat(32),
            epoch: self.epoch.clone(),
            last_revision: self.epoch.is_some().then_some(last),
            lineage: format!("lineage-of-payments-{number}"),
            spent: Default::default(),
            audit: position(),
        }
    }

    async fn follow(
        &mut self,
        crowd: &Crowd,
        mut body: Incoming,
        mut say: Sender<Bytes>,
    ) -> Result<std::convert::Infallible, End> {
        let (mut buffer, mut there, mut n) = (BytesMut::new(), None, 0);
        let first = tokio::time::Instant::now() + self.jittered(PING_EVERY);
        let mut ticks = tokio::time::interval_at(first, PING_EVERY);
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                _ = ticks.tick() => {
                    n += 1;
                    send(&mut say, &FromSidecar::Ping { n, at: None }).await?;
                    continue;
                }
            };
            let frame = frame.ok_or_else(|| End::Failed("the stream ended".to_owned()))??;
            buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            let mut told = 0;
            while let Some(at) = buffer.iter().position(|b| *b == b'\n') {
                let line: Line = serde_json::from_slice(&buffer.split_to(at + 1))?;
                match line.kind {
                    Kind::Resync => return Err(End::Failed(line.why.unwrap_or_default())),
                    Kind::Welcome => self.epoch = line.epoch,
                    Kind::SnapshotEnd => {
                        told = line.revision.unwrap_or(told);
                        there.get_or_insert_with(|| There::at(crowd, self.storm));
                    }
                    Kind::Heartbeat => {}
                    Kind::Change => told = line.revision.unwrap_or(told),
                }
            }
            if told > 0 && there.is_some() {
                send(&mut say, &FromSidecar::Ack { revision: told, audit: position() }).await?;
                self.last = self.last.max(told);
            }
        }
    }
}

fn refused(response: &Response<Incoming>) -> End {
    let status = response.status();
    let asked = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    match asked {
        Some(seconds) if status == StatusCode::SERVICE_UNAVAILABLE => End::PutOff(Duration::from_secs(seconds)),
        _ => End::Failed(format!("the control plane answered {status}")),
    }
}

fn position() -> AuditPosition {
    AuditPosition { log_id: "01j2k3m4n5p6q7r8s9t0v1w2x3".to_owned(), sequence: 1_042, head: "cd".repeat(32) }
}

async fn send(say: &mut Sender<Bytes>, line: &FromSidecar) -> Result<(), End> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    say.send_data(line.into()).await.map_err(|_| End::Failed("it takes nothing".to_owned()))
}
