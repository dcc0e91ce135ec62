//! The named members of one JSON text (RFC 8259).
//!
//! The text is read by serde_json, one level at a time along the way to the fields, so that depth and time are bounded by the
//! patterns and the text's length; what no pattern leads to is skipped. Numbers keep the digits they have. Must never: pick one
//! of two members of the same name.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::audit::captured::{CapturedBody, CapturedValue, JsonType, NotCaptured, Told, VALUE_BYTES_MAX, VALUES_MAX};
use crate::config::captured_field::{CaptureMode, CapturedField, FieldStep};
use crate::sidecar::keyed_digest::DigestKey;

/// The values of `fields` in `body`, in the order of `fields`.
pub(super) fn extract(body: &[u8], fields: &[&CapturedField], key: Option<&DigestKey>) -> CapturedBody {
    let Some(text) = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
    else {
        return CapturedBody::Not(NotCaptured::NotJson);
    };
    let found = fields.iter().map(|_| Vec::new()).collect();
    let mut walk =
        Walk { fields, key, found, left: VALUES_MAX, is_whole: true, name_twice: false, place: String::new() };
    let all: Vec<usize> = (0..fields.len()).collect();
    if walk.look(text.get(), &all, 0).is_err() {
        return CapturedBody::Not(if walk.name_twice { NotCaptured::NameTwice } else { NotCaptured::NotJson });
    }
    walk.finish()
}

/// Where the reading is, and what it found.
struct Walk<'w> {
    fields: &'w [&'w CapturedField],
    key: Option<&'w DigestKey>,
    /// For each field.
    found: Vec<Vec<CapturedValue>>,
    left: usize,
    is_whole: bool,
    name_twice: bool,
    /// The pointer of the value that is looked at.
    place: String,
}

impl Walk<'_> {
    /// Looks at the value of `text`, to which the first `depth` steps of the `active` fields lead.
    fn look(&mut self, text: &str, active: &[usize], depth: usize) -> Result<(), serde_json::Error> {
        let (ends, on): (Vec<usize>, Vec<usize>) =
            active.iter().copied().partition(|index| self.step(*index, depth).is_none());
        for index in ends {
            self.keep(index, text)?;
        }
        if on.is_empty() || !text.starts_with(['{', '[']) {
            return Ok(());
        }
        serde_json::Deserializer::from_str(text).deserialize_any(Level { walk: self, active: &on, depth })
    }

    fn step(&self, index: usize, depth: usize) -> Option<&FieldStep> {
        self.fields.get(index)?.field.steps().get(depth)
    }

    fn keep(&mut self, index: usize, text: &str) -> Result<(), serde_json::Error> {
        let Some(field) = self.fields.get(index) else { return Ok(()) };
        let (json_type, value) = scalar(text)?;
        let Some(left) = self.left.checked_sub(1) else {
            self.is_whole = false;
            return Ok(());
        };
        self.left = left;
        let told = match (field.mode, value, self.key) {
            (CaptureMode::Value, Some(value), _) => readable(value),
            (CaptureMode::Digest, Some(value), Some(key)) => {
                Told::Digest(key.digest(&[field.field.as_str(), json_type.as_str(), &value]))
            }
            (CaptureMode::Value | CaptureMode::Digest | CaptureMode::Redacted, _, _) => Told::Nothing,
        };
        if let Some(found) = self.found.get_mut(index) {
            found.push(CapturedValue { field: self.place.clone(), json_type, told });
        }
        Ok(())
    }

    /// The fields among `active` that go on in this member or element.
    fn leading(&self, active: &[usize], depth: usize, child: Child<'_>) -> Vec<usize> {
        let leads = |index: &usize| self.step(*index, depth).is_some_and(|step| child.is(step));
        active.iter().copied().filter(leads).collect()
    }

    /// Looks at one that some field leads to.
    fn enter(
        &mut self,
        child: Child<'_>,
        text: &RawValue,
        active: &[usize],
        depth: usize,
    ) -> Result<(), serde_json::Error> {
        let before = self.place.len();
        child.add_to(&mut self.place);
        let looked = self.look(text.get(), active, depth + 1);
        self.place.truncate(before);
        looked
    }

    fn finish(self) -> CapturedBody {
        let mut values = Vec::new();
        for (field, found) in self.fields.iter().zip(self.found) {
            if found.is_empty() && self.is_whole {
                let field = field.field.as_str().to_owned();
                values.push(CapturedValue { field, json_type: JsonType::Absent, told: Told::Nothing });
            }
            values.extend(found);
        }
        CapturedBody::Fields { values, is_whole: self.is_whole }
    }
}

