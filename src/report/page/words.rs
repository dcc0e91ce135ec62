//! Times, spans and names as people read them. All times are UTC.

use super::{Cell, Section, Tone};
use crate::domain::WallTime;
use crate::wire::reports::{Personal, SignedTree, Spread, TreeAt};

/// Stands where there is nothing to say.
pub(super) const NOTHING: &str = "–";

/// `2026-11-22 02:13:00.123`.
pub(super) fn moment(at: WallTime) -> String {
    at.rfc3339().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// `2026-11-22 02:13:00`.
pub(super) fn second(at: WallTime) -> String {
    moment(at).chars().take(19).collect()
}

/// Thousands apart: `1 234 567`, with narrow spaces that do not break.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// The two largest units: `38 ms`, `4.2 s`, `12 min 30 s`, `3 h 5 min`, `2 d 4 h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{} {large_unit}", grouped(large)),
        small => format!("{} {large_unit} {small} {small_unit}", grouped(large)),
    };
    match seconds {
        0 => format!("{ms} ms"),
        1..60 if ms.is_multiple_of(1000) => format!("{seconds} s"),
        1..60 => format!("{seconds}.{} s", ms % 1000 / 100),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

pub(super) fn span_cell(ms: Option<u64>) -> Cell {
    ms.map_or_else(nothing, |ms| Cell { text: span(ms), tone: Tone::Number })
}

pub(super) fn nothing() -> Cell {
    Cell::faint(NOTHING)
}

pub(super) fn personal(told: &Personal) -> Cell {
    match told {
        Personal { value: Some(value), .. } => Cell::plain(value),
        Personal { erased: true, .. } => Cell::faint("erased"),
        Personal { .. } => nothing(),
    }
}

pub(super) fn some(text: Option<&str>) -> Cell {
    text.filter(|text| !text.is_empty()).map_or_else(nothing, Cell::plain)
}

pub(super) fn entry(index: u64) -> Cell {
    Cell { text: index.to_string(), tone: Tone::Code }
}

/// `median 12 s, greatest 4 min`.
pub(super) fn spread(spread: &Spread) -> String {
    match (spread.median_ms, spread.p90_ms, spread.max_ms) {
        (Some(median), Some(p90), Some(max)) if spread.count > 1 => {
            format!("median {}, 90 % within {}, longest {}", span(median), span(p90), span(max))
        }
        (_, _, Some(max)) => format!("one, {}", span(max)),
        _ => NOTHING.to_owned(),
    }
}

/// A part of a whole, in whole percent, rounded down; never 100 % of what is not all, nor 0 % of what is something.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match u128::from(part).saturating_mul(100).checked_div(u128::from(whole)) {
        Some(0) if part > 0 => "under 1 %".to_owned(),
        Some(percent) => format!("{percent} %"),
        None => NOTHING.to_owned(),
    }
}

pub(super) fn tree_cell(tree: &TreeAt) -> Cell {
    Cell::long(format!("{} entries, root {}", grouped(tree.size), tree.root))
}

pub(super) fn foot(made: WallTime, tree: &SignedTree) -> String {
    let (made, entries) = (second(made), grouped(tree.size));
    format!("Made {made} UTC from the first {entries} entries of {}. All times are UTC.", tree.origin)
}

/// Where the report is from, and how it is checked.
pub(super) fn provenance(tree: &SignedTree, commands: &str) -> Section {
    Section {
        title: "How to check this".to_owned(),
        note: "Every number and word above is of an entry of the ledger, named by its index, or of a personal value that \
               the entry commits to. Entries are verified with the tree below, by our program or by others that know the \
               C2SP formats; the verifier key comes from who runs the control plane, not from this report."
            .to_owned(),
        facts: vec![
            ("Log", Cell::code(&tree.origin)),
            ("Tree size", Cell::code(tree.size.to_string())),
            ("Root hash", Cell::long(&tree.root)),
        ],
        verbatim: format!("{commands}\n\n{}", tree.checkpoint.trim_end()),
        ..Section::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_two_units() {
        let told = [
            (0, "0 ms"),
            (38, "38 ms"),
            (4_000, "4 s"),
            (4_250, "4.2 s"),
            (60_000, "1 min"),
            (750_000, "12 min 30 s"),
            (11_100_000, "3 h 5 min"),
            (187_200_000, "2 d 4 h"),
        ];
        for (ms, text) in told {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn numbers_and_parts() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        let parts = [(1, 3), (999, 1000), (0, 0), (1, 1000), (0, 1000)].map(|(part, whole)| percent(part, whole));
        assert_eq!(parts, ["33 %", "99 %", "–", "under 1 %", "0 %"]);
        assert_eq!(moment(WallTime::from_unix_ms(1_795_313_580_123)), "2026-11-22 02:13:00.123");
    }
}
