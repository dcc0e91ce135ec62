//! `breakglass proxy`: a live grant for a client that can't set headers. [`crate::proxy`] serves; this verb finds the
//! grant, says where to come in, tells what passes, and ends with the grant.
//!
//! It asks the control plane about the grant all the while, since a grant may end at any moment; while the control plane
//! can't be reached it goes on, until the time at which the grant expires at the latest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::api::{Api, ApiError};
use super::args::{Format, Global, ProxyArgs, Which};
use super::credential::{self, Credential};
use super::curl::is_loopback;
use super::enforcement::{clock_time, span};
use super::failure::{Exit, Failure};
use super::grants::joined;
use super::interruption::interrupted;
use super::output::{Cell, Output};
use super::session::{self, Lookup};
use super::{held, private_files, shell_word};
use crate::clock::Clock;
use crate::domain::{Binding, GrantId, WallTime};
use crate::error_chain::error_chain;
use crate::http::{Limits, Relay};
use crate::proxy::{Door, DoorError, EVENTS_MAX, Event, Presented, Proof, Proxy, RequestBody};
use crate::secret::Secret;
use crate::wire::api::{GrantState, GrantView};

/// How often the control plane is asked whether the grant lives.
const ASK_MS: u64 = 2_000;
/// How soon it is asked again, where the sidecar refuses.
const DOUBT_MS: u64 = 250;
/// How long a newer access token may take, and how long none is asked for after that.
const RENEW_MS_MAX: u64 = 5_000;
const RENEW_AGAIN_MS: u64 = 60_000;
/// Greatest time to the head of an answer. The sidecar has a shorter one of its own.
const ANSWER_MS_MAX: u64 = 600_000;

type Identity = watch::Sender<Option<Secret<String>>>;

/// # Errors
/// When there is no such live grant, nothing can be listened on, or the grant was revoked.
pub(super) async fn run(args: &ProxyArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let api = session::connect(global, env, out)?;
    let grant = held::find(&api, &Which { id: Some(args.id.clone()), ..Which::default() }).await?;
    let relay = relay(args, &grant, global)?;
    let (presented, identity) = presented(credential::of(&api, &grant, (global, env)).await?);
    let (door, entry) = open(args, env).await?;
    announce(&grant, &args.to, &entry, out)?;
    let (events, mut told) = mpsc::channel(EVENTS_MAX);
    let serving = Proxy::new(door, presented, relay, events);
    let mut watching = Watching { api, grant, identity, renews_at: Instant::now(), unreachable: false };
    tokio::select! {
        ended = serving.serve(watching.until_the_end(&mut told, (global, env), out)) => ended,
        failure = interrupted() => Err(failure),
    }
}

/// What requests show, and how a newer access token gets there.
fn presented(credential: Credential) -> (Presented, Option<Identity>) {
    match credential {
        Credential::Identity { named: grant, identity } => {
            let (identity, current) = watch::channel(Some(identity));
            (Presented { grant, proof: Proof::Identity(current) }, Some(identity))
        }
        Credential::Certificate { named: grant } => (Presented { grant, proof: Proof::Certificate }, None),
        Credential::Key { token: grant, prover } => (Presented { grant, proof: Proof::Key(prover) }, None),
    }
}

fn relay(args: &ProxyArgs, grant: &GrantView, global: &Global) -> Result<Relay<RequestBody>, Failure> {
    let wrong = |why: &str| {
        let hint = "name the service itself: --to https://HOST[:PORT]";
        Failure::new(Exit::Usage, format!("{} is no address of a service: {why}", args.to), hint)
    };
    if !matches!(args.to.path(), "" | "/") || args.to.query().is_some() {
        return Err(wrong("it has a path"));
    }
    let host = args.to.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if args.to.scheme_str() != Some("https") && !is_loopback(host) {
        return Err(wrong("it is not https, and requests would carry what proves the grant in the clear"));
    }
    // Nobody else is shown the certificate.
    let own = (grant.binding == Binding::Mtls).then(|| credential::certificate(grant, global)).transpose()?;
    let tls = session::tls_with(&args.to, args.to_ca.as_deref().or(global.ca.as_deref()), own)?;
    let limits = Limits { response_ms_max: ANSWER_MS_MAX, ..Limits::DEFAULT };
    Relay::new(&args.to, tls, limits).map_err(|error| wrong(&error.to_string()))
}

