//! An example for every schema that can have one, put together from those of its members.

use serde_json::{Map, Value, json};

/// Depth of references that is followed.
const DEPTH_MAX: u8 = 8;

/// Gives each object of the components its example.
pub(super) fn fill(document: &mut Value) {
    let Some(schemas) = document.pointer("/components/schemas").and_then(Value::as_object).cloned() else { return };
    let Some(Value::Object(filled)) = document.pointer_mut("/components/schemas") else { return };
    for (name, schema) in filled {
        let Some(members) = schema.as_object_mut() else { continue };
        let is_without = !members.contains_key("examples") && !members.contains_key("example");
        if is_without
            && members.contains_key("properties")
            && let Some(example) = schemas.get(name).and_then(|schema| example(schema, &schemas, 0))
        {
            members.insert("examples".to_owned(), json!([example]));
        }
    }
}

/// `None` where a demanded member has none.
fn example(schema: &Value, schemas: &Map<String, Value>, depth: u8) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    if let Some(name) = schema["$ref"].as_str() {
        return example(schemas.get(name.rsplit('/').next()?)?, schemas, depth + 1);
    }
    if let Some(own) = schema.get("example").or_else(|| schema.pointer("/examples/0")) {
        return Some(own.clone());
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return Some(first.clone());
    }
    match schema["type"].as_str()? {
        "object" => object(schema, schemas, depth),
        "array" => Some(json!([example(&schema["items"], schemas, depth + 1)?])),
        "boolean" => Some(json!(true)),
        _ => None,
    }
}

fn object(schema: &Value, schemas: &Map<String, Value>, depth: u8) -> Option<Value> {
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let mut members = Map::new();
    for (name, member) in schema["properties"].as_object()? {
        match example(member, schemas, depth + 1) {
            Some(value) => members.insert(name.clone(), value),
            None if is_required(name) => return None,
            None => None,
        };
    }
    Some(Value::Object(members))
}
