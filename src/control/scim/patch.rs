//! PATCH (RFC 7644 §3.5.2) on the attributes that are kept, with the spellings of Entra ID and Okta: operations in any
//! case, booleans as text, values to remove in the body, and whole objects without a path.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::filter::{Path, SyntaxError, Term, known, parse_path};

/// Greatest number of operations in one request.
const OPERATIONS_MAX: usize = 1_000;

/// Why a change can't be made, with its `scimType` (RFC 7644 §3.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatchError {
    #[error("the body is not a PATCH of SCIM")]
    Body,
    #[error("an operation is add, replace or remove")]
    Operation,
    #[error("a PATCH has at most {OPERATIONS_MAX} operations")]
    TooMany,
    #[error("{0}")]
    Path(#[from] SyntaxError),
    #[error("remove says what by a path")]
    NoTarget,
    #[error("a value is not of the attribute's kind")]
    Value,
}

impl PatchError {
    pub(super) const fn scim_type(self) -> &'static str {
        match self {
            Self::Body | Self::Operation => "invalidSyntax",
            Self::TooMany => "tooMany",
            Self::Path(SyntaxError::Filter) => "invalidFilter",
            Self::Path(SyntaxError::Path) => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::Value => "invalidValue",
        }
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Operations", alias = "operations")]
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    op: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    value: Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Replace,
    Remove,
}

/// What a body's operations make of a resource.
///
/// # Errors
/// [`PatchError`]; then nothing is to be kept of it.
pub(super) fn apply(document: &mut Map<String, Value>, body: &[u8]) -> Result<(), PatchError> {
    let body: Body = serde_json::from_slice(body).map_err(|_| PatchError::Body)?;
    if body.operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooMany);
    }
    for operation in body.operations {
        let op = match operation.op.to_ascii_lowercase().as_str() {
            "add" => Op::Add,
            "replace" => Op::Replace,
            "remove" => Op::Remove,
            _ => return Err(PatchError::Operation),
        };
        match operation.path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => change(document, op, &parse_path(path)?, operation.value.unwrap_or_default())?,
            None if op == Op::Remove => return Err(PatchError::NoTarget),
            None => {
                let Some(Value::Object(members)) = operation.value else { return Err(PatchError::Value) };
                for (name, value) in members {
                    change(document, op, &parse_path(&name)?, value)?;
                }
            }
        }
    }
    Ok(())
}

fn change(document: &mut Map<String, Value>, op: Op, path: &Path, value: Value) -> Result<(), PatchError> {
    // What is not kept can't be changed, and what is ours is not theirs to change.
    let Some(name) = path.attribute.filter(|name| !matches!(*name, "id" | "schemas")) else { return Ok(()) };
    if matches!(name, "emails" | "members") {
        return change_many(document, (op, name, path), value);
    }
    match (op, path.sub) {
        (Op::Remove, None) => drop(document.remove(name)),
        (Op::Remove, Some(sub)) => {
            if let Some(Value::Object(members)) = document.get_mut(name) {
                members.remove(sub);
            }
        }
        (Op::Add | Op::Replace, None) => match (document.get_mut(name), canonical(name, value)) {
            // Of a complex attribute the sub-attributes that are not named stay.
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (_, value) => drop(document.insert(name.to_owned(), value)),
        },
        (Op::Add | Op::Replace, Some(sub)) => {
            let members = document.entry(name).or_insert_with(|| json!({})).as_object_mut().ok_or(PatchError::Value)?;
            members.insert(sub.to_owned(), value);
        }
    }
    Ok(())
}

