//! `[retention]`: for how long personal values are kept, and which findings keep a grant's for longer.

use std::time::Duration;

use super::reader::Section;
use crate::domain::Verdict;

/// Shortest and longest time.
const DAYS: std::ops::RangeInclusive<u64> = 1..=36_500;

/// What is older is erased by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    pub keep: Duration,
    /// Grants whose review came to one of these are not erased by age.
    pub held: Vec<Verdict>,
}

/// `None`: nothing is erased by itself.
pub(super) fn read_retention(root: &Section<'_>) -> Option<RetentionConfig> {
    let section = root.section("retention")?;
    if !section.has("days") {
        section.missing("days");
        return None;
    }
    let days = section.integer("days", DAYS, 3650);
    Some(RetentionConfig { keep: Duration::from_secs(days.saturating_mul(86_400)), held: read_held(&section) })
}

/// Absent: the verdicts that may have to be answered for.
fn read_held(section: &Section<'_>) -> Vec<Verdict> {
    if !section.has("held_verdicts") {
        return HELD.to_vec();
    }
    let mut held = Vec::new();
    for word in section.list::<String>("held_verdicts") {
        match Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word) {
            Some(verdict) => held.push(verdict),
            None => {
                section.mistake("held_verdicts", "must be of justified, unjustified and unclear", None);
            }
        }
    }
    held
}

/// What is held where nothing else is said.
const HELD: [Verdict; 2] = [Verdict::Unjustified, Verdict::Unclear];

/// The verdicts by which a grant's values are kept whatever their age.
pub fn held_verdicts(retention: Option<&RetentionConfig>) -> Vec<Verdict> {
    retention.map_or_else(|| HELD.to_vec(), |retention| retention.held.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader::parse;

    fn read(text: &str) -> Result<Option<RetentionConfig>, String> {
        let parsed = parse(Path::new("control.toml"), text, |root| Some(read_retention(root)));
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn a_time_and_what_is_held() {
        assert_eq!(read("").unwrap(), None);
        let config = read("[retention]\ndays = 365\n").unwrap().unwrap();
        assert_eq!((config.keep, config.held), (Duration::from_secs(365 * 86_400), HELD.to_vec()));
        let config = read("[retention]\ndays = 1\nheld_verdicts = [\"unclear\"]\n").unwrap().unwrap();
        assert_eq!(config.held, [Verdict::Unclear]);
        assert_eq!(read("[retention]\ndays = 1\nheld_verdicts = []\n").unwrap().unwrap().held, []);
        for (bad, what) in [
            ("[retention]\n", "retention.days: is missing"),
            ("[retention]\ndays = 0\n", "retention.days"),
            ("[retention]\ndays = \"a year\"\n", "retention.days"),
            ("[retention]\ndays = 1\nheld_verdicts = [\"guilty\"]\n", "retention.held_verdicts: must be of"),
            ("[retention]\ndays = 1\nfor_ever = true\n", "retention.for_ever"),
        ] {
            let report = read(bad).unwrap_err();
            assert!(report.contains(what), "{bad}: {report}");
        }
    }
}
