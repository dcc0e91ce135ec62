//! On what: `type/id`, such as `contract/C-1042`.

use super::text::{TextError, is_lower_word, text_type};

text_type! {
    /// The kind of a resource: the part before the slash.
    ResourceType, "resource type", max 64, "is lower-case letters, digits, '_' and '-', beginning with a letter", is_lower_word
}
text_type! {
    /// One named thing the contract API guards, `type/id`. The id has only unreserved characters of RFC 3986 §2.3,
    /// so that no percent-encoding of it exists.
    Resource, "resource", max 193, "is type/id, the type a lower-case word, the id 1 to 128 of A-Z a-z 0-9 - . _ ~, and no dot segment", is_resource,
    pattern r"^[a-z][a-z0-9_-]{0,63}/([A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}|\.[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,126}|\.\.[A-Za-z0-9._~-]{1,126})$",
    example "contract/C-1042"
}

impl Resource {
    /// Builds `kind/id`.
    ///
    /// # Errors
    /// When `id` has a character outside the unreserved set, is empty, longer than 128 bytes, or a dot segment.
    pub fn new(kind: &ResourceType, id: &str) -> Result<Self, TextError> {
        format!("{kind}/{id}").parse()
    }

    /// The part before the slash.
    pub fn kind(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(kind, _)| kind)
    }

    /// The part after the slash.
    pub fn id(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(_, id)| id)
    }
}

fn is_resource(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, id)| is_lower_word(kind) && kind.len() <= 64 && is_resource_id(id))
}

/// True for one path segment that has a single spelling: unreserved characters, not `.` or `..`.
fn is_resource_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 128
        && id != "."
        && id != ".."
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let resource: Resource = "contract/C-1042".parse().unwrap();
        assert_eq!((resource.kind(), resource.id()), ("contract", "C-1042"));
    }

    #[test]
    fn a_wildcard_or_second_spelling_is_no_resource() {
        for bad in [
            "contract/*",
            "contract/",
            "/C-1",
            "contract",
            "contract/..",
            "contract/a/b",
            "contract/%41",
            "Contract/C",
            "contract/C-1042\u{0430}",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad:?}");
        }
    }
}