/// Attributes of many values.
fn change_many(
    document: &mut Map<String, Value>,
    (op, name, path): (Op, &'static str, &Path),
    value: Value,
) -> Result<(), PatchError> {
    let values = document.entry(name).or_insert_with(|| json!([])).as_array_mut().ok_or(PatchError::Value)?;
    let is_meant = |one: &Value| path.filter.iter().all(|term| fits(one, term));
    match (op, path.sub) {
        (Op::Remove, None) if path.filter.is_empty() => match listed(name, value)? {
            // Entra ID names in the body which are to go.
            gone if !gone.is_empty() => values.retain(|one| !gone.iter().any(|gone| is_same(gone, one))),
            _ => values.clear(),
        },
        (Op::Remove, None) => values.retain(|one| !is_meant(one)),
        (Op::Remove, Some(sub)) => {
            for one in values.iter_mut().filter(|one| is_meant(one)).filter_map(Value::as_object_mut) {
                one.remove(sub);
            }
        }
        (Op::Add | Op::Replace, Some(sub)) => {
            set_in_each(values, path, (sub, &value));
        }
        (Op::Replace, None) if path.filter.is_empty() => *values = listed(name, value)?,
        (Op::Add | Op::Replace, None) => {
            let new = listed(name, value)?;
            if op == Op::Replace {
                values.retain(|one| !is_meant(one));
            }
            for one in new {
                values.retain(|old| !is_same(old, &one));
                values.push(one);
            }
        }
    }
    Ok(())
}

/// Sets a sub-attribute of each that is meant. Where there is none, clients mean one that would be.
fn set_in_each(values: &mut Vec<Value>, path: &Path, (sub, value): (&str, &Value)) {
    let mut found = false;
    for one in values.iter_mut().filter(|one| path.filter.iter().all(|term| fits(one, term))) {
        if let Some(one) = one.as_object_mut() {
            one.insert(sub.to_owned(), value.clone());
            found = true;
        }
    }
    if !found {
        let mut one: Map<String, Value> =
            path.filter.iter().map(|term| (term.attribute.clone(), term.value.clone())).collect();
        one.insert(sub.to_owned(), value.clone());
        values.push(one.into());
    }
}

fn fits(one: &Value, term: &Term) -> bool {
    match (one.get(&term.attribute), &term.value) {
        (Some(Value::String(own)), Value::String(wanted)) => own.eq_ignore_ascii_case(wanted),
        (own, wanted) => own == Some(wanted),
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    one.get("value").is_some_and(|value| other.get("value") == Some(value))
}

/// One value or several, each an object with the attributes that are kept.
fn listed(name: &str, value: Value) -> Result<Vec<Value>, PatchError> {
    let values = match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values,
        one => vec![one],
    };
    values
        .into_iter()
        .map(|value| match canonical(name, value) {
            Value::String(text) => Ok(json!({ "value": text })),
            value @ Value::Object(_) => Ok(value),
            _ => Err(PatchError::Value),
        })
        .collect()
}

/// The value with its members as the schema spells them, without those that are not kept; a boolean that came as text.
pub(super) fn canonical(name: &str, value: Value) -> Value {
    match value {
        Value::String(text) if name == "active" && text.eq_ignore_ascii_case("true") => true.into(),
        Value::String(text) if name == "active" && text.eq_ignore_ascii_case("false") => false.into(),
        Value::Object(members) => {
            let kept = members.into_iter().filter_map(|(name, value)| Some((known(&name)?, value)));
            Value::Object(kept.map(|(name, value)| (name.to_owned(), canonical(name, value))).collect())
        }
        Value::Array(values) => values.into_iter().map(|value| canonical(name, value)).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(document: Value, operations: Value) -> Result<Value, PatchError> {
        let Value::Object(mut document) = document else { panic!() };
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        apply(&mut document, body.to_string().as_bytes()).map(|()| document.into())
    }

    #[test]
    fn what_entra_id_sends() {
        let user = json!({"userName": "a", "active": true, "emails": [{"type": "work", "value": "a@x"}]});
        let off = json!([{"op": "Replace", "path": "active", "value": "False"}]);
        assert_eq!(patched(user.clone(), off).unwrap()["active"], false);
        let mail = json!([{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "b@x"},
            {"op": "Add", "path": "emails[type eq \"home\"].value", "value": "c@x"},
            {"op": "Add", "path": "name.givenName", "value": "A"},
            {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "x"}]);
        let changed = patched(user.clone(), mail).unwrap();
        assert_eq!(changed["emails"], json!([{"type": "work", "value": "b@x"}, {"type": "home", "value": "c@x"}]));
        assert_eq!(changed["name"], json!({"givenName": "A"}));
        let whole = json!([{"op": "replace", "value": {"name.familyName": "B", "displayName": "AB", "title": "x"}}]);
        let changed = patched(user, whole).unwrap();
        assert_eq!((&changed["displayName"], &changed["name"]), (&json!("AB"), &json!({"familyName": "B"})));
        assert!(changed.get("title").is_none());
        let group = json!({"displayName": "g", "members": [{"value": "1"}, {"value": "2"}]});
        let gone = json!([{"op": "Remove", "path": "members", "value": [{"value": "1"}]}]);
        assert_eq!(patched(group.clone(), gone).unwrap()["members"], json!([{"value": "2"}]));
        let more = json!([{"op": "Add", "path": "members", "value": [{"value": "2"}, {"value": "3"}]}]);
        assert_eq!(patched(group, more).unwrap()["members"], json!([{"value": "1"}, {"value": "2"}, {"value": "3"}]));
    }

    #[test]
    fn what_okta_sends() {
        let user = json!({"userName": "a", "active": true});
        let off = json!([{"op": "replace", "value": {"active": false}}]);
        assert_eq!(patched(user, off).unwrap()["active"], false);
        let group = json!({"displayName": "g", "members": [{"value": "1"}, {"value": "2"}]});
        let gone = json!([{"op": "remove", "path": "members[value eq \"1\"]"}]);
        assert_eq!(patched(group.clone(), gone).unwrap()["members"], json!([{"value": "2"}]));
        let named = json!([{"op": "replace", "value": {"id": "other", "displayName": "h"}}]);
        let changed = patched(group.clone(), named).unwrap();
        assert_eq!((&changed["displayName"], changed.get("id")), (&json!("h"), None));
        let all = json!([{"op": "replace", "path": "members", "value": [{"value": "9", "display": "x"}]}]);
        assert_eq!(patched(group.clone(), all).unwrap()["members"], json!([{"value": "9", "display": "x"}]));
        let none = json!([{"op": "remove", "path": "members"}]);
        assert_eq!(patched(group, none).unwrap()["members"], json!([]));
    }

    #[test]
    fn what_is_no_patch_is_refused_whole() {
        let user = || json!({"userName": "a"});
        for (operations, scim_type) in [
            (json!([{"op": "move", "path": "active"}]), "invalidSyntax"),
            (json!([{"op": "remove"}]), "noTarget"),
            (json!([{"op": "add", "value": "x"}]), "invalidValue"),
            (json!([{"op": "add", "path": "members", "value": 7}]), "invalidValue"),
            (json!([{"op": "remove", "path": "members[value gt 1]"}]), "invalidFilter"),
            (json!([{"op": "remove", "path": "members["}]), "invalidPath"),
            (json!({"op": "remove"}), "invalidSyntax"),
        ] {
            assert_eq!(
                patched(user(), operations.clone()).map_err(PatchError::scim_type),
                Err(scim_type),
                "{operations}"
            );
        }
    }
}
