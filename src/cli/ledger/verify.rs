//! `audit verify` of a ledger: every entry is read and hashed, on all cores, while the next are fetched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::source::Source;
use super::{Asked, believed, trusted_checkpoint, unverified};
use crate::cli::args::{Format, TrustArgs};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Cell, Colour, Output};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::tile::{Kind, TILE_WIDTH, TilePath, read_bundle};
use crate::ledger::verify::{Known, LogReport, Piece, Verification, bundles, examine};

/// Bundles that are fetched or hashed at once.
const AT_ONCE: usize = 8;

/// What was found of one ledger.
#[derive(Debug, Serialize)]
struct Finding {
    log: String,
    origin: String,
    sound: bool,
    size: u64,
    root: String,
    /// Entries that were read.
    entries: u64,
    /// Witnesses that cosigned, and when, in Unix seconds.
    cosigned: Vec<(String, u64)>,
    /// Entries that are older than the one before them.
    clock_back: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_wrong_entry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Whatever looks at the entries as they are read, beside verification.
pub(super) type Look<'l> = &'l mut (dyn FnMut(u64, &[u8]) + Send);

/// # Errors
/// When a ledger can't be read, or is not what was signed.
pub(in crate::cli) async fn verify(
    paths: &[PathBuf],
    trust: &TrustArgs,
    known: &[PathBuf],
    copy_to: Option<&Path>,
    asked: &Asked<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let known: Vec<Known> = known.iter().map(|file| known_tree(file, trust)).collect::<Result<_, _>>()?;
    let mut findings = Vec::new();
    for path in paths {
        let source = Source::open(path, asked)?;
        let signed = trusted_checkpoint(&source, trust).await?;
        let report = whole(&source, &signed, &known, copy_to, &mut |_, _| {}, out).await?;
        findings.push(finding(&source, &signed, trust, report));
    }
    match out.format {
        Format::Json => out.json(&findings)?,
        Format::Table => findings.iter().try_for_each(|finding| print(finding, out))?,
    }
    let broken: Vec<&str> = findings.iter().filter(|found| !found.sound).map(|found| found.log.as_str()).collect();
    if broken.is_empty() { Ok(()) } else { Err(unverified(format!("{} does not hold", broken.join(", ")))) }
}

fn known_tree(file: &Path, trust: &TrustArgs) -> Result<Known, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()), "name a file that holds a checkpoint")
    };
    let note = std::fs::read_to_string(file).map_err(unreadable)?;
    let trust = TrustArgs { witnesses: Vec::new(), ..trust.clone() };
    let checkpoint = believed(&note, &trust)?.checkpoint;
    Ok(Known { size: checkpoint.size, root: checkpoint.root })
}

/// Reads the whole ledger.
///
/// # Errors
/// When it can't be read; what is wrong with it is in the report.
pub(super) async fn whole(
    source: &Source,
    signed: &SignedCheckpoint,
    known: &[Known],
    copy_to: Option<&Path>,
    look: Look<'_>,
    out: &mut Output,
) -> Result<LogReport, Failure> {
    let size = signed.checkpoint.size;
    let mut verification = Verification::new(signed.checkpoint.clone(), known.to_vec());
    for path in Verification::upper_tiles(size) {
        let bytes = source.piece(path).await?;
        keep(copy_to, &path.to_string(), bytes.as_deref())?;
        verification.upper_tile(path, bytes.as_deref());
    }
    let known: Arc<[Known]> = known.into();
    let pieces = stream::iter(bundles(size)).map(|place| read(source, place, Arc::clone(&known)));
    let mut pieces = pieces.buffered(AT_ONCE);
    let mut done = 0_u64;
    while let Some(read) = pieces.next().await {
        let Read { piece, bundle, tile, places } = read?;
        for (path, bytes) in places.iter().zip([&bundle, &tile]) {
            keep(copy_to, &path.to_string(), bytes.as_deref())?;
        }
        let entries = bundle.as_deref().map(|bytes| read_bundle(bytes, places.width()).0).unwrap_or_default();
        (places.start()..).zip(entries).for_each(|(index, entry)| look(index, entry));
        done = done.saturating_add(places.width());
        out.progress(&format!("{done} of {size} entries"));
        verification.piece(piece);
    }
    keep(copy_to, "checkpoint", Some(signed.note.to_string().as_bytes()))?;
    Ok(verification.finish())
}

