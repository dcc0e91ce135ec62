//! What the document says of every call alike, so that no handler repeats it: who may call, how it refuses, headers.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::problems::{Shape, implied, responses};
use super::{REFUSALS, examples, share};
use crate::control::refusal::Cause;

const SCHEME: &str = "accessToken";
/// Of the operations that are for transmitters of shared signals.
const TRANSMITTER: &str = "transmitter";
/// Of those that are for provisioning clients.
const PROVISIONING: &str = "provisioning";

/// Completes what the handlers' attributes say.
pub(super) fn complete(document: &mut Value) {
    tidy_schemas(document);
    examples::fill(document);
    let Some(root) = document.as_object_mut() else { return };
    root.insert("security".to_owned(), json!([{ SCHEME: [] }]));
    if let Some(components) = member(root, "components") {
        components.insert(
            "securitySchemes".to_owned(),
            json!({ SCHEME: scheme(), TRANSMITTER: transmitter(), PROVISIONING: provisioning() }),
        );
        components.insert("headers".to_owned(), headers());
        components.insert("parameters".to_owned(), json!({ "IfNoneMatch": if_none_match() }));
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
    // SCIM has errors of its own for what its calls make of paths, queries and bodies.
    let is_scim = operation.get("tags").and_then(|tags| tags.get(0)).is_some_and(|tag| tag == super::SCIM);
    let shape = Shape {
        // Whoever has another scheme says so, and is no human.
        authenticated: !operation.contains_key("security"),
        body: !is_scim && operation.contains_key("requestBody"),
        query: !is_scim && is_in("query"),
        path: !is_scim && is_in("path"),
    };
    let own = operation.remove(REFUSALS).unwrap_or_default();
    let own = own.as_array().into_iter().flatten().filter_map(Value::as_str);
    let causes: BTreeSet<Cause> = own.filter_map(Cause::of_code).chain(implied(&shape)).collect();
    let is_tagged = operation.get("responses").is_some_and(|answers| answers.pointer("/200/headers/ETag").is_some());
    if let Some(answers) = member(operation, "responses") {
        answers.values_mut().for_each(|answer| describe_headers(answer, &shape));
        if is_scim {
            scim_failures(answers);
        }
        for (status, answer) in responses(&causes) {
            answers.entry(status).or_insert(answer);
        }
        if is_tagged {
            answers.insert("304".to_owned(), json!({ "description": "It is as the caller knows it (If-None-Match)." }));
        }
    }
    if is_tagged && let Some(Value::Array(all)) = operation.get_mut("parameters") {
        all.push(json!({ "$ref": "#/components/parameters/IfNoneMatch" }));
    } else if is_tagged {
        operation.insert("parameters".to_owned(), json!([{ "$ref": "#/components/parameters/IfNoneMatch" }]));
    }
}

/// An absent member is left out, never null: in what is sent and in what is taken. Formats have their registered names.
fn tidy_schemas(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy_schemas),
        Value::Object(members) => {
            drop_null_type(members);
            name_format(members);
            members.values_mut().for_each(tidy_schemas);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// utoipa 6.0 writes `u-int32`; the registry (<https://spec.openapis.org/registry/format/>) has `uint32`.
fn name_format(schema: &mut Map<String, Value>) {
    let name = schema.get("format").and_then(Value::as_str).and_then(|name| name.strip_prefix("u-")).map(str::to_owned);
    if let Some(name) = name {
        schema.insert("format".to_owned(), format!("u{name}").into());
    }
}

fn drop_null_type(schema: &mut Map<String, Value>) {
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
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

/// The headers that all answers of a kind have.
fn describe_headers(answer: &mut Value, shape: &Shape) {
    let schema = answer.pointer("/content/application~1json/schema/$ref").and_then(Value::as_str);
    let is_page = schema.is_some_and(|name| name.starts_with("#/components/schemas/Page_"));
    let Some(answer) = answer.as_object_mut() else { return };
    let Some(headers) = member(answer, "headers") else { return };
    let shared = [
        ("Link", is_page),
        ("ETag", headers.contains_key("ETag")),
        ("RateLimit", shape.authenticated),
        ("RateLimit-Policy", shape.authenticated),
    ];
    for (name, _) in shared.into_iter().filter(|(_, is_there)| *is_there) {
        headers.insert(name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    }
    if headers.is_empty() {
        answer.remove("headers");
    }
}

fn scheme() -> Value {
    json!({
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "An access token (RFC 9068) of a human's own, from an OpenID Connect issuer that the control \
                        plane is configured for, with the control plane in `aud`.",
    })
}

/// RFC 7644 §3.12; what is refused before a call is looked at is a problem as everywhere.
fn scim_failures(answers: &mut Map<String, Value>) {
    let schema = json!({ "schema": { "$ref": "#/components/schemas/ScimFailure" } });
    let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
    let content = json!({ "application/scim+json": schema, "application/problem+json": problem });
    for status in ["400", "401", "404", "409", "412", "413", "415", "429", "503"] {
        let answer = json!({ "description": "Why it is not done.", "content": content });
        answers.entry(status).or_insert(answer);
    }
}

fn provisioning() -> Value {
    json!({
        "type": "http", "scheme": "bearer",
        "description": "The secret of a provisioning client of the configuration.",
    })
}

fn transmitter() -> Value {
    json!({
        "type": "http", "scheme": "bearer",
        "description": "The secret agreed on with a transmitter of shared signals, where one is configured.",
    })
}

fn headers() -> Value {
    let (integer, text) = (json!({ "type": "integer", "minimum": 0 }), json!({ "type": "string" }));
    json!({
        "ETag": { "description": "A strong tag of the answer: it changes with whatever is shown.", "schema": text },
        "Link": { "description": "The next page, as `rel=\"next\"` (RFC 8288); absent on the last.", "schema": text },
        "RateLimit": {
            "description": "What is left (`r`) of the caller's requests, and seconds until all of them are (`t`).",
            "schema": text, "example": "\"read\";r=599;t=1",
        },
        "RateLimit-Policy": {
            "description": "Requests (`q`) that the caller has in a window of seconds (`w`).",
            "schema": text, "example": "\"read\";q=600;w=60",
        },
        "Retry-After": { "description": "Seconds after which to try again.", "schema": integer },
        "WWW-Authenticate": { "description": "What is wanted (RFC 6750 §3).", "schema": text },
    })
}

fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match", "in": "header", "required": false, "schema": { "type": "string" },
        "description": "An ETag: where it still holds, the answer is 304 and empty.",
    })
}
