//! The shipping task: read, bring, go on; and when the control plane says that lines are missing, from there again.
//!
//! It runs on the background runtime, and reads files on the threads that may block. What waits for it are only overrides
//! of a sidecar that is told to wait for the ledger.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::beside::Beside;
use super::bookmark;
use super::courier::{Courier, CourierError, Verdict};
use super::failure::ShipError;
use super::pruning::{Caretaker, Keep};
use super::reader::{Batch, LIMITS, Reader, Sought};
use crate::audit::Position;
use crate::config::shipping::ShippingConfig;
use crate::domain::InstanceName;
use crate::drain::Drain;
use crate::error_chain::error_chain;
use crate::sidecar::audit_log::follow::Bookmark;
use crate::sidecar::lineage;
use crate::sidecar::shared::Shared;
use crate::wire::audit::{LossCause, Shipment};

/// How often it is looked at what does not wake: what is settled, how much is spooled.
const TICK: Duration = Duration::from_secs(1);
/// How long lines gather before the next batch.
const GATHER: Duration = Duration::from_millis(500);
/// How often the bookmark is moved while batches follow each other.
const BOOKMARK_EVERY: Duration = Duration::from_millis(500);
/// How long what is left may take once the log is closed.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// A batch that is refused as it is is tried again no sooner.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// A folder without a name of its own: it was damaged before it had one.
const UNNAMED: &str = "unnamed";

/// What is shipped, and from where.
#[derive(Debug)]
pub(in crate::sidecar) struct Job {
    pub(in crate::sidecar) instance: InstanceName,
    pub(in crate::sidecar) folder: PathBuf,
    pub(in crate::sidecar) config: ShippingConfig,
    pub(in crate::sidecar) write_deadline: Duration,
}

/// Ships until the log is closed, and what is left then for a little while.
pub(in crate::sidecar) async fn run(shared: Arc<Shared>, job: Job, over: Drain) {
    let mut positions = shared.audit.positions();
    let begun = async { positions.wait_for(|position| position.sequence > 0).await.map(drop) };
    tokio::select! {
        begun = begun => if begun.is_err() { return },
        () = over.begun() => return,
    }
    let mut shipping = Shipping::new(shared, job, positions);
    tokio::select! {
        () = shipping.ship(&over) => {}
        () = async { over.begun().await; tokio::time::sleep(FLUSH_MAX).await } => {}
    }
    shipping.move_bookmark().await;
}

struct Shipping {
    shared: Arc<Shared>,
    job: Job,
    positions: watch::Receiver<Position>,
    courier: Courier,
    reader: Option<Reader>,
    /// Whether the reader knows where to go on.
    is_placed: bool,
    /// Read and not acknowledged.
    pending: Option<Batch>,
    /// The folder's own name. Read anew for each batch: an accepted loss begins a new one.
    lineage: Option<String>,
    /// Bytes that are still to be read.
    behind_bytes: u64,
    beside: Beside,
    arrived: Option<Bookmark>,
    bookmarked: Option<(Bookmark, Instant)>,
    caretaker: Caretaker,
    /// Lines of earlier logs that are still to be shipped.
    older_lines: u64,
    /// The last error that was told, so that an outage is told once.
    told: Option<String>,
}

/// What one round came to.
enum Round {
    Brought {
        bytes: usize,
        is_full: bool,
    },
    /// Something is known that was not before.
    Again,
    Nothing,
}

impl Shipping {
    fn new(shared: Arc<Shared>, job: Job, positions: watch::Receiver<Position>) -> Self {
        let keep = Keep { shipped_for: job.config.keep_shipped, bytes_max: job.config.keep_bytes_max };
        Self {
            caretaker: Caretaker::new(&job.folder, keep),
            beside: Beside::new(job.write_deadline.saturating_mul(2)),
            reader: Some(Reader::new(&job.folder)),
            shared,
            job,
            positions,
            courier: Courier::new(),
            is_placed: false,
            pending: None,
            lineage: None,
            behind_bytes: 0,
            arrived: None,
            bookmarked: None,
            older_lines: 0,
            told: None,
        }
    }

    /// Returns once the log is closed and nothing is left, or it can't be brought.
    async fn ship(&mut self, over: &Drain) {
        loop {
            if over.has_begun() && self.shared.ending.is_handed_over() {
                return;
            }
            let began = Instant::now();
            let pause = match self.round().await {
                Ok(Round::Brought { bytes, is_full }) => self.pace(bytes, is_full).saturating_sub(began.elapsed()),
                Ok(Round::Again) => Duration::ZERO,
                Ok(Round::Nothing) if over.has_begun() => return,
                Ok(Round::Nothing) => {
                    self.move_bookmark().await;
                    if let Some(arrived) = &self.arrived {
                        // What a sink has not taken is needed, too.
                        let floor = self.shared.audit.readers().floor().unwrap_or(u64::MAX);
                        self.caretaker.look(&self.shared, arrived.segment_number().min(floor)).await;
                    }
                    tokio::select! {
                        changed = self.positions.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(TICK) => {}
                        () = over.begun() => {}
                    }
                    Duration::ZERO
                }
                Err(_) if over.has_begun() => return,
                Err(error) => self.failed(&error),
            };
            self.rest(pause, over).await;
        }
    }

