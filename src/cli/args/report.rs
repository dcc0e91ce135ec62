//! `breakglass report`: about a grant, or a period.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveTime};
use clap::{ArgGroup, Args, ValueEnum};

use crate::domain::{GrantId, WallTime};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("about").required(true).args(["grant", "from"]))]
pub struct ReportArgs {
    /// The whole story of this grant
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to"])]
    pub grant: Option<GrantId>,
    /// A period in numbers: from this time on, such as 2026-11-01 or 2026-11-01T06:00:00Z; a date begins at midnight UTC
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<WallTime>,
    /// Until before this time; default: now
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "from")]
    pub to: Option<WallTime>,
    /// How it is told; default: text, or json with --output json
    #[arg(long, value_enum)]
    pub format: Option<Shape>,
    /// The file to write, which only you can read; otherwise standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// For a terminal
    Text,
    /// One document to read, keep or print
    Html,
    /// A row for each event, or for each name
    Csv,
    /// The control plane's own shape
    Json,
}

/// Reads a time (RFC 3339) or a date (ISO 8601), whose beginning by UTC it is.
///
/// # Errors
/// What is wrong, and an example.
pub fn parse_time(text: &str) -> Result<WallTime, String> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    let date = || text.parse::<NaiveDate>().map(|date| date.and_time(NaiveTime::MIN).and_utc().timestamp_millis());
    // Chrono reads `2026-1-1` and ` 2026-01-01`, too: what is not written as it should be is a slip.
    let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let ms = match time {
        Ok(ms) => Some(ms),
        Err(_) if is_plain => date().ok(),
        Err(_) => None,
    };
    let wrong = || format!("'{text}' is no time: say 2026-11-01, or 2026-11-01T06:00:00Z");
    ms.map(WallTime::from_unix_ms).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::CommandLine;

    #[test]
    fn times_and_dates() {
        let told = [
            ("1970-01-01", 0),
            ("2026-11-22", 1_795_305_600_000),
            ("2026-11-22T02:13:00Z", 1_795_313_580_000),
            ("2026-11-22T03:13:00.123+01:00", 1_795_313_580_123),
        ];
        for (text, ms) in told {
            assert_eq!(parse_time(text), Ok(WallTime::from_unix_ms(ms)), "{text}");
        }
        for bad in
            ["", "yesterday", "2026-11", "2026-1-1", "2026-13-01", "2026-02-30", "2026-11-22T02:13:00", "1795313580"]
        {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_report_is_about_a_grant_or_a_period() {
        let parses = |words: &[&str]| CommandLine::try_parse_from(["breakglass", "report"].iter().chain(words)).is_ok();
        assert!(parses(&["--grant", "g-0123456789ab"]));
        assert!(parses(&["--from", "2026-11-01"]) && parses(&["--from", "2026-11-01", "--to", "2026-12-01"]));
        assert!(!parses(&[]) && !parses(&["--to", "2026-12-01"]));
        assert!(!parses(&["--grant", "g-0123456789ab", "--from", "2026-11-01"]));
        assert!(!parses(&["--grant", "contract/C-1042"]) && !parses(&["--from", "yesterday"]));
        assert!(!parses(&["--from", "2026-11-01", "--format", "pdf"]));
    }
}
