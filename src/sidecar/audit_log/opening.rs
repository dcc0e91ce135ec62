//! From a folder to a log that takes overrides: waiting for the folder, for the first lines to be durable, and, where it
//! is damaged, for an operator.
//!
//! INVARIANT: lineage and recovered uses are told only once an override can be recorded: until then nobody may allot a
//! use to this folder. INVARIANT: an accepted loss is a durable line before the lineage changes and before the damage is
//! struck off, so that a process that dies in between finds the damage again, and the operator's word with it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::acknowledgement::{self, Acknowledgement};
use super::damage::{self, Damage};
use super::queue::Shared;
use super::recovery::{Begun, OpenError, Recovery, begin as begin_log};
use super::storage::{FolderStorage, Storage};
use super::writer::Writer;
use crate::audit::{Event, LogIdentity};
use crate::error_chain::error_chain;
use crate::sidecar::lineage;

/// How often a folder that another process holds is tried.
const LOCK_LOOK: Duration = Duration::from_millis(20);
/// How often a folder that cannot be opened is tried.
const ERROR_LOOK: Duration = Duration::from_secs(1);

/// A log that takes overrides.
#[derive(Debug, Clone)]
pub struct Opened {
    pub recovery: Arc<Recovery>,
    /// The name under which shares of uses are held.
    pub lineage: String,
}

/// What is known of a log that does not take overrides yet.
#[derive(Debug)]
pub(super) struct Unopened {
    recovery: Recovery,
    lineage: Option<String>,
    /// The acceptance is a durable line, and so is the new name.
    is_recorded: bool,
    is_renamed: bool,
    /// An acceptance of something else was told of.
    has_told_other: bool,
    has_told_error: bool,
}

/// Starts the log's thread.
pub(super) fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("audit-log".to_owned()).spawn(run).map(drop)
}

/// Begins a log in a folder that is locked, and opens it if nothing stands in the way.
pub(super) fn begin(
    shared: &Arc<Shared>,
    identity: LogIdentity,
    storage: Box<dyn Storage>,
) -> Result<(Writer, Recovery), OpenError> {
    let Begun { journal, recovery, lineage, unavailable } =
        begin_log(&shared.config, identity, &shared.clock, storage)?;
    shared.position.send_replace(journal.position());
    shared.set_fault(unavailable);
    shared.metrics.count_start(recovery.orphans.len());
    if recovery.damage.is_some() {
        shared.set_damaged();
    }
    let unopened = Unopened {
        recovery: recovery.clone(),
        lineage,
        is_recorded: false,
        is_renamed: false,
        has_told_other: false,
        has_told_error: false,
    };
    let mut writer = Writer::new(Arc::clone(shared), journal, unopened);
    writer.try_open();
    Ok((writer, recovery))
}

/// Opens the folder, once it is free where it is not locked yet, then writes it until the log is closed.
pub(super) fn wait_and_run(
    shared: &Arc<Shared>,
    identity: &LogIdentity,
    mut locked: Option<FolderStorage>,
    begun: &SyncSender<()>,
) {
    let mut has_told = false;
    while locked.is_some() || !shared.is_closing() {
        let storage = locked.take().map_or_else(|| FolderStorage::open(&shared.config.directory), Ok);
        let opened = storage.and_then(|storage| begin(shared, identity.clone(), Box::new(storage)));
        let _nobody_waits = begun.try_send(());
        let pause = match opened {
            Ok((writer, _)) => return writer.run(),
            Err(OpenError::Locked(_)) => LOCK_LOOK,
            Err(error) => {
                if !std::mem::replace(&mut has_told, true) {
                    tracing::error!(error = %error_chain(&error), "the audit log can't be opened; overrides are refused");
                }
                ERROR_LOOK
            }
        };
        // Nothing is queued before the log is open; what comes is refused or counted at once.
        drop(shared.take_refusable(pause));
    }
    shared.end_close(false);
}

impl Writer {
    /// Opens the log for overrides, if nothing stands in the way any more.
    pub(super) fn try_open(&mut self) {
        if self.journal.has_failed() {
            return;
        }
        let Some(mut unopened) = self.unopened.take() else { return };
        match self.open(&mut unopened) {
            Ok(true) => {}
            Ok(false) => self.unopened = Some(unopened),
            Err(error) => {
                if !std::mem::replace(&mut unopened.has_told_error, true) {
                    tracing::error!(%error, "the audit log's folder can't be written; overrides are refused");
                }
                self.shared.metrics.count_storage_error();
                self.unopened = Some(unopened);
            }
        }
    }

    /// Whether it is open now.
    fn open(&mut self, unopened: &mut Unopened) -> io::Result<bool> {
        if let Some(damage) = unopened.recovery.damage.clone() {
            let Some(given) = self.acknowledgement(&damage, unopened)? else { return Ok(false) };
            unopened.is_recorded = unopened.is_recorded || self.record(&given, &damage);
            if !unopened.is_recorded {
                return Ok(false);
            }
            if !unopened.is_renamed {
                unopened.lineage = Some(self.begin_lineage(&mut unopened.recovery)?);
                unopened.is_renamed = true;
            }
            // First what says that there is damage: an acceptance of nothing does no harm.
            self.journal.storage().take_away(damage::FILE)?;
            tracing::warn!(by = %given.by, digest = %given.digest, "a loss of the audit log was accepted");
        }
        let lineage = match unopened.lineage.take() {
            Some(lineage) => lineage,
            None => self.begin_lineage(&mut unopened.recovery)?,
        };
        // One that is left covers no other damage.
        let _stays = self.journal.storage().take_away(acknowledgement::FILE);
        self.shared.set_open(Opened { recovery: Arc::new(std::mem::take(&mut unopened.recovery)), lineage });
        Ok(true)
    }

    /// The operator's word for this very damage.
    fn acknowledgement(&self, damage: &Damage, unopened: &mut Unopened) -> io::Result<Option<Acknowledgement>> {
        let found = Acknowledgement::read(&self.shared.config.directory)?;
        let Some(given) = found else { return Ok(None) };
        if given.covers(damage) {
            return Ok(Some(given));
        }
        if !std::mem::replace(&mut unopened.has_told_other, true) {
            tracing::error!(digest = %damage.digest(), accepted = %given.digest, "another damage was accepted than this");
        }
        Ok(None)
    }

    /// Makes the acceptance durable in the log.
    fn record(&mut self, given: &Acknowledgement, damage: &Damage) -> bool {
        let loss = given.record(damage);
        let is_taken = self.extra(&Event::LossAccepted { loss: &loss, at: self.shared.clock.wall() });
        self.commit();
        is_taken && !self.journal.has_failed()
    }

    /// A new name: what was allotted under another one is forfeited, and what was spent counts there.
    fn begin_lineage(&mut self, recovery: &mut Recovery) -> io::Result<String> {
        let fresh = lineage::fresh();
        self.journal.storage().put(lineage::FILE, format!("{fresh}\n").as_bytes())?;
        recovery.spent.clear();
        Ok(fresh)
    }
}