/// Where clients come in. What was made for it is gone when it is dropped.
#[derive(Debug)]
enum Entry {
    #[cfg(unix)]
    Socket {
        path: PathBuf,
        _folder: Option<tempfile::TempDir>,
    },
    Loopback {
        file: PathBuf,
        _folder: tempfile::TempDir,
    },
}

/// The socket outlives its listener.
#[cfg(unix)]
impl Drop for Entry {
    fn drop(&mut self) {
        if let Self::Socket { path, .. } = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn open(args: &ProxyArgs, env: Lookup<'_>) -> Result<(Door, Entry), Failure> {
    #[cfg(unix)]
    if args.tcp.is_none() {
        return open_socket(args.socket.as_deref(), env);
    }
    let door = Door::loopback(args.tcp.unwrap_or(0)).await.map_err(|error| not_open(&error))?;
    let folder = folder(env)?;
    let file = folder.path().join("url");
    let url = door.url().unwrap_or(Secret::new(String::new()));
    private_files::write(&file, format!("{}\n", url.expose()).as_bytes()).map_err(|error| no_folder(&error))?;
    Ok((door, Entry::Loopback { file, _folder: folder }))
}

#[cfg(unix)]
fn open_socket(given: Option<&Path>, env: Lookup<'_>) -> Result<(Door, Entry), Failure> {
    let (path, folder) = match given {
        Some(path) => (path.to_owned(), None),
        None => {
            let folder = folder(env)?;
            (folder.path().join("socket"), Some(folder))
        }
    };
    let door = Door::socket(&path).map_err(|error| not_open(&error))?;
    Ok((door, Entry::Socket { path, _folder: folder }))
}

fn folder(env: Lookup<'_>) -> Result<tempfile::TempDir, Failure> {
    let parent = private_files::runtime_folder(env);
    private_files::temporary_folder(parent.as_deref()).map_err(|error| no_folder(&error))
}

fn no_folder(error: &std::io::Error) -> Failure {
    let hint = "set XDG_RUNTIME_DIR or TMPDIR to a folder of yours";
    Failure::new(Exit::Failed, format!("no private folder can be made: {error}"), hint)
}

fn not_open(error: &DoorError) -> Failure {
    let hint = match error {
        DoorError::OpenFolder { .. } => "chmod 700 that folder, or leave out --socket: one is made",
        DoorError::Socket { .. } => "name another path, or leave out --socket: one is made",
        DoorError::Port { .. } => "name another port, or none: --tcp",
        DoorError::Randomness => "try again",
    };
    Failure::new(Exit::Failed, error_chain(error), hint)
}

/// Where to come in, for programs.
#[derive(Debug, Serialize)]
struct Opened<'a> {
    grant: &'a GrantId,
    expires_at: WallTime,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'a Path>,
    /// Its one line is the address, with the run's secret in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url_file: Option<&'a Path>,
}

fn announce(grant: &GrantView, to: &Uri, entry: &Entry, out: &mut Output) -> Result<(), Failure> {
    let (socket, url_file) = match entry {
        #[cfg(unix)]
        Entry::Socket { path, .. } => (Some(path.as_path()), None),
        Entry::Loopback { file, .. } => (None, Some(file.as_path())),
    };
    let opened = Opened { grant: &grant.id, expires_at: grant.expires_at, to: to.to_string(), socket, url_file };
    if out.format == Format::Json {
        return out.json(&opened);
    }
    let left = span(grant.expires_at.since(Clock::System.wall()));
    let word = |path: &Path| shell_word(&path.to_string_lossy());
    let mut facts = vec![
        ("grant", format!("{} until {} ({left} left)", grant.id, clock_time(grant.expires_at))),
        ("every request", format!("{} on {}, as {}", joined(&grant.actions), joined(&grant.resources), grant.role)),
        ("goes to", to.to_string()),
    ];
    if let Some(path) = socket {
        facts.push(("socket", path.to_string_lossy().into_owned()));
        facts.push(("use it", format!("curl --unix-socket {} http://localhost/PATH", word(path))));
    }
    if let Some(file) = url_file {
        facts.push(("address in", file.to_string_lossy().into_owned()));
        facts.push(("use it", format!("base URL \"$(cat {})\"", word(file))));
    }
    let facts: Vec<(&str, Cell)> = facts.into_iter().map(|(name, value)| (name, value.into())).collect();
    out.facts(&facts)
}

struct Watching {
    api: Api,
    grant: GrantView,
    identity: Option<Identity>,
    /// Not before.
    renews_at: Instant,
    /// It was said already.
    unreachable: bool,
}

impl Watching {
    /// Tells what passes, and asks about the grant, until it has ended.
    async fn until_the_end(
        &mut self,
        told: &mut mpsc::Receiver<Event>,
        caller: (&Global, Lookup<'_>),
        out: &mut Output,
    ) -> Result<(), Failure> {
        loop {
            let doubtful = self.tell(told, out).await;
            if self.grant.expires_at.since(Clock::System.wall()).is_zero() {
                return self.ended(out);
            }
            self.ask(out).await;
            if self.grant.state != GrantState::Active {
                return self.ended(out);
            }
            self.renew(caller, out).await;
            if doubtful {
                // What was refused may be refused again: not every refusal is worth a question at once.
                tokio::time::sleep(Duration::from_millis(DOUBT_MS)).await;
            }
        }
    }

    /// Until it is time to ask; true, where a refusal made it so.
    async fn tell(&self, told: &mut mpsc::Receiver<Event>, out: &mut Output) -> bool {
        let left = self.grant.expires_at.since(Clock::System.wall());
        let until = Instant::now() + left.min(Duration::from_millis(ASK_MS));
        while let Ok(Some(event)) = timeout_at(until, told.recv()).await {
            let own = event.own.map(|code| format!(" {code}")).unwrap_or_default();
            let why = event.why.map(|why| format!(": {why}")).unwrap_or_default();
            out.note(&format!("{} {} {}{own}{why}", event.method, event.path, event.status));
            if event.doubtful {
                return true;
            }
        }
        false
    }

    async fn ask(&mut self, out: &mut Output) {
        match self.api.grant(&self.grant.id).await {
            Ok(grant) => {
                self.grant = grant;
                self.unreachable = false;
            }
            Err(error) => self.unanswered(&error, out),
        }
    }

    fn unanswered(&mut self, error: &ApiError, out: &mut Output) {
        if !std::mem::replace(&mut self.unreachable, true) {
            let until = clock_time(self.grant.expires_at);
            out.warn(&format!(
                "{}: whether the grant was revoked is not known; it goes on until {until}",
                error_chain(error)
            ));
        }
    }

    /// Access tokens live for minutes: a newer one takes the old one's place.
    async fn renew(&mut self, (global, env): (&Global, Lookup<'_>), out: &mut Output) {
        let Some(identity) = self.identity.as_ref().filter(|_| Instant::now() >= self.renews_at) else { return };
        let asked = session::identity_token(&self.api, (global, env), &self.grant.service);
        // Whoever would have to sign in anew may take long, and the end of the grant is not to be missed.
        let Ok(Ok(token)) = tokio::time::timeout(Duration::from_millis(RENEW_MS_MAX), asked).await else {
            self.renews_at = Instant::now() + Duration::from_millis(RENEW_AGAIN_MS);
            out.warn("your access token can't be renewed at the moment: sign in anew with breakglass login");
            return;
        };
        identity.send_if_modified(|current| {
            let newer = current.as_ref() != Some(&token);
            *current = Some(token);
            newer
        });
    }

    /// Running out is the end that was agreed on; being revoked is not.
    fn ended(&self, out: &mut Output) -> Result<(), Failure> {
        let failure = held::ended(&self.grant);
        if self.grant.state == GrantState::Revoked {
            return Err(failure);
        }
        out.note(&format!("{}: the proxy ends", failure.message));
        Ok(())
    }
}