    /// Waits, and keeps count of what is spooled meanwhile.
    async fn rest(&mut self, pause: Duration, over: &Drain) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !over.has_begun() {
            tokio::select! {
                () = tokio::time::sleep_until(until.min(Instant::now() + TICK)) => {}
                () = over.begun() => {}
            }
            // What can't be looked at now is looked at again.
            let _looked = self.look(None).await;
        }
    }

    /// A full batch means that there is more: then no faster than is allowed, so that live traffic is not hurt. Else lines
    /// gather, where no override waits for them: each batch takes the one writer's turn, and others need it.
    fn pace(&self, bytes: usize, is_full: bool) -> Duration {
        if !is_full {
            return if self.job.config.ledger_required { Duration::ZERO } else { GATHER };
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Duration::from_millis(bytes.saturating_mul(1000) / self.job.config.bytes_per_s_max.max(1))
    }

    async fn round(&mut self) -> Result<Round, ShipError> {
        if !self.is_placed {
            self.place().await?;
        }
        let durable = *self.positions.borrow_and_update();
        self.beside.look(&self.shared, durable);
        self.look(self.pending.is_none().then_some(durable)).await?;
        if let Some(arrived) = self.arrived.as_ref().and_then(Bookmark::position) {
            self.beside.arrived(arrived);
        }
        let Some(batch) = self.pending.clone() else { return self.settle().await };
        let body = self.body(batch.lost, &batch.bytes)?;
        match self.bring(body).await? {
            Verdict::Arrived(Some(position)) if position == batch.position => {
                self.arrive(&batch).await;
                Ok(Round::Brought { bytes: batch.bytes.len(), is_full: batch.is_full })
            }
            Verdict::Arrived(_) => Err(ShipError::Astray),
            Verdict::Gap(known) => {
                self.pending = None;
                self.go_on_after(known).await?;
                self.count_older().await?;
                Ok(Round::Again)
            }
        }
    }

    /// Nothing is left: says so, where somebody waits for that.
    async fn settle(&mut self) -> Result<Round, ShipError> {
        self.shared.shipped.set_oldest(None);
        if !self.beside.is_due() {
            return Ok(Round::Nothing);
        }
        let body = self.body(None, &[])?;
        self.bring(body).await?;
        self.beside.told(&self.shared);
        Ok(Round::Again)
    }

    async fn arrive(&mut self, batch: &Batch) {
        let (shared, position) = (&self.shared, batch.position);
        self.pending = None;
        self.arrived = Some(batch.end.clone());
        self.older_lines = self.older_lines.saturating_sub(batch.older_lines);
        self.beside.told(&self.shared);
        shared.shipped.lines.fetch_add(batch.lines, Ordering::Relaxed);
        let bytes = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        shared.shipped.bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.audit.set_arrived(position);
        if batch.lost.is_some() {
            shared.shipped.losses.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                sequence = position.sequence,
                "audit lines before these could not be shipped; the ledger says so"
            );
        }
        if self.bookmarked.as_ref().is_none_or(|(_, at)| at.elapsed() >= BOOKMARK_EVERY) {
            self.move_bookmark().await;
        }
    }

    /// Finds out where to go on: by the bookmark, or by asking.
    async fn place(&mut self) -> Result<(), ShipError> {
        let folder = self.job.folder.clone();
        let resumed = self.reading(move |reader| bookmark::read(&folder).filter(|bookmark| reader.resume(bookmark)));
        if let Some(bookmark) = resumed.await? {
            if let Some(position) = bookmark.position() {
                self.shared.audit.set_arrived(*position);
            }
            self.arrived = Some(bookmark);
        } else {
            self.look(None).await?;
            let body = self.body(None, &[])?;
            match self.bring(body).await? {
                Verdict::Arrived(None) => self.reading(|reader| reader.rewind(None)).await?,
                Verdict::Arrived(known) | Verdict::Gap(known) => self.go_on_after(known).await?,
            }
        }
        self.is_placed = true;
        self.count_older().await
    }

    async fn go_on_after(&mut self, known: Option<Position>) -> Result<(), ShipError> {
        let sought = match known {
            Some(known) => self.reading(move |reader| reader.seek(&known)).await??,
            None => {
                self.reading(|reader| reader.rewind(Some(LossCause::Missing))).await?;
                Sought::NotFound
            }
        };
        tracing::warn!(
            found = sought == Sought::Found,
            "the ledger's last line of this sidecar is another one; shipping goes on from there"
        );
        Ok(())
    }

    async fn count_older(&mut self) -> Result<(), ShipError> {
        let durable = *self.positions.borrow();
        self.older_lines = self.reading(move |reader| reader.older_lines(&durable)).await??;
        Ok(())
    }

    async fn bring(&mut self, body: Bytes) -> Result<Verdict, CourierError> {
        let verdict = self.courier.bring(&self.shared.setup(), body).await;
        let result = match &verdict {
            Ok(Verdict::Arrived(_)) => "arrived",
            Ok(Verdict::Gap(_)) => "gap",
            Err(CourierError::Busy(_)) => "busy",
            Err(CourierError::Refused { .. }) => "refused",
            Err(_) => "unreached",
        };
        self.shared.shipped.count_attempt(result);
        self.shared.audit.set_ledger_reachable(verdict.is_ok());
        if verdict.is_ok() && self.told.take().is_some() {
            tracing::info!("audit lines are shipped again");
        }
        verdict
    }

    fn body(&mut self, lost: Option<LossCause>, lines: &[u8]) -> Result<Bytes, ShipError> {
        let lineage = self.lineage.clone().unwrap_or_else(|| UNNAMED.to_owned());
        let (settled, signed) = self.beside.say(&self.shared, *self.positions.borrow());
        let shipment = Shipment { instance: self.job.instance.clone(), lineage, lost, settled, signed };
        let mut body = serde_json::to_vec(&shipment)?;
        body.push(b'\n');
        body.extend_from_slice(lines);
        Ok(body.into())
    }

    /// All that a batch wants of the disk: what is durable up to `wanted`, how much is left after it, the folder's name.
    async fn look(&mut self, wanted: Option<Position>) -> Result<(), ShipError> {
        let folder = self.job.folder.clone();
        let (read, behind, lineage) = self
            .reading(move |reader| {
                let read = wanted.map(|durable| reader.read(&durable, LIMITS));
                (read.transpose().map(Option::flatten), reader.behind_bytes(), lineage::read(&folder))
            })
            .await?;
        // What was read is kept, whatever else fails: it is not read again.
        if wanted.is_some() {
            self.pending = read?;
        }
        self.behind_bytes = behind?;
        self.lineage = lineage?;
        self.tell();
        Ok(())
    }

    /// How long to wait. What is wrong is told once, until something else is.
    fn failed(&mut self, error: &ShipError) -> Duration {
        let chain = error_chain(error).to_string();
        if self.told.as_ref() != Some(&chain) {
            tracing::warn!(error = chain, "audit lines are not shipped for now; they are kept");
            self.told = Some(chain);
        }
        match error {
            ShipError::Courier(CourierError::Refused { .. }) => REFUSED_PAUSE,
            ShipError::Courier(error) => self.courier.pause(&self.shared.setup(), error),
            ShipError::Segments(_)
            | ShipError::Folder(_)
            | ShipError::Astray
            | ShipError::Header(_)
            | ShipError::Cut => TICK,
        }
    }

    /// What telemetry shows.
    fn tell(&self) {
        let pending = self.pending.as_ref().map_or(0, |batch| u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX));
        let unshipped = self.behind_bytes.saturating_add(pending);
        let (durable, shipped) = (*self.positions.borrow(), &self.shared.shipped);
        let arrived = self.arrived.as_ref().and_then(Bookmark::position);
        let arrived = arrived.filter(|arrived| arrived.log_id == durable.log_id);
        let current = durable.sequence.saturating_sub(arrived.map_or(0, |arrived| arrived.sequence));
        shipped.unshipped_bytes.store(unshipped, Ordering::Relaxed);
        shipped.unshipped_lines.store(self.older_lines.saturating_add(current), Ordering::Relaxed);
        if let Some(batch) = &self.pending {
            shipped.set_oldest(Some(batch.first_at));
        }
        self.shared.audit.set_spool_full(unshipped >= self.job.config.spool_bytes_max);
    }

    async fn move_bookmark(&mut self) {
        let Some(arrived) = self.arrived.clone() else { return };
        if self.bookmarked.as_ref().is_some_and(|(bookmarked, _)| *bookmarked == arrived) {
            return;
        }
        let (folder, place) = (self.job.folder.clone(), arrived.clone());
        let left = tokio::task::spawn_blocking(move || bookmark::leave(&place, &folder)).await;
        match left.unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())) {
            Ok(()) => self.bookmarked = Some((arrived, Instant::now())),
            Err(error) => tracing::debug!(%error, "how far the audit log is shipped could not be written down"),
        }
    }

    /// Reads files where that may block.
    async fn reading<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reader) -> T + Send + 'static,
    ) -> Result<T, ShipError> {
        let Some(mut reader) = self.reader.take() else { return Err(ShipError::Cut) };
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut reader);
            (reader, result)
        });
        match done.await {
            Ok((reader, result)) => {
                self.reader = Some(reader);
                Ok(result)
            }
            Err(_) => {
                (self.reader, self.is_placed, self.pending) = (Some(Reader::new(&self.job.folder)), false, None);
                Err(ShipError::Cut)
            }
        }
    }
}
