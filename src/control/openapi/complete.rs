//! What the document says of every call alike, so that no handler repeats it: who may call, how it refuses, headers.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::problems::{Shape, implied, responses};
use super::{REFUSALS, examples, share};
use crate::control::refusal::Cause;

const SCHEME: &str = "accessToken";

/// Completes what the handlers' attributes say.
pub(super) fn complete(document: &mut Value) {
    without_null(document);
    examples::fill(document);
    let Some(root) = document.as_object_mut() else { return };
    root.insert("security".to_owned(), json!([{ SCHEME: [] }]));
    if let Some(components) = member(root, "components") {
        components.insert("securitySchemes".to_owned(), json!({ SCHEME: scheme() }));
        components.insert("headers".to_owned(), headers());
    }
    for operation in operations(root) {
        complete_operation(operation);
    }
    share::items(root);
    share::responses(root);
}

pub(super) fn member<'v>(of: &'v mut Map<String, Value>, name: &str) -> Option<&'v mut Map<String, Value>> {
    of.entry(name).or_insert_with(|| json!({})).as_object_mut()
}

pub(super) fn operations(root: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = root.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    let items = paths.filter_map(Value::as_object_mut).flat_map(Map::iter_mut);
    items.filter(|(name, _)| is_method(name)).filter_map(|(_, operation)| operation.as_object_mut())
}

fn is_method(name: &str) -> bool {
    matches!(name, "get" | "put" | "post" | "delete" | "options" | "head" | "patch" | "trace")
}

fn complete_operation(operation: &mut Map<String, Value>) {
    let is_open = operation.get("security").and_then(Value::as_array).is_some_and(|demands| demands == &[json!({})]);
    if is_open {
        operation.insert("security".to_owned(), json!([]));
    }
    let parameters = operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_in = |place: &str| parameters.iter().any(|parameter| parameter["in"] == place);
    let shape = Shape {
        authenticated: !is_open,
        body: operation.contains_key("requestBody"),
        query: is_in("query"),
        path: is_in("path"),
    };
    let own = operation.remove(REFUSALS).unwrap_or_default();
    let own = own.as_array().into_iter().flatten().filter_map(Value::as_str);
    let causes: BTreeSet<Cause> = own.filter_map(Cause::of_code).chain(implied(&shape)).collect();
    if let Some(answers) = member(operation, "responses") {
        answers.extend(responses(&causes));
    }
}

/// An absent member is left out, never null: in what is sent and in what is taken.
fn without_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(members) => {
            drop_null_type(members);
            members.values_mut().for_each(without_null);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_null_type(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("oneOf") else { return };
    choices.retain(|choice| choice != &json!({ "type": "null" }));
    if let [Value::Object(one)] = choices.as_mut_slice() {
        let one = std::mem::take(one);
        schema.remove("oneOf");
        schema.extend(one);
    }
}

fn scheme() -> Value {
    json!({
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "An access token (RFC 9068) of a human's own, from an OpenID Connect issuer that the control \
                        plane is configured for, with the control plane in `aud`.",
    })
}

fn headers() -> Value {
    let integer = json!({ "type": "integer", "minimum": 0 });
    json!({
        "Retry-After": { "description": "Seconds after which to try again.", "schema": integer },
        "WWW-Authenticate": { "description": "What is wanted (RFC 6750 §3).", "schema": { "type": "string" } },
    })
}