/// Where a bundle and its tile are.
struct Places([TilePath; 2]);

impl Places {
    fn iter(&self) -> impl Iterator<Item = &TilePath> {
        self.0.iter()
    }

    fn width(&self) -> u64 {
        self.0.first().map_or(0, |path| path.width)
    }

    fn start(&self) -> u64 {
        self.0.first().map_or(0, |path| path.n.saturating_mul(TILE_WIDTH))
    }
}

struct Read {
    piece: Piece,
    bundle: Option<Vec<u8>>,
    tile: Option<Vec<u8>>,
    places: Places,
}

async fn read(source: &Source, (n, width): (u64, u64), known: Arc<[Known]>) -> Result<Read, Failure> {
    let places = Places([Kind::Entries, Kind::Hashes(0)].map(|kind| TilePath { kind, n, width }));
    let [entries, hashes] = places.0;
    let (bundle, tile) = (source.piece(entries).await?, source.piece(hashes).await?);
    let hashed = tokio::task::spawn_blocking(move || {
        let piece = examine((n, width), bundle.as_deref(), tile.as_deref(), &known);
        (piece, bundle, tile)
    });
    let failed = |_| Failure::new(Exit::Failed, "the entries could not be hashed", "try again");
    let (piece, bundle, tile) = hashed.await.map_err(failed)?;
    Ok(Read { piece, bundle, tile, places })
}

fn keep(copy_to: Option<&Path>, path: &str, bytes: Option<&[u8]>) -> Result<(), Failure> {
    let (Some(folder), Some(bytes)) = (copy_to, bytes) else { return Ok(()) };
    let file = folder.join(path);
    let written = std::fs::create_dir_all(file.parent().unwrap_or(folder)).and_then(|()| std::fs::write(&file, bytes));
    written.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("{}: {error}", file.display()),
            "name a folder that can be written with --copy-to",
        )
    })
}

fn finding(source: &Source, signed: &SignedCheckpoint, trust: &TrustArgs, report: LogReport) -> Finding {
    let cosigned = signed.cosigned_by(&trust.witnesses).unwrap_or_default();
    Finding {
        log: source.to_string(),
        origin: report.checkpoint.origin.to_string(),
        sound: report.is_sound(),
        size: report.checkpoint.size,
        root: report.checkpoint.root.to_string(),
        entries: report.entries,
        cosigned: cosigned.into_iter().map(|(key, at)| (key.name().to_string(), at)).collect(),
        clock_back: report.clock_back.times,
        first_wrong_entry: report.wrong.as_ref().and_then(|wrong| wrong.entry),
        problem: report.wrong.as_ref().map(ToString::to_string),
    }
}

fn print(finding: &Finding, out: &mut Output) -> Result<(), Failure> {
    let verdict = match &finding.problem {
        Some(problem) => Cell::coloured(problem, Colour::Red),
        None => Cell::coloured("whole and unchanged", Colour::Green),
    };
    let mut facts = vec![
        ("ledger", Cell::new(&finding.log)),
        ("origin", Cell::new(&finding.origin)),
        ("verdict", verdict),
        ("entries", Cell::new(finding.entries.to_string())),
        ("signed", Cell::new(format!("{} entries, root {}", finding.size, finding.root))),
    ];
    for (witness, at) in &finding.cosigned {
        let at = crate::domain::WallTime::from_unix_s(i64::try_from(*at).unwrap_or(i64::MAX));
        facts.push(("cosigned", Cell::new(format!("{witness} at {}", at.rfc3339()))));
    }
    if finding.clock_back > 0 {
        let what = format!("{} times, a clock went back between two entries", finding.clock_back);
        facts.push(("note", Cell::coloured(what, Colour::Yellow)));
    }
    out.facts(&facts)
}
