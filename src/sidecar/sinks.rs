//! Beside the path: the log's durable lines handed on to sinks, each by a task of its own from a place of its own.
//!
//! Nothing here is on a request's path, and nothing here can hold up the log's writer: a sink that takes nothing leaves its
//! lines where they are. Once the log is closed each has a moment for the last lines; what it does not take then, the next
//! start hands on.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::audit_log::AuditLog;
use super::audit_log::follow::{Batch, BatchLimits, Behind, FollowError, Follower, Line, ReaderName};
use super::shared::Shared;
use super::start::StartError;
use crate::clock::Clock;
use crate::config::sidecar::SidecarConfig;
use crate::config::sinks::{SinkConfig, SinkName};
use crate::drain::Drain;
use crate::error_chain::error_chain;
use crate::sink::delivery::{Delivery, Pause};
use crate::sink::{Outlet, Record, Report, Sender, Severity};

/// For the last lines, after the log is closed.
const LAST_MAX: Duration = Duration::from_secs(2);
/// How often it is looked how much waits.
const MEASURE: Duration = Duration::from_secs(5);
/// Greatest pause before the audit folder is tried again.
const SOURCE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// All sinks, as metrics see them.
#[derive(Debug, Default)]
pub struct Sinks(Vec<View>);

/// One of them.
#[derive(Debug, Clone)]
pub struct View {
    pub name: SinkName,
    pub kind: &'static str,
    pub reader: ReaderName,
    pub report: Arc<Report>,
    required: bool,
}

/// One sink that is still to be set to work.
#[derive(Debug)]
pub(super) struct Handler {
    reader: ReaderName,
    limits: BatchLimits,
    delivery: Delivery,
    report: Arc<Report>,
}

/// Reads what the sinks need, before anything is served.
pub(super) fn prepare(config: &SidecarConfig, clock: &Clock) -> Result<(Sinks, Vec<Handler>), StartError> {
    let sender = Sender { program: "breakglass-sidecar", instance: config.instance.as_str().to_owned() };
    let (mut views, mut handlers) = (Vec::new(), Vec::new());
    for sink in &config.audit.sinks {
        let required = config.audit.required.contains(&sink.name);
        let failed = |source| StartError::Sink { name: sink.name.clone(), source };
        let outlet = Outlet::new(sink, &sender, clock, required).map_err(failed)?;
        // A sink's name is short enough for it.
        let Ok(reader) = format!("sink-{}", sink.name).parse::<ReaderName>() else { continue };
        let report = Arc::new(Report::default());
        handlers.push(handler(sink, outlet, &reader, &report));
        views.push(View { name: sink.name.clone(), kind: sink.outlet.kind(), reader, report, required });
    }
    Ok((Sinks(views), handlers))
}

fn handler(sink: &SinkConfig, outlet: Outlet, reader: &ReaderName, report: &Arc<Report>) -> Handler {
    let limits = BatchLimits { lines_max: sink.batch_lines_max, bytes_max: sink.batch_bytes_max, is_one_run: false };
    let delivery = Delivery::new(sink, outlet, Arc::clone(report));
    Handler { reader: reader.clone(), limits, delivery, report: Arc::clone(report) }
}

impl Sinks {
    pub fn all(&self) -> &[View] {
        &self.0
    }

    /// From now on no segment goes that a sink still needs, and overrides wait for those that must have their intents.
    pub(super) fn make_known(&self, audit: &AuditLog) {
        for view in &self.0 {
            audit.readers().expect(&view.reader);
        }
        let required = self.0.iter().filter(|view| view.required);
        audit.require(required.filter_map(|view| audit.readers().settled(&view.reader)).collect());
    }
}

/// Sets all to work, until the log has `ended`.
pub(super) fn spawn(
    background: &Handle,
    shared: &Arc<Shared>,
    handlers: Vec<Handler>,
    ended: &Drain,
) -> Vec<JoinHandle<()>> {
    if !handlers.is_empty() {
        background.spawn(measure(Arc::clone(shared), ended.clone()));
    }
    let run = |handler: Handler| background.spawn(handler.run(shared.audit.clone(), ended.clone()));
    handlers.into_iter().map(run).collect()
}

