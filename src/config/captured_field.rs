//! `[[route.capture]]`: members of JSON bodies that the audit log keeps of an override.
//!
//! Off unless a route names them, and never of ordinary traffic. A field is named by a JSON Pointer (RFC 6901) in which `*`
//! stands for every element of an array. Must never: let a member whose name says that it is a secret be kept readable.

use std::fmt;
use std::str::FromStr;

use super::reader::Section;

/// Fields of one route, of both bodies together.
const FIELDS_MAX: usize = 32;

/// One field that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedField {
    pub body: CapturedSide,
    pub field: FieldPattern,
    pub mode: CaptureMode,
}

/// Whose body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapturedSide {
    Request,
    Response,
}

/// How it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureMode {
    /// As it stands.
    Value,
    /// As a keyed digest: comparable, not readable.
    Digest,
    /// Its type alone.
    Redacted,
}

const SIDES: &[(&str, CapturedSide)] = &[("request", CapturedSide::Request), ("response", CapturedSide::Response)];
const MODES: &[(&str, CaptureMode)] =
    &[("value", CaptureMode::Value), ("digest", CaptureMode::Digest), ("redacted", CaptureMode::Redacted)];

/// A JSON Pointer in which `*` is every element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPattern {
    text: String,
    steps: Vec<FieldStep>,
}

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldStep {
    /// The member of this name, or the element at this index.
    Named(String),
    EachElement,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("must be a JSON Pointer: begin with '/' (RFC 6901)")]
    NoLeadingSlash,
    #[error("has more than {} bytes", FieldPattern::BYTES_MAX)]
    TooLong,
    #[error("has more than {} steps", FieldPattern::STEPS_MAX)]
    TooManySteps,
    #[error("'~' is followed by 0 or 1 (RFC 6901)")]
    Escape,
    #[error("must not hold control characters")]
    Control,
}

impl FieldPattern {
    pub const BYTES_MAX: usize = 128;
    pub const STEPS_MAX: usize = 8;

    pub fn steps(&self) -> &[FieldStep] {
        &self.steps
    }

    /// As it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The member's name that sounds like a secret, where one on the way does.
    fn secret_name(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match step {
            FieldStep::Named(name) if sounds_secret(name) => Some(name.as_str()),
            FieldStep::Named(_) | FieldStep::EachElement => None,
        })
    }
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for FieldPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > Self::BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        let steps = text.strip_prefix('/').ok_or(PatternError::NoLeadingSlash)?;
        let steps: Vec<_> = steps.split('/').map(step).collect::<Result<_, _>>()?;
        if steps.len() > Self::STEPS_MAX {
            return Err(PatternError::TooManySteps);
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

fn step(token: &str) -> Result<FieldStep, PatternError> {
    if token == "*" {
        return Ok(FieldStep::EachElement);
    }
    let mut name = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        name.push(match (character, character == '~') {
            (other, false) => other,
            (_, true) => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some(_) | None => return Err(PatternError::Escape),
            },
        });
    }
    Ok(FieldStep::Named(name))
}

