//! The control plane's entries handed on to sinks as OCSF events, each sink at its own pace, in order, at least once.
//!
//! Each sink's place is in the database; of the replicas that share it one at a time hands on to it. Nothing waits for a sink:
//! entries lie in the database until it has them. Must never: hold a transition up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::start::StartError;
use crate::clock::Clock;
use crate::config::control::ControlConfig;
use crate::config::sinks::{SinkConfig, SinkName};
use crate::domain::{GrantId, Resource};
use crate::error_chain::error_chain;
use crate::ledger::ocsf::{self, EndedGrant, Told};
use crate::sink::delivery::Delivery;
use crate::sink::{Outlet, Record, Report, Sender};
use crate::store::{Store, StoreError, ToldEntry};

/// How often it is looked for new entries.
const LOOK: Duration = Duration::from_millis(500);
/// How often a turn is renewed while a sink takes its time, and asked for while another replica has it.
const RENEW: Duration = Duration::from_secs(5);

/// One sink, as metrics see it.
#[derive(Debug, Clone)]
pub struct View {
    pub name: SinkName,
    pub kind: &'static str,
    pub report: Arc<Report>,
    /// Entries that it does not have; told by the replica whose turn it is.
    pub lag: Arc<AtomicU64>,
    pub is_ours: Arc<AtomicBool>,
}

/// One sink that is still to be set to work.
#[derive(Debug)]
pub(super) struct Teller {
    view: View,
    delivery: Delivery,
    batch_max: u32,
    instance: String,
}

/// Why entries are not handed on now.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("an entry is not what this version can tell")]
    Entry(#[source] serde_json::Error),
}

/// Reads what the sinks need, before anything is served.
pub(super) fn prepare(config: &ControlConfig, clock: &Clock) -> Result<Vec<Teller>, StartError> {
    let instance = config.instance.as_str().to_owned();
    let sender = Sender { program: "breakglass-control", instance: instance.clone() };
    let teller = |sink: &SinkConfig| {
        let failed = |source| StartError::Sink { name: sink.name.clone(), source };
        let outlet = Outlet::new(sink, &sender, clock, false).map_err(failed)?;
        let report = Arc::new(Report::default());
        let delivery = Delivery::new(sink, outlet, Arc::clone(&report));
        let (lag, is_ours) = (Arc::default(), Arc::default());
        let view = View { name: sink.name.clone(), kind: sink.outlet.kind(), report, lag, is_ours };
        let batch_max = u32::try_from(sink.batch_lines_max).unwrap_or(u32::MAX);
        Ok(Teller { view, delivery, batch_max, instance: instance.clone() })
    };
    config.sinks.iter().map(teller).collect()
}

impl Teller {
    pub(super) fn view(&self) -> View {
        self.view.clone()
    }
}

pub(super) fn spawn(tasks: &mut JoinSet<()>, tellers: Vec<Teller>, store: &Store, stopping: &watch::Receiver<bool>) {
    for teller in tellers {
        let (store, mut stopping) = (store.clone(), stopping.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = teller.run(&store) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        });
    }
}

impl Teller {
    async fn run(mut self, store: &Store) {
        loop {
            let told = self.turn(store).await;
            self.view.is_ours.store(false, Ordering::Relaxed);
            if let Err(error) = told {
                self.view.report.source_failed();
                let sink = self.view.name.as_str();
                tracing::warn!(sink, error = %error_chain(&error), "entries can't be handed on; it is tried again");
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    /// Hands on for as long as it is this replica's turn.
    async fn turn(&mut self, store: &Store) -> Result<(), TellError> {
        let name = self.view.name.to_string();
        while let Some(next) = store.sink_turn(&name).await? {
            self.view.is_ours.store(true, Ordering::Relaxed);
            self.view.lag.store(store.entries_from(next).await?, Ordering::Relaxed);
            let entries = store.told_entries(next, self.batch_max).await?;
            let Some(last) = entries.last().map(|told| told.entry.index) else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let records = self.records(store, &entries).await?;
            if !self.deliver(store, &name, &records).await? || !store.settle_sink(&name, last.saturating_add(1)).await?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// False where the turn was lost meanwhile.
    async fn deliver(&mut self, store: &Store, name: &str, records: &[Record]) -> Result<bool, StoreError> {
        let delivered = self.delivery.deliver(records);
        tokio::pin!(delivered);
        loop {
            tokio::select! {
                () = &mut delivered => return Ok(true),
                () = tokio::time::sleep(RENEW) => {}
            }
            match store.sink_turn(name).await? {
                Some(next) => self.view.lag.store(store.entries_from(next).await?, Ordering::Relaxed),
                None => return Ok(false),
            }
        }
    }

    async fn records(&self, store: &Store, entries: &[ToldEntry]) -> Result<Vec<Record>, TellError> {
        let mut records = Vec::with_capacity(entries.len());
        for told in entries {
            let grant = ended_grant(store, told).await?;
            let event = ocsf::event(&Told {
                index: told.entry.index,
                at: told.entry.at,
                kind: &told.entry.kind,
                canonical: &told.entry.canonical,
                values: &told.values,
                grant: grant.as_ref(),
                instance: &self.instance,
                version: env!("CARGO_PKG_VERSION"),
            })
            .map_err(TellError::Entry)?;
            records.extend(Record::of(event.into()));
        }
        Ok(records)
    }
}

/// Whose privileges end with the grant that the entry names.
async fn ended_grant(store: &Store, told: &ToldEntry) -> Result<Option<EndedGrant>, TellError> {
    if !matches!(told.entry.kind.as_str(), "grant_revoked" | "grant_expired" | "grant_used_up") {
        return Ok(None);
    }
    let entry: serde_json::Value = serde_json::from_str(&told.entry.canonical).map_err(TellError::Entry)?;
    let id = entry.pointer("/facts/grant").and_then(serde_json::Value::as_str);
    let Some(id) = id.and_then(|id| id.parse::<GrantId>().ok()) else { return Ok(None) };
    let record = store.grant(&id).await?;
    Ok(record.map(|record| EndedGrant {
        person: record.grant.person.as_str().to_owned(),
        role: record.grant.role.as_str().to_owned(),
        service: record.grant.service.as_str().to_owned(),
        resources: record.grant.scope.resources().iter().map(Resource::to_string).collect(),
    }))
}
