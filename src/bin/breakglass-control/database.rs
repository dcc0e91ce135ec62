//! `check`, `backup` and `restore`: the database in an operator's hands.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use breakglass::clock::Clock;
use breakglass::config::ConfigError;
use breakglass::config::control::ControlConfig;
use breakglass::config::database::DatabaseConfig;
use breakglass::config::retention::held_verdicts;
use breakglass::control::{DatabaseLock, StartError};
use breakglass::store::check::CheckReport;
use breakglass::store::{BackupError, OpenError, Restored, Store, StoreError};
use clap::Subcommand;

use crate::erasures::{self, CopyError};

#[derive(Debug, Subcommand)]
pub(crate) enum DatabaseCommand {
    /// Check that the database holds together; reads only, also while it is in use. Exits 0 when it does, 7 when not
    Check,
    /// Copy the SQLite database into a new file, also while it is in use
    Backup {
        /// The file to make; must not exist
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Put a backup in place: a new epoch begins, everything is frozen, and every grant in it has ended
    Restore {
        /// The backup of a SQLite database. On PostgreSQL, restore with pg_restore first and name none
        #[arg(value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// After a restore: erase again what was erased since the backup, by what a copy of the log says
    EraseAgain {
        /// A copy of the ledger, as `breakglass audit verify --copy-to` writes it
        #[arg(value_name = "DIR")]
        copy: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseFailure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Lock(#[from] StartError),
    #[error("the answer could not be written")]
    Write(#[from] io::Error),
    #[error("{} exists: move it away first, it is not written over", .0.display())]
    Exists(PathBuf),
    #[error("{} could not be put in place", path.display())]
    Place { path: PathBuf, source: io::Error },
    #[error("name the backup to restore")]
    NothingNamed,
    #[error("the database is PostgreSQL: restore it with pg_restore, then run this without a file")]
    FileForPostgres,
    #[error("{0} other control planes have the database open: stop them first")]
    InUse(u64),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("something stands in the way of {0} erasures: put it right, and run this again")]
    Obstructed(u64),
    #[error("{0} findings: the database does not hold together")]
    Unsound(u64),
}

impl DatabaseFailure {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NothingNamed | Self::FileForPostgres => 2,
            Self::Unsound(_) => 7,
            Self::Open(_)
            | Self::Store(_)
            | Self::Backup(_)
            | Self::Lock(_)
            | Self::Write(_)
            | Self::Exists(_)
            | Self::Place { .. }
            | Self::Copy(_)
            | Self::Obstructed(_)
            | Self::InUse(_) => 1,
        }
    }
}

pub(crate) async fn run(config: &Path, command: DatabaseCommand) -> Result<(), DatabaseFailure> {
    let ControlConfig { database, retention, .. } = ControlConfig::load(config)?;
    match command {
        DatabaseCommand::Check => check(&database).await,
        DatabaseCommand::Backup { to } => {
            Store::open_to_read(&database, Clock::System).await?.back_up(&to).await?;
            Ok(writeln!(io::stdout(), "{}", to.display())?)
        }
        DatabaseCommand::Restore { from } => restore(&database, from).await,
        DatabaseCommand::EraseAgain { copy } => {
            let _lock = database.file().map(DatabaseLock::take).transpose()?;
            Box::pin(erasures::again(&database, &held_verdicts(retention.as_ref()), &copy)).await
        }
    }
}

async fn check(database: &DatabaseConfig) -> Result<(), DatabaseFailure> {
    let store = Store::open_to_read(database, Clock::System).await?;
    let report = store.check().await?;
    store.close().await;
    told(&report)?;
    match count(&report) {
        0 => Ok(()),
        findings => Err(DatabaseFailure::Unsound(findings)),
    }
}

fn count(report: &CheckReport) -> u64 {
    u64::try_from(report.findings.len()).unwrap_or(u64::MAX).saturating_add(report.untold)
}

fn told(report: &CheckReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in &report.findings {
        writeln!(out, "{}: {}", finding.place, finding.what)?;
    }
    if report.untold > 0 {
        writeln!(out, "… and {} more", report.untold)?;
    }
    let CheckReport { epoch, revision, entries, grants, ledger, .. } = report;
    let word = if report.is_sound() { "sound" } else { "NOT sound" };
    writeln!(
        out,
        "{word}: epoch {epoch}, revision {revision}, {entries} entries ({ledger} in the tree), {grants} grants"
    )
}

async fn restore(database: &DatabaseConfig, from: Option<PathBuf>) -> Result<(), DatabaseFailure> {
    let restored = match (database, from) {
        (DatabaseConfig::Sqlite(path), Some(from)) => {
            let _lock = DatabaseLock::take(path)?;
            put_in_place(&from, path).await?
        }
        (DatabaseConfig::Sqlite(_), None) => return Err(DatabaseFailure::NothingNamed),
        (DatabaseConfig::Postgres(_), Some(_)) => return Err(DatabaseFailure::FileForPostgres),
        (DatabaseConfig::Postgres(_), None) => begin_anew(database).await?,
    };
    writeln!(
        io::stdout(),
        "restored: epoch {}, everything frozen, {} grants ended; lift the freeze once the control plane is up",
        restored.epoch,
        restored.grants_ended
    )?;
    Ok(())
}

/// Checks the database, and makes of it what a restored one must be.
async fn begin_anew(database: &DatabaseConfig) -> Result<Restored, DatabaseFailure> {
    let store = Store::open_configured(database, Clock::System).await?;
    let others = store.others().await?;
    if others > 0 {
        return Err(DatabaseFailure::InUse(others));
    }
    let report = store.check().await?;
    if !report.is_sound() {
        told(&report)?;
        return Err(DatabaseFailure::Unsound(count(&report)));
    }
    let restored = store.mark_restored().await?;
    store.close().await;
    Ok(restored)
}

/// Copies a backup to where the database belongs, whole or not at all: it is made anew beside, then renamed.
async fn put_in_place(from: &Path, to: &Path) -> Result<Restored, DatabaseFailure> {
    for existing in [to.to_owned(), beside(to, "-wal"), beside(to, "-shm")] {
        if existing.exists() {
            return Err(DatabaseFailure::Exists(existing));
        }
    }
    let new = beside(to, ".restoring");
    for left_over in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm")] {
        remove(&left_over).map_err(|source| DatabaseFailure::Place { path: left_over, source })?;
    }
    let backup = Store::open_to_read(&DatabaseConfig::Sqlite(from.to_owned()), Clock::System).await?;
    backup.back_up(&new).await?;
    backup.close().await;
    let restored = begin_anew(&DatabaseConfig::Sqlite(new.clone())).await?;
    std::fs::rename(&new, to).map_err(|source| DatabaseFailure::Place { path: to.to_owned(), source })?;
    Ok(restored)
}

/// The file of the same name with `ending`: SQLite keeps its log so, and would take an old one for the new database's.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
