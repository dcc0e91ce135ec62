//! What stands in the document several times stands once, under `components`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::complete::{member, operations};

/// The items of a page are those of their own schema.
pub(super) fn items(root: &mut Map<String, Value>) {
    let Some(schemas) = member(root, "components").and_then(|components| member(components, "schemas")) else { return };
    for (name, schema) in schemas {
        if let (Some(item), Some(items)) = (name.strip_prefix("Page_"), schema.pointer_mut("/properties/items/items")) {
            *items = json!({ "$ref": format!("#/components/schemas/{item}") });
        }
    }
}

/// Answers that several calls have alike.
pub(super) fn responses(root: &mut Map<String, Value>) {
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    each(root, |status, response| *seen.entry((status.to_owned(), response.to_string())).or_default() += 1);
    let mut names: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut shared = Map::new();
    for (known, _) in seen.into_iter().filter(|(_, count)| *count > 1) {
        let alike = names.keys().filter(|(status, _)| *status == known.0).count();
        let name = format!("answer_{}_{}", known.0, alike + 1);
        shared.insert(name.clone(), serde_json::from_str(&known.1).unwrap_or_default());
        names.insert(known, name);
    }
    each(root, |status, response| {
        if let Some(name) = names.get(&(status.to_owned(), response.to_string())) {
            *response = json!({ "$ref": format!("#/components/responses/{name}") });
        }
    });
    if let Some(components) = member(root, "components") {
        components.insert("responses".to_owned(), Value::Object(shared));
    }
}

fn each(root: &mut Map<String, Value>, mut visit: impl FnMut(&str, &mut Value)) {
    for operation in operations(root) {
        for (status, response) in member(operation, "responses").into_iter().flatten() {
            visit(status, response);
        }
    }
}
