//! What can be typed of others' requests and grants: list, approve, deny, withdraw, review.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{parse_note, parse_span};
use crate::domain::{Action, ElevationId, ElevationState, GrantId, ReviewState, ServiceName, Verdict};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RequestsArgs {
    #[command(subcommand)]
    pub what: Option<RequestsVerb>,
    #[command(flatten)]
    pub filter: RequestsFilter,
}

#[derive(Debug, Clone, Default, Args)]
pub struct RequestsFilter {
    /// Only what you can approve now, whoever asked
    #[arg(long)]
    pub to_approve: bool,
    /// Only those of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<ServiceName>,
    /// Only those in this state
    #[arg(long, value_enum)]
    pub state: Option<RequestStateFilter>,
    /// Only your own
    #[arg(long, conflicts_with = "to_approve")]
    pub mine: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum RequestStateFilter {
    Requested,
    Approved,
    Denied,
    Withdrawn,
    Lapsed,
}

impl RequestStateFilter {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => ElevationState::Requested.as_str(),
            Self::Approved => ElevationState::Approved.as_str(),
            Self::Denied => ElevationState::Denied.as_str(),
            Self::Withdrawn => ElevationState::Withdrawn.as_str(),
            Self::Lapsed => ElevationState::Lapsed.as_str(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum RequestsVerb {
    /// Show one request, with the ETag that an approval names
    Show { id: ElevationId },
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    pub id: ElevationId,
    /// For less time than was asked for, such as 10m
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    pub duration: Option<Duration>,
    /// For fewer uses
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: Option<u32>,
    /// For this of the actions only; may be repeated
    #[arg(long = "action", value_name = "VERB")]
    pub actions: Vec<Action>,
    /// Approve without asking
    #[arg(long, requires = "etag")]
    pub yes: bool,
    /// Approve only what this ETag names: `breakglass requests show` prints it
    #[arg(long, value_name = "ETAG", value_parser = parse_etag)]
    pub etag: Option<String>,
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    pub id: ElevationId,
    /// Why: the person who asked reads it; at most 500 characters
    #[arg(long, value_name = "TEXT", value_parser = parse_note)]
    pub note: String,
}

#[derive(Debug, Args)]
pub struct WithdrawArgs {
    pub id: ElevationId,
}

#[derive(Debug, Args)]
pub struct ReviewArgs {
    pub id: GrantId,
    /// What it comes to
    #[arg(long, value_enum)]
    pub verdict: VerdictArg,
    /// What was found, for the record; at most 2000 characters
    #[arg(long, value_name = "TEXT", value_parser = parse_findings)]
    pub findings: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerdictArg {
    Justified,
    Unjustified,
    /// It could not be told
    Unclear,
}

impl From<VerdictArg> for Verdict {
    fn from(verdict: VerdictArg) -> Self {
        match verdict {
            VerdictArg::Justified => Self::Justified,
            VerdictArg::Unjustified => Self::Unjustified,
            VerdictArg::Unclear => Self::Unclear,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ReviewFilter {
    Due,
    Overdue,
    Reviewed,
}

impl ReviewFilter {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => ReviewState::Due.as_str(),
            Self::Overdue => ReviewState::Overdue.as_str(),
            Self::Reviewed => ReviewState::Reviewed.as_str(),
        }
    }
}

/// Shells eat quotes: a tag without them is meant with them.
fn parse_etag(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || bare.len() > 128 || !bare.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b',') {
        return Err("an ETag is one word, as `breakglass requests show` prints it".to_owned());
    }
    Ok(format!("\"{bare}\""))
}

fn parse_findings(text: &str) -> Result<String, String> {
    match text.chars().count() {
        length if length > 2000 => Err(format!("findings have at most 2000 characters, these have {length}")),
        _ if text.trim().is_empty() => Err("say what was found".to_owned()),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{CommandLine, Verb};

    #[test]
    fn what_is_approved_without_asking_is_named() {
        let parse = |words: &[&str]| {
            let line = ["breakglass", "approve", "e-0123456789ab"].iter().chain(words).copied();
            CommandLine::try_parse_from(line)
        };
        assert!(parse(&["--for", "10m", "--uses", "1", "--action", "payment.release"]).is_ok());
        assert!(parse(&["--yes"]).is_err(), "nobody has seen what that would be");
        assert!(parse(&["--uses", "0"]).is_err());
        for etag in ["abc", "\"abc\""] {
            let Verb::Approve(args) = parse(&["--yes", "--etag", etag]).unwrap().verb else { panic!("not approve") };
            assert_eq!(args.etag.as_deref(), Some("\"abc\""));
        }
        for bad in ["", "*, \"a\"", "a b"] {
            assert!(parse(&["--etag", bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_review_says_something() {
        let parse = |findings: &str| {
            let line = ["breakglass", "review", "g-0123456789ab", "--verdict", "justified", "--findings", findings];
            CommandLine::try_parse_from(line)
        };
        assert!(parse("as the ticket says").is_ok());
        assert!(parse("  ").is_err());
        assert!(parse(&"x".repeat(2001)).is_err());
    }
}
