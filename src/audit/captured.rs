//! What was kept of the members of an override's bodies that the service's file names.
//!
//! INVARIANT: what one body puts into a line is at most `FIELDS_BYTES_MAX` long: longer values are cut, what is left over
//! is left out, and the line says both. A value never shows itself in `Debug`.

use std::fmt;

use serde::Serialize;

use super::cuts::Cuts;
use super::document::Text;

/// Greatest length of one value; a longer one is cut.
pub const VALUE_BYTES_MAX: usize = 256;
/// Values of one body.
pub const VALUES_MAX: usize = 32;
/// What the values of one body may take of a line.
const FIELDS_BYTES_MAX: usize = 3072;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Which key digests were made by, where there are any.
    pub key: Option<String>,
    /// `None` where nothing of it is named.
    pub request: Option<CapturedBody>,
    pub response: Option<CapturedBody>,
}

/// One body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CapturedBody {
    Fields { values: Vec<CapturedValue>, is_whole: bool },
    Not(NotCaptured),
}

/// Why nothing was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotCaptured {
    /// There was no body.
    Empty,
    /// It is longer than what is captured.
    TooLarge,
    /// Too many bodies were held at that moment.
    NoRoom,
    /// It has a content coding (RFC 9110 §8.4).
    Encoded,
    /// It did not pass whole.
    Incomplete,
    /// It is no JSON text (RFC 8259).
    NotJson,
    /// An object on the way to a field has two members of one name: who reads it may see either.
    NameTwice,
    /// Another protocol was spoken.
    SwitchedProtocols,
}

/// One value, or the lack of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedValue {
    /// Where it stood (RFC 6901).
    pub field: String,
    pub json_type: JsonType,
    pub told: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonType {
    String,
    Number,
    Boolean,
    Null,
    Array,
    Object,
    /// The body has no such value.
    Absent,
}

impl JsonType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
            Self::Array => "array",
            Self::Object => "object",
            Self::Absent => "absent",
        }
    }
}

/// What is told of a value beside its type.
#[derive(Clone, PartialEq, Eq)]
pub enum Told {
    /// The text of a string, or a number, true or false as it stood.
    Value(String),
    /// HMAC-SHA-256, hexadecimal.
    Digest(String),
    /// It looks like a token, though its name does not.
    Withheld,
    Nothing,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value(…)",
            Self::Digest(_) => "Digest(…)",
            Self::Withheld => "Withheld",
            Self::Nothing => "Nothing",
        })
    }
}

/// As it stands in a line.
#[derive(Serialize)]
pub(super) struct CapturedFacts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<BodyFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<BodyFacts<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BodyFacts<'a> {
    Fields { fields: Vec<ValueFacts<'a>>, whole: bool },
    Not { not_captured: NotCaptured },
}

#[derive(Serialize)]
struct ValueFacts<'a> {
    field: &'a str,
    #[serde(rename = "type")]
    json_type: JsonType,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hmac_sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<&'static str>,
}

pub(super) fn captured_facts<'a>(captured: &'a Captured, cuts: &mut Cuts) -> CapturedFacts<'a> {
    CapturedFacts {
        key: captured.key.as_deref(),
        request: captured.request.as_ref().map(|body| body_facts(body, cuts)),
        response: captured.response.as_ref().map(|body| body_facts(body, cuts)),
    }
}

fn body_facts<'a>(body: &'a CapturedBody, cuts: &mut Cuts) -> BodyFacts<'a> {
    let (values, is_whole) = match body {
        CapturedBody::Fields { values, is_whole } => (values, *is_whole),
        CapturedBody::Not(why) => return BodyFacts::Not { not_captured: *why },
    };
    let (mut fields, mut left) = (Vec::with_capacity(values.len()), FIELDS_BYTES_MAX);
    for value in values {
        let facts = value_facts(value, cuts);
        let length = serde_json::to_vec(&facts).map_or(usize::MAX, |text| text.len().saturating_add(1));
        let Some(rest) = left.checked_sub(length) else { break };
        left = rest;
        fields.push(facts);
    }
    BodyFacts::Fields { whole: is_whole && fields.len() == values.len(), fields }
}

fn value_facts<'a>(value: &'a CapturedValue, cuts: &mut Cuts) -> ValueFacts<'a> {
    let (mut text, mut digest, mut withheld) = (None, None, None);
    match &value.told {
        Told::Value(value) => text = Some(cuts.text("captured", value, VALUE_BYTES_MAX)),
        Told::Digest(hex) => digest = Some(hex.as_str()),
        Told::Withheld => withheld = Some("token"),
        Told::Nothing => {}
    }
    ValueFacts { field: &value.field, json_type: value.json_type, value: text, hmac_sha256: digest, withheld }
}
