//! `breakglass report`: what the ledger says of a grant or a period, as a document or in the terminal.
//!
//! The control plane makes HTML and CSV; the terminal's text is the same page, set here.

use std::path::Path;

use super::api::Api;
use super::args::{Format, Global, ReportArgs, Shape};
use super::failure::{Exit, Failure};
use super::output::{Cell, Colour, Output};
use super::private_files;
use super::session::{self, Lookup};
use crate::clock::Clock;
use crate::http::Limits;
use crate::report::page::{self, Page, Section, Tone};
use crate::wire::reports::{GrantReport, PeriodReport, ReportFormat};

/// A report reads much of the ledger, and may be long.
const LIMITS: Limits =
    Limits { response_ms_max: 40_000, total_ms_max: 60_000, body_bytes_max: 32 * 1024 * 1024, ..Limits::DEFAULT };

/// # Errors
/// When the control plane refuses, or the file can't be written.
pub(super) async fn run(args: ReportArgs, global: &Global, env: Lookup<'_>, out: &mut Output) -> Result<(), Failure> {
    let own = if out.format == Format::Json { Shape::Json } else { Shape::Text };
    let shape = args.format.unwrap_or(own);
    if shape == Shape::Text && args.out.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "text is for a terminal",
            "name a --format for the file: html, csv or json",
        ));
    }
    let api = session::connect_within(global, env, out, LIMITS)?;
    let target = target(&args, shape)?;
    match shape {
        Shape::Text if args.grant.is_some() => show(&page::of_grant(&api.report::<GrantReport>(&target).await?), out),
        Shape::Text => show(&page::of_period(&api.report::<PeriodReport>(&target).await?), out),
        Shape::Json if args.grant.is_some() => {
            let report: GrantReport = api.report(&target).await?;
            document(&report, args.out.as_deref(), out)
        }
        Shape::Json => {
            let report: PeriodReport = api.report(&target).await?;
            document(&report, args.out.as_deref(), out)
        }
        Shape::Html | Shape::Csv => {
            let bytes = told(&api, &target).await?;
            keep(&bytes, args.out.as_deref(), out)
        }
    }
}

async fn told(api: &Api, target: &str) -> Result<Vec<u8>, Failure> {
    Ok(api.report_bytes(target).await?)
}

fn target(args: &ReportArgs, shape: Shape) -> Result<String, Failure> {
    let format = match shape {
        Shape::Html => ReportFormat::Html,
        Shape::Csv => ReportFormat::Csv,
        Shape::Text | Shape::Json => ReportFormat::Json,
    };
    let format = format.as_str();
    if let Some(grant) = &args.grant {
        return Ok(format!("/v1/reports/grants/{grant}?format={format}"));
    }
    let from = args.from.ok_or_else(|| Failure::new(Exit::Usage, "about what?", "name --grant or --from"))?;
    let to = args.to.unwrap_or_else(|| Clock::System.wall());
    let (since, before) = (from.unix_ms(), to.unix_ms());
    Ok(format!("/v1/reports/periods?since_at={since}&before_at={before}&format={format}"))
}

fn document<T: serde::Serialize>(report: &T, file: Option<&Path>, out: &mut Output) -> Result<(), Failure> {
    let Some(file) = file else { return out.json(report) };
    let text = serde_json::to_string_pretty(report)
        .map_err(|_| Failure::new(Exit::Failed, "the report cannot be written as JSON", "report this as a bug"))?;
    keep(format!("{text}\n").as_bytes(), Some(file), out)
}

/// A report names people: what is written is for who asked alone.
fn keep(bytes: &[u8], file: Option<&Path>, out: &mut Output) -> Result<(), Failure> {
    let Some(file) = file else { return out.bytes(bytes) };
    private_files::replace(file, bytes).map_err(|error| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()), "name a file that can be written")
    })?;
    out.line(&file.display().to_string())
}

fn show(page: &Page, out: &mut Output) -> Result<(), Failure> {
    out.line(&page.title)?;
    out.line(&page.lead)?;
    if let Some(verdict) = &page.verdict {
        out.parts(&[cell(verdict)])?;
    }
    for figure in &page.figures {
        let value = cell(&figure.value);
        out.parts(&[Cell::new(format!("{}: ", figure.label)), value, Cell::new(format!("  {}", figure.note))])?;
    }
    for part in &page.sections {
        section(part, out)?;
    }
    out.line("")?;
    out.line(&page.foot)
}

fn section(section: &Section, out: &mut Output) -> Result<(), Failure> {
    out.line("")?;
    out.line(&section.title.to_uppercase())?;
    if !section.note.is_empty() {
        out.line(&section.note)?;
    }
    if !section.facts.is_empty() {
        let facts: Vec<(&str, Cell)> = section.facts.iter().map(|(name, value)| (*name, cell(value))).collect();
        out.facts(&facts)?;
    }
    if !section.table.rows.is_empty() {
        let rows: Vec<Vec<Cell>> = section.table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        out.table(&section.table.head, &rows)?;
    }
    if !section.verbatim.is_empty() {
        out.line(&section.verbatim)?;
    }
    Ok(())
}

/// On one line: a note may have several.
fn cell(cell: &page::Cell) -> Cell {
    let text = cell.text.replace('\n', " ");
    match cell.tone {
        Tone::Good => Cell::coloured(text, Colour::Green),
        Tone::Bad => Cell::coloured(text, Colour::Red),
        Tone::Faint => Cell::coloured(text, Colour::Dim),
        Tone::Plain | Tone::Number | Tone::Code | Tone::Long => Cell::new(text),
    }
}
