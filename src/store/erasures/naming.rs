//! Does a text name somebody? A line of a log, a note, a value that is a name and nothing else.
//!
//! A name within a longer word is another's: `al` is not named by `value`, nor `ann` by `joann`, nor `alice` by
//! `alice@example.test`.

/// Characters that join what stands on their other side to a word.
const JOINTS: [char; 6] = ['@', '.', '_', '+', '-', '%'];

/// Whether `name` stands in `text` as a word of its own, as it is or as JSON writes it.
pub(super) fn names(text: &str, name: &str) -> bool {
    has_word(text, name) || {
        let quoted = serde_json::to_string(name).unwrap_or_default();
        let escaped = quoted.trim_matches('"');
        escaped != name && has_word(text, escaped)
    }
}

fn has_word(text: &str, word: &str) -> bool {
    !word.is_empty()
        && text.match_indices(word).any(|(at, found)| {
            let (before, after) = (text.get(..at), text.get(at.saturating_add(found.len())..));
            !before.is_some_and(|before| is_joined(before.chars().rev()))
                && !after.is_some_and(|after| is_joined(after.chars()))
        })
}

/// Whether what stands beside a word, from it outward, belongs to it.
fn is_joined(mut outward: impl Iterator<Item = char>) -> bool {
    match outward.next() {
        Some(next) if next.is_alphanumeric() => true,
        Some(joint) if JOINTS.contains(&joint) => outward.next().is_some_and(char::is_alphanumeric),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_word_and_not_within_one() {
        for text in [
            "alice",
            "asked alice.",
            r#"{"actor":{"user":{"uid":"alice"}}}"#,
            "alice, bob",
            "/people/alice/",
            "(alice)",
            "joalice alice",
            "- alice -",
        ] {
            assert!(names(text, "alice"), "{text}");
        }
        for text in ["", "malice", "alices", "alice@example.test", "alice-marie", "x.alice", "ALICE", "é-alice"] {
            assert!(!names(text, "alice"), "{text}");
        }
        assert!(names("see alice@example.test.", "alice@example.test"));
        assert!(!names("see alice@example.test.org", "alice@example.test"));
        assert!(!names("anything", ""));
    }

    #[test]
    fn a_name_that_json_escapes_is_found_in_json() {
        let name = r#"o"neil\x"#;
        assert!(names(&serde_json::json!({"person": name}).to_string(), name));
        assert!(names(&format!("by {name} alone"), name));
    }
}
