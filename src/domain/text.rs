//! Validated text: the one way identifiers are made.
//!
//! Every identifier that reaches a header, a log line or a metric goes through [`text_type!`], so that none can carry a
//! control byte, a space or a look-alike: all of them are visible ASCII (0x21–0x7E) with a named greatest length.

/// Why a piece of text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("a {what} must not be empty")]
    Empty { what: &'static str },
    #[error("a {what} has at most {max} bytes, this one has {len}")]
    TooLong { what: &'static str, max: usize, len: usize },
    #[error("a {what} {rule}")]
    Malformed { what: &'static str, rule: &'static str },
}

/// Checks length and shape. `rule` completes the sentence "a {what} …".
pub(super) fn check(
    what: &'static str,
    max: usize,
    rule: &'static str,
    accept: fn(&str) -> bool,
    text: &str,
) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty { what });
    }
    if text.len() > max {
        return Err(TextError::TooLong { what, max, len: text.len() });
    }
    if accept(text) { Ok(()) } else { Err(TextError::Malformed { what, rule }) }
}

/// Visible ASCII, without the characters that would need quoting in a structured header or a log.
pub(super) fn is_visible(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// `[a-z][a-z0-9_-]*`
pub(super) fn is_lower_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Words of [`is_lower_word`] joined by single dots.
pub(super) fn is_dotted_word(text: &str) -> bool {
    text.split('.').all(is_lower_word)
}

/// What every such text is at least, where a type names no pattern of its own.
#[cfg(feature = "control")]
pub(super) const VISIBLE_PATTERN: &str = "^[!-~]+$";

/// How the API's document describes a text type. `pattern` is a regular expression that ECMA-262 and Rust read alike.
#[cfg(feature = "control")]
pub(super) fn schema(
    description: &str,
    len_max: usize,
    pattern: &str,
    example: Option<&str>,
) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .description(Some(description.split_whitespace().collect::<Vec<_>>().join(" ")))
        .min_length(Some(1))
        .max_length(Some(len_max))
        .pattern(Some(pattern))
        .examples(example)
        .into()
}

/// Defines a shared, immutable, validated string type with `FromStr`, `TryFrom<String>`, `Display`, `AsRef<str>` and serde.
///
/// `pattern` says in the API's document what `accept` does; a test holds the two together.
macro_rules! text_type {
    (
        $(#[doc = $doc:literal])* $name:ident, $what:literal, max $max:literal, $rule:literal, $accept:expr
        $(, pattern $pattern:literal, example $example:literal)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub(in crate::domain) std::sync::Arc<str>);

        impl $name {
            /// Greatest length in bytes.
            pub const LEN_MAX: usize = $max;

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        #[cfg(feature = "control")]
        impl utoipa::ToSchema for $name {}

        #[cfg(feature = "control")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let (pattern, example) = (None$(.or(Some($pattern)))?, None$(.or(Some($example)))?);
                let pattern = pattern.unwrap_or($crate::domain::text::VISIBLE_PATTERN);
                $crate::domain::text::schema(concat!($($doc, "\n"),*), $max, pattern, example)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::TextError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::domain::text::check($what, $max, $rule, $accept, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::domain::TextError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }
    };
}
pub(super) use text_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_words_have_no_empty_part() {
        assert!(is_dotted_word("payment.release"));
        for bad in ["", ".", "a.", ".a", "a..b", "A.b", "a.b c", "1.a"] {
            assert!(!is_dotted_word(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_message_names_kind_and_limit() {
        let error = check("role", 3, "is short", is_lower_word, "abcd").unwrap_err();
        assert_eq!(error.to_string(), "a role has at most 3 bytes, this one has 4");
    }
}