impl Handler {
    async fn run(mut self, audit: AuditLog, ended: Drain) {
        let Some(mut follower) = self.begin(&audit, &ended).await else { return };
        let mut pause = Pause::new(SOURCE_PAUSE_MAX);
        loop {
            let next = tokio::select! {
                next = follower.next(self.limits) => next,
                () = ended.begun() => break,
            };
            // What is under way may end: given up between the two, it would be handed on twice.
            let handed_on = match next {
                Ok(batch) => tokio::select! {
                    handed_on = self.hand_on(&mut follower, &batch) => handed_on,
                    () = over(&ended) => break,
                },
                Err(error) => Err(error),
            };
            match handed_on {
                Ok(()) => pause = Pause::new(SOURCE_PAUSE_MAX),
                Err(FollowError::Ended) => return,
                Err(error) => {
                    self.source_failed(&error);
                    follower.go_back();
                    tokio::select! {
                        () = tokio::time::sleep(pause.after(None)) => {}
                        () = ended.begun() => break,
                    }
                }
            }
        }
        follower.go_back();
        let _rest_waits = tokio::time::timeout(LAST_MAX, self.hand_on_the_last(&mut follower)).await;
    }

    /// The reader, once no process before this one is it any more.
    async fn begin(&self, audit: &AuditLog, ended: &Drain) -> Option<Follower> {
        let mut pause = Pause::new(Duration::from_secs(1));
        loop {
            match audit.follow(self.reader.clone()).await {
                Ok(follower) => return Some(follower),
                Err(FollowError::Busy) => {}
                Err(error) => self.source_failed(&error),
            }
            tokio::select! {
                () = tokio::time::sleep(pause.after(None)) => {}
                () = ended.begun() => return None,
            }
        }
    }

    async fn hand_on(&mut self, follower: &mut Follower, batch: &Batch) -> Result<(), FollowError> {
        let records = self.records(batch);
        self.delivery.deliver(&records).await;
        self.settle(follower, batch).await
    }

    async fn hand_on_the_last(&mut self, follower: &mut Follower) {
        while let Ok(Some(batch)) = follower.next_now(self.limits).await {
            let records = self.records(&batch);
            let taken = self.delivery.try_once(&records).await;
            if taken.is_err() || self.settle(follower, &batch).await.is_err() {
                return;
            }
        }
    }

    async fn settle(&self, follower: &mut Follower, batch: &Batch) -> Result<(), FollowError> {
        self.report.passed_over(batch.unreadable);
        follower.settle(batch).await
    }

    fn records(&self, batch: &Batch) -> Vec<Record> {
        let gap = batch.lines.iter().find(|line| !line.follows);
        if gap.is_some() || batch.unreadable > 0 {
            let place = gap.map(|line| format!("{}-{}", line.position.log_id, line.position.sequence));
            let (reader, unreadable) = (self.reader.as_str(), batch.unreadable);
            tracing::error!(
                reader,
                unreadable,
                before = place,
                "the audit log has a gap; what follows it is handed on"
            );
        }
        batch.lines.iter().map(record).collect()
    }

    fn source_failed(&self, error: &FollowError) {
        self.report.source_failed();
        tracing::warn!(reader = self.reader.as_str(), error = %error_chain(error), "the audit log can't be handed on");
    }
}

/// Resolves when what is under way has had its time.
async fn over(ended: &Drain) {
    ended.begun().await;
    tokio::time::sleep(LAST_MAX).await;
}

/// A line that another version wrote may lack what envelopes repeat; it is handed on all the same.
fn record(line: &Line) -> Record {
    Record::of(line.text.clone()).unwrap_or_else(|| Record {
        text: line.text.clone(),
        uid: format!("{}-{}", line.position.log_id, line.position.sequence),
        kind: "unknown".to_owned(),
        severity: Severity::Informational,
        at: line.at,
    })
}

async fn measure(shared: Arc<Shared>, ended: Drain) {
    let mut tick = tokio::time::interval(MEASURE);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = ended.begun() => return,
        }
        let looked = Arc::clone(&shared);
        let _ended = spawn_blocking(move || measure_now(&looked)).await;
    }
}

fn measure_now(shared: &Shared) {
    for view in shared.sinks.all() {
        let Some(settled) = shared.audit.readers().settled(&view.reader) else { continue };
        let place = settled.borrow().clone();
        if let Ok(behind) = Behind::measure(shared.audit.folder(), &place) {
            view.report.set_behind_bytes(behind.bytes);
        }
    }
}
