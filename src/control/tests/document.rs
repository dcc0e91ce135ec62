//! The API's document is that of the code, and what it says of texts is what the code takes.

use proptest::prelude::*;
use utoipa::PartialSchema;

use crate::control::openapi::document;
use crate::domain::{
    Action, ElevationId, GrantId, InstanceName, Issuer, Person, ReasonCode, Resource, Role, ServiceName, TextError,
    Ticket,
};

/// `UPDATE_DOCS=1 cargo test --lib control::tests::document` writes it anew.
#[test]
fn the_committed_document_is_that_of_the_code() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let text = std::str::from_utf8(&document().text).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, text).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(committed == text, "UPDATE_DOCS=1 cargo test --lib control::tests::document writes docs/openapi.json anew");
}

/// The pattern and the greatest length of a text type, and its example.
fn described<T: PartialSchema>() -> (regex::Regex, usize, String) {
    let schema = serde_json::to_value(T::schema()).unwrap();
    let pattern = regex::Regex::new(schema["pattern"].as_str().unwrap()).unwrap();
    let example = schema["examples"][0].as_str().unwrap_or_else(|| panic!("{schema} has no example"));
    (pattern, schema["maxLength"].as_u64().unwrap() as usize, example.to_owned())
}

fn agrees<T: PartialSchema + std::str::FromStr<Err = TextError>>(text: &str) {
    let (pattern, len_max, example) = described::<T>();
    assert!(example.parse::<T>().is_ok(), "{example}");
    let said = text.len() <= len_max && pattern.is_match(text);
    assert_eq!(said, text.parse::<T>().is_ok(), "{text:?} and {pattern}");
}

fn all_agree(text: &str) {
    agrees::<Action>(text);
    agrees::<ElevationId>(text);
    agrees::<GrantId>(text);
    agrees::<InstanceName>(text);
    agrees::<Issuer>(text);
    agrees::<Person>(text);
    agrees::<ReasonCode>(text);
    agrees::<Resource>(text);
    agrees::<Role>(text);
    agrees::<ServiceName>(text);
    agrees::<Ticket>(text);
}

proptest! {
    #[test]
    fn a_pattern_takes_what_the_type_takes(
        text in "\\PC{0,4}|[a-c.A-]{0,8}|[gef]-[0-9a-z]{11,13}|[a-b]{1,2}/[.]{0,3}[a.]{0,3}|a/[b.]{126,130}|[a-c]{60,130}",
    ) {
        all_agree(&text);
    }
}
