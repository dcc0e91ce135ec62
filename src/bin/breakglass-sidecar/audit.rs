//! `audit status` and `audit accept-loss`: what stands in the audit folder, and an operator's word that a loss is
//! accepted. Both work beside a running sidecar: they read, and the second leaves one file for the sidecar to find.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use breakglass::audit::{AcceptedLoss, FolderError, Position};
use breakglass::clock::Clock;
use breakglass::config::ConfigError;
use breakglass::config::sidecar::SidecarConfig;
use breakglass::sidecar::audit_log::{
    Acknowledgement, Damage, Head, HeadFound, Inspection, WordsError, inspect, is_locked, is_on_record,
};
use clap::{Args, Subcommand};
use serde::Serialize;

/// How long a running sidecar may take to notice.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A log that grows while it is read is read again before anything bad is said of it.
const LOOKS_MAX: u32 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Say what stands in the audit folder; exits 0 when it is sound, 1 when it is damaged
    Status {
        #[command(flatten)]
        place: Place,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Accept that a part of the audit log is lost or not what was written, so that overrides work again
    AcceptLoss {
        #[command(flatten)]
        place: Place,
        /// Who accepts it; default: whoever runs this, by the system's name
        #[arg(long, value_name = "WHO")]
        by: Option<String>,
        /// Why, for whoever reads the log later
        #[arg(long, value_name = "TEXT", default_value = "no reason given")]
        reason: String,
        /// Do not ask; without a terminal nothing is asked anyway
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The audit folder, instead of the one that the sidecar's file names
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditFailure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the audit folder can't be read")]
    Folder(#[from] FolderError),
    #[error("{0} is no folder")]
    NoFolder(PathBuf),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the answer could not be written")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Words(#[from] WordsError),
    #[error("there is nothing to accept: the log is sound")]
    Sound,
    #[error("a sidecar writes this folder and has not found this damage; it will at its next start: accept it then")]
    NotFoundYet,
    #[error("not accepted")]
    Declined,
}

impl AuditFailure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Words(_) => ExitCode::from(2),
            Self::Folder(_)
            | Self::NoFolder(_)
            | Self::Io(_)
            | Self::Json(_)
            | Self::Sound
            | Self::NotFoundYet
            | Self::Declined => ExitCode::FAILURE,
        }
    }
}

