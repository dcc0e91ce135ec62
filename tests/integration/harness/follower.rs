//! A sidecar that only listens: it follows the feed from replica to replica and writes down each revision it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use breakglass::http::{ClientIdentity, ClientTls, H2Endpoint, Limits, TlsRoots, connect_h2};
use breakglass::wire::feed::{AuditPosition, CONTENT_TYPE, FromControl, FromSidecar, PATH, Subscribe};
use bytes::{Bytes, BytesMut};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use rustls::pki_types::ServerName;

use super::Dice;

/// What was told so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Followed {
    /// Of puts and tombstones after the first snapshot, in the order in which they came.
    pub(crate) revisions: Vec<u64>,
    /// The revision of the first snapshot.
    pub(crate) since: Option<u64>,
    /// Everything up to here was told.
    pub(crate) last: u64,
    pub(crate) streams: u32,
    /// Streams after the first that began with a snapshot.
    pub(crate) begun_anew: u32,
    epoch: Option<String>,
}

/// See the module.
pub(crate) struct Follower {
    followed: Arc<Mutex<Followed>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    pub(crate) fn start(folder: &Path, instance: &str, replicas: Vec<SocketAddr>, mut dice: Dice) -> Self {
        let roots = TlsRoots::from_pem_files([folder.join("ca.pem")]).unwrap();
        let own = ClientIdentity::from_pem_files(&folder.join("feed-payments.pem"), &folder.join("feed-payments.key"));
        let tls = ClientTls::new(roots, Some(own.unwrap())).unwrap();
        let followed: Arc<Mutex<Followed>> = Arc::default();
        let (own, instance) = (Arc::clone(&followed), instance.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let replica = dice.one(&replicas);
                // However it ended, it is gone on with elsewhere.
                let _ended = stream(&own, &instance, replica, &tls).await;
                tokio::time::sleep(Duration::from_millis(dice.below(100) as u64)).await;
            }
        });
        Self { followed, task }
    }

    pub(crate) fn followed(&self) -> Followed {
        self.followed.lock().unwrap().clone()
    }
}

async fn stream(
    followed: &Mutex<Followed>,
    instance: &str,
    replica: SocketAddr,
    tls: &ClientTls,
) -> Result<Infallible, String> {
    let server_name = ServerName::try_from("localhost").unwrap();
    let endpoint = H2Endpoint { host: replica.ip().to_string(), port: replica.port(), server_name };
    let (mut say, body): (Sender<Bytes>, Channel<Bytes>) = Channel::new(64);
    let mut connection = connect_h2(&endpoint, tls, &Limits::DEFAULT).await.map_err(|error| error.to_string())?;
    let subscribe = subscribe(&followed.lock().unwrap(), instance);
    send(&mut say, &FromSidecar::Subscribe(subscribe)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://localhost{PATH}"))
        .header("content-type", CONTENT_TYPE)
        .body(body)
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), connection.sender.send_request(request));
    let response = answer.await.map_err(|_| "late".to_owned())?.map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(response.status().to_string());
    }
    followed.lock().unwrap().streams += 1;
    follow(followed, response.into_body(), say).await
}

fn subscribe(followed: &Followed, instance: &str) -> Subscribe {
    Subscribe {
        service: "payments".parse().unwrap(),
        instance: instance.parse().unwrap(),
        version: "0.1.0".into(),
        service_digest: "ab".repeat(32),
        epoch: followed.epoch.clone(),
        last_revision: followed.since.map(|_| followed.last),
        lineage: format!("lineage-of-{instance}"),
        spent: Default::default(),
        audit: AuditPosition::default(),
    }
}

async fn send(say: &mut Sender<Bytes>, line: &FromSidecar) -> Result<(), String> {
    let mut line = serde_json::to_vec(line).unwrap();
    line.push(b'\n');
    say.send_data(line.into()).await.map_err(|_| "it takes nothing".to_owned())
}

async fn follow(followed: &Mutex<Followed>, mut body: Incoming, mut say: Sender<Bytes>) -> Result<Infallible, String> {
    let (mut buffer, mut ticks, mut n) = (BytesMut::new(), tokio::time::interval(Duration::from_secs(1)), 0);
    let mut in_snapshot = false;
    loop {
        let frame = tokio::select! {
            _ = ticks.tick() => {
                n += 1;
                send(&mut say, &FromSidecar::Ping { n, at: None }).await?;
                continue;
            }
            frame = tokio::time::timeout(Duration::from_secs(5), body.frame()) => frame.map_err(|_| "silent".to_owned())?,
        };
        let frame = frame.ok_or("it ended")?.map_err(|error| error.to_string())?;
        buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        let mut told = 0;
        while let Some(at) = buffer.iter().position(|b| *b == b'\n') {
            let line: FromControl = serde_json::from_slice(&buffer.split_to(at + 1)).unwrap();
            if let FromControl::Resync { why } = &line {
                return Err(why.clone());
            }
            take(&mut followed.lock().unwrap(), &line, &mut in_snapshot);
            told = line.revision().unwrap_or(told);
        }
        if told > 0 && !in_snapshot {
            send(&mut say, &FromSidecar::Ack { revision: told, audit: AuditPosition::default() }).await?;
        }
    }
}

fn take(followed: &mut Followed, line: &FromControl, in_snapshot: &mut bool) {
    match line {
        FromControl::Welcome { epoch, resumed } => {
            followed.epoch = Some(epoch.clone());
            *in_snapshot = !resumed;
            if !resumed && followed.since.is_some() {
                followed.begun_anew += 1;
            }
        }
        FromControl::Put { revision, .. } | FromControl::Tombstone { revision, .. } if !*in_snapshot => {
            followed.revisions.push(*revision);
            followed.last = followed.last.max(*revision);
        }
        FromControl::SnapshotEnd { revision } => {
            *in_snapshot = false;
            followed.since.get_or_insert(*revision);
            followed.last = followed.last.max(*revision);
        }
        FromControl::Heartbeat { revision, .. } if followed.since.is_some() => {
            followed.last = followed.last.max(*revision);
        }
        _ => {}
    }
}
