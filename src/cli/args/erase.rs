//! Flags of `erase`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::parse_span;
use crate::domain::{ErasureId, ErasureReason, Person};

#[derive(Debug, Args)]
pub struct EraseArgs {
    #[command(subcommand)]
    pub what: EraseVerb,
}

#[derive(Debug, Subcommand)]
pub enum EraseVerb {
    /// Everything about a person, once nothing of theirs is live or awaited
    Person {
        /// As the control plane calls them, such as alice@example.test
        person: Person,
        /// Why
        #[arg(long, value_enum)]
        reason: WhyErase,
        #[command(flatten)]
        how: ErasureArgs,
    },
    /// Everything older than a time, but for what belongs to grants that are not closed
    Old {
        /// How old, in days such as 365d, or a span such as 12h
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        older_than: Duration,
        #[command(flatten)]
        how: ErasureArgs,
    },
    /// Show how far an erasure has come
    Show { id: ErasureId },
}

#[derive(Debug, Clone, Copy, Args)]
pub struct ErasureArgs {
    /// Erase nothing: count what would be, and list what stands in the way
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Erase without asking
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhyErase {
    /// The person asked for it
    Requested,
    /// The person has left
    Departed,
    /// It should never have been stored
    Unlawful,
}

impl From<WhyErase> for ErasureReason {
    fn from(why: WhyErase) -> Self {
        match why {
            WhyErase::Requested => Self::Requested,
            WhyErase::Departed => Self::Departed,
            WhyErase::Unlawful => Self::Unlawful,
        }
    }
}

/// Days, or a span.
fn parse_age(text: &str) -> Result<Duration, String> {
    let Some(days) = text.strip_suffix('d') else { return parse_span(text) };
    let wrong = || format!("'{text}' is no age: say 365d or 12h");
    let days: u64 = days.parse().map_err(|_| wrong())?;
    // Further back than that there was nothing.
    if (1..=36_500).contains(&days) { Ok(Duration::from_secs(days * 86_400)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{CommandLine, Verb};
    use super::*;

    fn read(line: &str) -> Result<EraseVerb, clap::Error> {
        let Verb::Erase(args) = CommandLine::try_parse_from(line.split(' '))?.verb else { panic!("not erase") };
        Ok(args.what)
    }

    #[test]
    fn a_person_and_why_or_an_age() {
        let EraseVerb::Person { person, reason, how } =
            read("bg erase person alice@example.test --reason departed --dry-run").unwrap()
        else {
            panic!("a person was named")
        };
        assert_eq!(
            (person.as_str(), reason, how.dry_run, how.yes),
            ("alice@example.test", WhyErase::Departed, true, false)
        );
        for (age, seconds) in [("365d", 365 * 86_400), ("1d", 86_400), ("12h", 43_200)] {
            let EraseVerb::Old { older_than, .. } = read(&format!("bg erase old --older-than {age} --yes")).unwrap()
            else {
                panic!("an age was named")
            };
            assert_eq!(older_than.as_secs(), seconds);
        }
        for bad in [
            "bg erase",
            "bg erase person",
            "bg erase person alice",
            "bg erase person alice --reason retention",
            "bg erase person alice --reason requested --yes --dry-run",
            "bg erase old",
            "bg erase old --older-than 365",
            "bg erase old --older-than 0d",
            "bg erase old --older-than -1d",
            "bg erase old --older-than 99999999999999999999d",
            "bg erase show alice",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