pub(crate) fn run(config: &Path, command: AuditCommand) -> Result<ExitCode, AuditFailure> {
    match command {
        AuditCommand::Status { place, json } => {
            let status = Status::of(&place.folder(config)?)?;
            let text = if json { serde_json::to_string_pretty(&status)? } else { status.text() };
            say(&text)?;
            Ok(if status.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        AuditCommand::AcceptLoss { place, by, reason, yes } => {
            let by = by.map_or_else(caller, Ok)?;
            accept_loss(&place.folder(config)?, &by, &reason, yes).map(|()| ExitCode::SUCCESS)
        }
    }
}

impl Place {
    fn folder(self, config: &Path) -> Result<PathBuf, AuditFailure> {
        let folder = match self.folder {
            Some(folder) => folder,
            None => SidecarConfig::load(config)?.audit.directory,
        };
        if folder.is_dir() { Ok(folder) } else { Err(AuditFailure::NoFolder(folder)) }
    }
}

/// What stands in a folder, as it is told.
#[derive(Debug, Serialize)]
struct Status {
    folder: String,
    sound: bool,
    /// A sidecar holds the folder.
    running: bool,
    lineage: Option<String>,
    head: Option<Head>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_unreadable: Option<String>,
    segments: Vec<String>,
    /// From before a loss.
    evidence: Vec<String>,
    records: u64,
    last: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<DamageStatus>,
    accepted_losses: Vec<AcceptedLoss>,
}

#[derive(Debug, Serialize)]
struct DamageStatus {
    digest: String,
    /// An operator has accepted it, and the sidecar has not taken that up yet.
    acknowledged: bool,
    /// The sidecar has found it.
    on_record: bool,
    #[serde(flatten)]
    damage: Damage,
}

impl Status {
    fn of(folder: &Path) -> Result<Self, AuditFailure> {
        let (found, running) = look(folder)?;
        let acknowledged = found.is_acknowledged();
        let head_unreadable = match &found.head {
            HeadFound::Unreadable(why) => Some(why.clone()),
            HeadFound::Absent | HeadFound::At { .. } => None,
        };
        Ok(Self {
            folder: folder.display().to_string(),
            sound: found.damage.is_none(),
            running,
            lineage: found.lineage,
            head: found.head.head().copied(),
            head_unreadable,
            segments: found.segments.iter().map(ToString::to_string).collect(),
            evidence: found.evidence.iter().map(ToString::to_string).collect(),
            records: found.report.records,
            last: found.report.head,
            damage: found.damage.map(|damage| DamageStatus {
                digest: damage.digest().to_string(),
                acknowledged,
                on_record: found.is_pinned,
                damage,
            }),
            accepted_losses: found.report.losses.into_iter().map(|loss| loss.accepted).collect(),
        })
    }

    fn text(&self) -> String {
        let names = |names: &[String]| match names {
            [] => "none".to_owned(),
            [one] => one.clone(),
            [first, .., last] => format!("{}, {first} to {last}", names.len()),
        };
        let mut rows = vec![
            ("folder", self.folder.clone()),
            ("verdict", self.verdict().to_owned()),
            ("sidecar", if self.running { "running" } else { "stopped" }.to_owned()),
            ("lineage", self.lineage.clone().unwrap_or_else(|| "none".to_owned())),
            ("head", self.head_text()),
            ("segments", names(&self.segments)),
            ("records", self.records.to_string()),
            ("last line", self.last.as_ref().map_or_else(|| "none".to_owned(), place)),
        ];
        if !self.evidence.is_empty() {
            rows.push(("kept aside", names(&self.evidence)));
        }
        rows.extend(self.accepted_losses.iter().map(|loss| ("accepted loss", accepted(loss))));
        if let Some(status) = &self.damage {
            rows.extend(damage_rows(&status.damage));
            rows.push(("digest", status.digest.clone()));
        }
        rows.iter().map(|(name, value)| format!("{name:<14}{value}")).collect::<Vec<_>>().join("\n")
    }

    const fn verdict(&self) -> &'static str {
        match &self.damage {
            None => "sound",
            Some(DamageStatus { acknowledged: false, .. }) => {
                "damaged: overrides are refused until the loss is accepted (breakglass-sidecar audit accept-loss)"
            }
            Some(DamageStatus { acknowledged: true, .. }) if self.running => "damaged: accepted, not taken up yet",
            Some(DamageStatus { acknowledged: true, .. }) => "damaged: accepted, taken up at the sidecar's next start",
        }
    }

    fn head_text(&self) -> String {
        match (&self.head, &self.head_unreadable) {
            (Some(Head { position: Some(position), first, last }), _) => {
                format!("{}, segments {first} to {last}", place(position))
            }
            (Some(_), _) => "nothing yet".to_owned(),
            (None, Some(why)) => format!("unreadable: {why}"),
            (None, None) => "none".to_owned(),
        }
    }
}

/// Damage found while a sidecar writes may be a line on its way: it is looked at again.
fn look(folder: &Path) -> Result<(Inspection, bool), AuditFailure> {
    let mut looks = 0;
    loop {
        let running = is_locked(folder)?;
        let found = inspect(folder, Clock::System.wall())?;
        looks += 1;
        if found.damage.is_none() || found.is_pinned || !running || looks >= LOOKS_MAX {
            return Ok((found, running));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn place(position: &Position) -> String {
    format!("sequence {} of log {} ({})", position.sequence, position.log_id, position.head)
}

fn accepted(loss: &AcceptedLoss) -> String {
    let known = loss.known.as_ref().map_or_else(|| "no known line".to_owned(), place);
    format!("by {}, {}: lost up to {known}", loss.by, loss.reason)
}

fn damage_rows(damage: &Damage) -> Vec<(&'static str, String)> {
    let none = || "none".to_owned();
    let mut rows: Vec<_> = damage.findings.iter().map(|finding| ("damage", finding.to_string())).collect();
    rows.push(("last known", damage.known.as_ref().map_or_else(none, place)));
    rows.push(("last found", damage.found.as_ref().map_or_else(none, place)));
    rows.push((
        "forfeited",
        damage.lineage.as_ref().map_or_else(none, |name| format!("every share of lineage {name}")),
    ));
    rows
}

fn accept_loss(folder: &Path, by: &str, reason: &str, yes: bool) -> Result<(), AuditFailure> {
    let (found, running) = look(folder)?;
    let damage = found.damage.as_ref().ok_or(AuditFailure::Sound)?;
    if running && !found.is_pinned {
        return Err(AuditFailure::NotFoundYet);
    }
    let given = Acknowledgement::new(damage, by, reason, Clock::System.wall())?;
    tell("This is accepted as lost:")?;
    for (name, value) in damage_rows(damage) {
        tell(&format!("  {name:<14}{value}"))?;
    }
    tell(&format!("  {:<14}{}", "digest", given.digest))?;
    if !yes && io::stdin().is_terminal() {
        confirm()?;
    }
    given.leave(folder)?;
    if !running {
        return say("accepted; the sidecar takes it up at its next start");
    }
    let since = Instant::now();
    while is_on_record(folder) {
        if since.elapsed() > NOTICED_WITHIN {
            return say("accepted; the sidecar has not taken it up yet: see breakglass-sidecar audit status");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    say("accepted; the sidecar has taken it up")
}

/// The person behind this process as far as the system tells: who ran sudo, or else the user.
fn caller() -> Result<String, AuditFailure> {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    match named.into_iter().find(|name| !name.is_empty()) {
        Some(name) => Ok(name),
        None => Ok(format!("uid {}", std::fs::metadata("/proc/self")?.uid())),
    }
}

fn confirm() -> Result<(), AuditFailure> {
    tell("The files stay as they are. Uses of grants that this sidecar held are forfeited. Accept? [y/N]")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(AuditFailure::Declined) }
}

/// Talk.
fn tell(text: &str) -> Result<(), AuditFailure> {
    Ok(writeln!(io::stderr(), "{text}")?)
}

/// Data.
fn say(text: &str) -> Result<(), AuditFailure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
