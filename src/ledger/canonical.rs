//! An entry's bytes: canonical JSON (RFC 8785).
//!
//! Must never: write other bytes than the standard's; a property holds both ways of writing to each other.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::entry::{EntryError, EntryKind};
use crate::domain::{EXACT_MAX, WallTime};

/// The members every entry has, in the order of their names; `facts` are those of its kind.
#[derive(Serialize)]
pub(super) struct Canonical<'a> {
    pub(super) at: WallTime,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) facts: &'a Map<String, Value>,
    pub(super) format: u32,
    pub(super) index: u64,
    pub(super) kind: EntryKind,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) personal: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<u64>,
}

/// RFC 8785. What is in canonical order already, and holds nothing but texts and numbers that every reader takes for the same,
/// is written down as it stands: texts are escaped alike (§3.2.2.2), and so are integers written (§3.2.2.3). That is
/// several times faster, and almost every entry is one of those.
pub(super) fn canonical(document: &Canonical<'_>) -> Result<String, EntryError> {
    let is_plain = is_exact(document.at.unix_ms().unsigned_abs())
        && is_exact(document.index)
        && document.revision.is_none_or(is_exact)
        && are_plain(document.facts);
    let written =
        if is_plain { serde_json::to_string(document) } else { serde_json_canonicalizer::to_string(document) };
    written.map_err(|error| EntryError::Canonical(error.to_string()))
}

/// Names in ASCII sort alike by bytes and by UTF-16 code units, and that is how a map holds them.
fn are_plain(members: &Map<String, Value>) -> bool {
    members.iter().all(|(name, value)| name.is_ascii() && is_plain(value))
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| is_exact(number.unsigned_abs())),
        Value::Array(elements) => elements.iter().all(is_plain),
        Value::Object(members) => are_plain(members),
    }
}

const fn is_exact(number: u64) -> bool {
    number <= EXACT_MAX
}

#[cfg(test)]
mod tests {
    use proptest::collection;
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::entry::FORMAT_VERSION;

    /// Texts and numbers at every edge, in any shape.
    fn any_value() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ((1_i64 << 53) - 3..(1 << 53) + 3).prop_map(Value::from),
            (-3_i64..3).prop_map(Value::from),
        ];
        let text = prop_oneof![any::<String>(), "[\\x00-\\x7f\u{80}-\u{9f}\u{2028}\u{feff}\u{fffd}\u{1f600}]{0,20}"];
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number, text.prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                collection::btree_map("[a-zA-Z_\u{e9}\u{ffff}\u{10000}]{0,4}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_it_holds_it_is_written_as_the_standard_has_it(
            facts in collection::btree_map("[a-z_\u{e9}]{1,6}", any_value(), 0..8),
            (index, at, revision) in (any::<u64>(), any::<i64>(), any::<Option<u64>>()),
        ) {
            let facts: Map<String, Value> = facts.into_iter().collect();
            let document = Canonical {
                at: WallTime::from_unix_ms(at),
                facts: &facts,
                format: FORMAT_VERSION,
                index,
                kind: EntryKind::AuditLine,
                personal: BTreeMap::from([("person", "c0".to_owned()), ("line", "ff".to_owned())]),
                revision,
            };
            let standard = serde_json_canonicalizer::to_string(&document).map_err(|error| error.to_string());
            let own = canonical(&document).map_err(|error| match error {
                EntryError::Canonical(error) => error,
                other => other.to_string(),
            });
            prop_assert_eq!(own, standard);
        }
    }
}
