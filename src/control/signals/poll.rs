//! Events that are fetched (RFC 8936): one task a transmitter, which acknowledges what is durable, says what it does not
//! take, and backs off while the transmitter can't be reached.
//!
//! Each replica fetches. What two of them get is carried out once: the event's id is written with what it does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{Signals, Untaken, secret};
use crate::config::signals::{Delivery, PollConfig};
use crate::control::on_call::{CredentialError, FetchError, RetryTimes, jittered, sensitive};
use crate::control::workflow::Workflow;
use crate::error_chain::error_chain;
use crate::http::{Client, ClientTls, HttpError, Limits, Step, TlsError, TlsRoots};
use crate::wire::strict_json::{StrictJsonError, parse_object};

/// How long a transmitter may hold its answer back.
const LONG_MS_MAX: u64 = 60_000;
/// Between two long polls that brought nothing, so that one who answers at once is not asked without a pause.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Between two polls that brought something, so that one who sends the same for ever keeps nobody busy.
const EAGER_PAUSE: Duration = Duration::from_millis(20);
/// Sum of one answer's bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a poll brought nothing.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("the secret can't be used")]
    Secret(#[from] CredentialError),
    #[error("the transmitter can't be called")]
    Call(#[from] FetchError),
    #[error("the authorities can't be used")]
    Authorities(#[from] TlsError),
    #[error("the answer is not of RFC 8936")]
    Answer(#[from] StrictJsonError),
    #[error("the answer is not of RFC 8936: {0}")]
    Shape(&'static str),
    #[error("an event could not be carried out: it is fetched again")]
    Untaken,
}

/// What a poll says (§2.2).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    max_events: u32,
    return_immediately: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ack: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set_errs: &'a BTreeMap<String, SetFailure>,
}

#[derive(Debug, Serialize)]
struct SetFailure {
    err: &'static str,
    description: String,
}

/// What is to be said at the next poll.
#[derive(Debug, Default)]
struct Settled {
    ack: Vec<String>,
    failed: BTreeMap<String, SetFailure>,
}

impl Settled {
    fn is_empty(&self) -> bool {
        self.ack.is_empty() && self.failed.is_empty()
    }
}

/// One transmitter that is asked.
struct Poller {
    signals: Signals,
    workflow: Arc<Workflow>,
    position: usize,
    config: PollConfig,
    client: Client,
    settled: Settled,
}

impl Signals {
    /// Asks every transmitter that is to be asked, until `stop` turns true.
    pub async fn poll_all(self, workflow: Arc<Workflow>, tls: Option<ClientTls>, stop: watch::Receiver<bool>) {
        let mut tasks = tokio::task::JoinSet::new();
        for (position, config) in self.configs().iter().enumerate() {
            let Delivery::Poll(poll) = &config.delivery else { continue };
            let name = config.name.clone();
            let client = match client(tls.clone(), config.transmitter.ca.as_deref(), poll) {
                Ok(client) => client,
                Err(error) => {
                    tracing::error!(transmitter = %name, error = %error_chain(&error), "it is not asked for signals");
                    continue;
                }
            };
            let (signals, workflow) = (self.clone(), Arc::clone(&workflow));
            let config = poll.clone();
            let poller = Poller { signals, workflow, position, config, client, settled: Settled::default() };
            tasks.spawn(poller.run(stop.clone()));
        }
        let mut stop = stop;
        // Without a transmitter to ask the end is awaited all the same.
        let _ = stop.wait_for(|stop| *stop).await;
        while tasks.join_next().await.is_some() {}
    }
}

fn client(tls: Option<ClientTls>, ca: Option<&std::path::Path>, poll: &PollConfig) -> Result<Client, TlsError> {
    let own = ca.map(|path| ClientTls::new(TlsRoots::from_pem_files([path])?, None)).transpose()?;
    let held = if poll.long { LONG_MS_MAX } else { 0 };
    let limits = Limits {
        response_ms_max: Limits::DEFAULT.response_ms_max + held,
        total_ms_max: Limits::DEFAULT.total_ms_max + held,
        body_bytes_max: ANSWER_BYTES_MAX,
        ..Limits::DEFAULT
    };
    Ok(Client::new(own.or(tls), limits))
}

impl Poller {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failed = 0_u32;
        loop {
            let polled = tokio::select! {
                polled = self.poll(!self.config.long) => polled,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let pause = match &polled {
                Ok(more) => {
                    failed = 0;
                    self.pause(*more)
                }
                Err(error) => {
                    failed = failed.saturating_add(1);
                    self.tell(error);
                    RetryTimes::DEFAULT.pause(failed, error.retry_after())
                }
            };
            self.workflow.metrics.show_poll(self.name(), polled.is_ok(), self.workflow.clock.wall());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.say_goodbye().await;
    }

    fn name(&self) -> &str {
        self.signals.configs().get(self.position).map_or("", |config| config.name.as_str())
    }

    /// At once where there is more, or something to be acknowledged.
    fn pause(&self, more: bool) -> Duration {
        match (more || !self.settled.is_empty(), self.config.long) {
            (true, _) => EAGER_PAUSE,
            (false, true) => LONG_PAUSE,
            (false, false) => jittered(self.config.every),
        }
    }

    fn tell(&self, error: &PollError) {
        tracing::warn!(transmitter = self.name(), error = %error_chain(error), "no signals can be fetched; tried again");
    }

    /// What was done is acknowledged before the end, so that it need not be sent again (§2.4.2).
    async fn say_goodbye(&mut self) {
        if self.settled.is_empty() {
            return;
        }
        let settled = std::mem::take(&mut self.settled);
        let asked = Asked { max_events: 0, return_immediately: true, ack: &settled.ack, set_errs: &settled.failed };
        if let Err(error) = tokio::time::timeout(Duration::from_secs(2), self.ask(&asked)).await {
            tracing::info!(transmitter = self.name(), %error, "the last signals are not acknowledged: they come again");
        }
    }

    /// Asks once and carries out what comes. Answers whether there is more.
    async fn poll(&mut self, return_immediately: bool) -> Result<bool, PollError> {
        let settled = &self.settled;
        let asked = Asked {
            max_events: self.config.events_max,
            // Whoever has something to acknowledge is not to be kept waiting for it to be heard.
            return_immediately: return_immediately || !settled.is_empty(),
            ack: &settled.ack,
            set_errs: &settled.failed,
        };
        let Some(answer) = self.ask(&asked).await? else { return Ok(false) };
        // It was heard.
        self.settled = Settled::default();
        let sets = match answer.get("sets") {
            Some(Value::Object(sets)) => sets,
            None => return Err(PollError::Shape("there is no \"sets\"")),
            Some(_) => return Err(PollError::Shape("\"sets\" is not an object")),
        };
        let mut untaken = false;
        for (id, token) in sets {
            untaken |= !self.take(id, token).await;
        }
        if untaken {
            return Err(PollError::Untaken);
        }
        Ok(answer.get("moreAvailable").and_then(Value::as_bool).unwrap_or(false))
    }

    /// Carries one out. False: nothing can be said of it yet, so nothing is.
    async fn take(&mut self, id: &str, token: &Value) -> bool {
        let taken = match token.as_str() {
            Some(token) => self.signals.take(&self.workflow, self.position, token.trim_ascii()).await,
            None => Err(crate::identity::signals::SetError::Claim("sets").into()),
        };
        match taken {
            Ok(event) if event.id == id => self.settled.ack.push(id.to_owned()),
            Ok(_) => self.fail(id, "invalid_request", "it stands under another id than its jti".to_owned()),
            Err(Untaken::Invalid(error)) => self.fail(id, error.code(), error.to_string()),
            Err(Untaken::Keys | Untaken::Store(_)) => return false,
        }
        true
    }

    fn fail(&mut self, id: &str, err: &'static str, description: String) {
        self.settled.failed.insert(id.to_owned(), SetFailure { err, description });
    }

    /// One call. `None`: a long poll that brought nothing in time.
    async fn ask(&self, asked: &Asked<'_>) -> Result<Option<Map<String, Value>>, PollError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        if let Some(secret) = secret(self.config.token_file.as_deref()).await? {
            headers.insert(header::AUTHORIZATION, sensitive(&format!("Bearer {}", secret.expose()))?);
        }
        let body = serde_json::to_vec(asked).map_err(|_| PollError::Shape("what is to be said can't be written"))?;
        let answer = self.client.send(Method::POST, &self.config.url, headers, body.into()).await;
        match answer.and_then(crate::http::Answer::successful) {
            Ok(answer) => Ok(Some(parse_object(&answer.body)?)),
            Err(HttpError::TimedOut { step: Step::Response | Step::Total, .. }) if !asked.return_immediately => {
                Ok(None)
            }
            Err(error) => Err(FetchError::from(error).into()),
        }
    }
}

impl PollError {
    /// How long the transmitter wants to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        if let Self::Call(error) = self { error.retry_after() } else { None }
    }
}