/// A member or an element.
#[derive(Clone, Copy)]
enum Child<'c> {
    Member(&'c str),
    Element(usize),
}

impl Child<'_> {
    fn is(self, step: &FieldStep) -> bool {
        match (self, step) {
            (Self::Member(name), FieldStep::Named(wanted)) => name == wanted,
            (Self::Element(index), FieldStep::Named(wanted)) => is_index(wanted, index),
            (Self::Element(_), FieldStep::EachElement) => true,
            (Self::Member(_), FieldStep::EachElement) => false,
        }
    }

    fn add_to(self, place: &mut String) {
        place.push('/');
        match self {
            Self::Member(name) => place.push_str(&name.replace('~', "~0").replace('/', "~1")),
            Self::Element(index) => place.push_str(&index.to_string()),
        }
    }
}

/// An index has one spelling: digits alone, and no zero before them (RFC 6901 §4).
fn is_index(name: &str, index: usize) -> bool {
    let is_canonical = name == "0" || name.starts_with(|first: char| ('1'..='9').contains(&first));
    is_canonical && name.parse() == Ok(index)
}

/// One object or array on the way.
struct Level<'l, 'w> {
    walk: &'l mut Walk<'w>,
    active: &'l [usize],
    depth: usize,
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let leading = self.walk.leading(self.active, self.depth, Child::Member(&name));
            if leading.is_empty() {
                members.next_value::<IgnoredAny>()?;
            } else {
                let text = members.next_value::<&RawValue>()?;
                let child = Child::Member(&name);
                self.walk.enter(child, text, &leading, self.depth).map_err(A::Error::custom)?;
            }
            if !names.insert(name) {
                self.walk.name_twice = true;
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for index in 0.. {
            let child = Child::Element(index);
            let leading = self.walk.leading(self.active, self.depth, child);
            if leading.is_empty() {
                if elements.next_element::<IgnoredAny>()?.is_none() {
                    break;
                }
                continue;
            }
            let Some(text) = elements.next_element::<&RawValue>()? else { break };
            self.walk.enter(child, text, &leading, self.depth).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The type of a value, and its text where it has one: of a string what it says, of a number its digits as they stand.
fn scalar(text: &str) -> Result<(JsonType, Option<String>), serde_json::Error> {
    Ok(match text.as_bytes().first() {
        Some(b'"') => (JsonType::String, Some(serde_json::from_str(text)?)),
        Some(b'{') => (JsonType::Object, None),
        Some(b'[') => (JsonType::Array, None),
        Some(b't' | b'f') => (JsonType::Boolean, Some(text.to_owned())),
        Some(b'n') => (JsonType::Null, None),
        _ => (JsonType::Number, Some(text.to_owned())),
    })
}

/// A value that may be read, unless it looks like a token. One byte more than fits says that it was cut.
fn readable(mut value: String) -> Told {
    if looks_like_a_token(&value) {
        return Told::Withheld;
    }
    if value.len() > VALUE_BYTES_MAX {
        value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX + 4));
        // What is kept is bounded, and so is the room for it.
        value.shrink_to_fit();
    }
    Told::Value(value)
}

/// A JWT begins with the base64url of `{"`; the rest are words before credentials in headers.
fn looks_like_a_token(value: &str) -> bool {
    let value = value.trim_start();
    let is_jwt = value.starts_with("eyJ") && value.contains('.');
    let scheme = value.split_once(char::is_whitespace).map(|(scheme, _)| scheme);
    is_jwt
        || scheme
            .is_some_and(|scheme| ["bearer", "basic", "dpop"].iter().any(|known| scheme.eq_ignore_ascii_case(known)))
        || value.contains("-----BEGIN ")
}

#[cfg(test)]
#[path = "extract_tests.rs"]
mod tests;