/// Whether a member of this name is likely to hold a credential.
fn sounds_secret(name: &str) -> bool {
    const PARTS: &[&str] = &[
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "credential",
        "apikey",
        "privatekey",
        "authorization",
        "cookie",
        "signature",
    ];
    const WHOLE: &[&str] = &["pin", "otp", "cvv", "cvc", "cvv2", "pan", "cardnumber", "jwt", "session", "sessionid"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    PARTS.iter().any(|part| plain.contains(part)) || WHOLE.contains(&plain.as_str())
}

/// The fields that a route names.
pub(super) fn read_fields(route: &Section<'_>) -> Vec<CapturedField> {
    let sections = route.sections("capture");
    if sections.len() > FIELDS_MAX {
        route.mistake("capture", format_args!("at most {FIELDS_MAX} fields"), None);
        sections.iter().for_each(Section::ignore_unknown);
        return Vec::new();
    }
    let mut fields: Vec<CapturedField> = Vec::with_capacity(sections.len());
    for section in sections {
        let Some(field) = read_field(&section) else { continue };
        if fields.iter().any(|known| (known.body, &known.field) == (field.body, &field.field)) {
            section.mistake("field", "stands twice", None);
        }
        fields.push(field);
    }
    fields
}

fn read_field(section: &Section<'_>) -> Option<CapturedField> {
    let body = section.choice("body", SIDES);
    if !section.has("body") {
        section.missing("body");
    }
    let field: Option<FieldPattern> = section.required("field");
    let mode = section.choice("as", MODES);
    if !section.has("as") {
        section.missing("as");
    }
    if mode == Some(CaptureMode::Value)
        && let Some(name) = field.as_ref().and_then(FieldPattern::secret_name)
    {
        let hint = "use as = \"digest\" or as = \"redacted\"";
        section.mistake(
            "field",
            format_args!("\"{name}\" sounds like a secret, which is never kept readable"),
            Some(hint),
        );
    }
    Some(CapturedField { body: body?, field: field?, mode: mode? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::reader;

    fn fields(text: &str) -> Result<Vec<CapturedField>, String> {
        let read = |root: &Section<'_>| Some(read_fields(root));
        reader::parse(Path::new("s.toml"), text, read).map_err(|error| error.to_string())
    }

    fn one(field: &str, mode: &str) -> String {
        format!("[[capture]]\nbody = \"request\"\nfield = {field:?}\nas = \"{mode}\"\n")
    }

    #[test]
    fn a_field_is_a_json_pointer() {
        let steps = |text: &str| text.parse::<FieldPattern>().unwrap().steps().to_vec();
        let named = |name: &str| FieldStep::Named(name.to_owned());
        assert_eq!(steps("/a~1b/m~0n/~01"), [named("a/b"), named("m~n"), named("~1")]);
        assert_eq!(steps("/items/*/0"), [named("items"), FieldStep::EachElement, named("0")]);
        assert_eq!(steps("/"), [named("")]);
        assert_eq!(steps("/**"), [named("**")]);
        for (text, error) in [
            ("", PatternError::NoLeadingSlash),
            ("amount", PatternError::NoLeadingSlash),
            ("/a~", PatternError::Escape),
            ("/a~2", PatternError::Escape),
            ("/a\nb", PatternError::Control),
            ("/1/2/3/4/5/6/7/8/9", PatternError::TooManySteps),
        ] {
            assert_eq!(text.parse::<FieldPattern>(), Err(error), "{text:?}");
        }
        assert_eq!(format!("/{}", "a".repeat(128)).parse::<FieldPattern>(), Err(PatternError::TooLong));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, wanted) in [
            ("[[capture]]\nfield = \"/a\"\nas = \"value\"\n".to_owned(), "s.toml:1:1: capture[0].body: is missing"),
            (
                "[[capture]]\nbody = \"request\"\nas = \"value\"\n".to_owned(),
                "s.toml:1:1: capture[0].field: is missing",
            ),
            ("[[capture]]\nbody = \"request\"\nfield = \"/a\"\n".to_owned(), "s.toml:1:1: capture[0].as: is missing"),
            (one("a", "value"), "s.toml:3:9: capture[0].field: must be a JSON Pointer"),
            (
                one("/a", "valeu"),
                "s.toml:4:6: capture[0].as: must be one of \"value\", \"digest\", \"redacted\" (did you",
            ),
            (one("/a", "digest") + &one("/a", "value"), "s.toml:7:9: capture[1].field: stands twice"),
            (one("/a", "value") + "pointer = 1\n", "s.toml:5:1: capture[0].pointer: unknown key"),
            (one("/a", "value").repeat(33), "capture: at most 32 fields"),
            ("capture = 3\n".to_owned(), "capture: must be a list of tables"),
        ] {
            let report = fields(&text).unwrap_err();
            assert!(report.contains(wanted), "{wanted:?} is not in {report}");
        }
        assert_eq!(fields("").unwrap(), []);
        assert_eq!(fields(&one("/amount/value", "value")).unwrap().len(), 1);
    }

    #[test]
    fn what_sounds_like_a_secret_is_never_kept_readable() {
        for name in
            ["/Password", "/api-key", "/a/API_Key/b", "/clientSecret", "/access_token", "/pin", "/card/CVV", "/*/jwt"]
        {
            let report = fields(&one(name, "value")).unwrap_err();
            assert!(report.contains("sounds like a secret"), "{name}: {report}");
            assert!(fields(&one(name, "digest")).is_ok() && fields(&one(name, "redacted")).is_ok(), "{name}");
        }
        for name in ["/shipping", "/panel", "/amount", "/pinned", "/keys/*/name"] {
            assert!(fields(&one(name, "value")).is_ok(), "{name}");
        }
    }
}
