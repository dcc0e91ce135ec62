//! Bodies of every kind, good and bad.

use super::*;
use crate::config::captured_field::CapturedSide;

fn field(pattern: &str, mode: CaptureMode) -> CapturedField {
    CapturedField { body: CapturedSide::Request, field: pattern.parse().unwrap(), mode }
}

fn key() -> DigestKey {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [b'k'; 32]).unwrap();
    DigestKey::load(file.path()).unwrap()
}

fn extracted(body: &[u8], fields: &[CapturedField]) -> CapturedBody {
    extract(body, &fields.iter().collect::<Vec<_>>(), Some(&key()))
}

/// `field type value` of each, and whether these are all.
fn told(body: &CapturedBody) -> (Vec<String>, bool) {
    let CapturedBody::Fields { values, is_whole } = body else { panic!("{body:?}") };
    let text = |value: &CapturedValue| {
        let told = match &value.told {
            Told::Value(text) => format!(" {text}"),
            Told::Digest(hex) => format!(" #{hex}"),
            Told::Withheld => " withheld".to_owned(),
            Told::Nothing => String::new(),
        };
        format!("{} {}{told}", value.field, value.json_type.as_str())
    };
    (values.iter().map(text).collect(), *is_whole)
}

fn values(body: &str, patterns: &[&str]) -> Vec<String> {
    let fields: Vec<_> = patterns.iter().map(|pattern| field(pattern, CaptureMode::Value)).collect();
    told(&extracted(body.as_bytes(), &fields)).0
}

fn fault(body: &[u8], pattern: &str) -> Option<NotCaptured> {
    match extracted(body, &[field(pattern, CaptureMode::Value)]) {
        CapturedBody::Not(why) => Some(why),
        CapturedBody::Fields { .. } => None,
    }
}

#[test]
fn named_members_are_found_in_the_order_they_are_named() {
    let body = r#" {"b": {"c": [10, {"d": "x"}, true]}, "a~/": null, "": -0.0, "n": 1e400, "o": {}} "#;
    assert_eq!(
        values(body, &["/n", "/b/c/1/d", "/b/c/2", "/a~0~1", "/", "/b/c", "/o", "/b/x", "/b/c/01", "/n/x"]),
        [
            "/n number 1e400",
            "/b/c/1/d string x",
            "/b/c/2 boolean true",
            "/a~0~1 null",
            "/ number -0.0",
            "/b/c array",
            "/o object",
            "/b/x absent",
            "/b/c/01 absent",
            "/n/x absent",
        ]
    );
    assert_eq!(values("7", &["/a"]), ["/a absent"]);
}

#[test]
fn a_star_is_every_element_of_an_array_and_nothing_else() {
    let body = r#"{"lines": [{"sum": 1}, {"sum": "2"}, {}, 4], "map": {"x": {"sum": 5}}, "*": 1}"#;
    assert_eq!(
        values(body, &["/lines/*/sum", "/lines/1/sum", "/map/*/sum", "/*"]),
        ["/lines/0/sum number 1", "/lines/1/sum string 2", "/lines/1/sum string 2", "/map/*/sum absent", "/* absent"]
    );
    assert_eq!(values("[[1],[2]]", &["/*/*"]), ["/0/0 number 1", "/1/0 number 2"]);
    let many = format!("[{}]", vec!["1"; VALUES_MAX + 1].join(","));
    let (found, is_whole) = told(&extracted(many.as_bytes(), &[field("/*", CaptureMode::Value)]));
    assert_eq!((found.len(), is_whole), (VALUES_MAX, false));
}

#[test]
fn digests_can_be_compared_and_not_read() {
    let body = br#"{"iban":"DE1","n":12,"o":[]}"#;
    let fields = ["/iban", "/n", "/o"].map(|pattern| field(pattern, CaptureMode::Digest));
    let (found, _) = told(&extracted(body, &fields));
    // printf '/iban\0string\0DE1' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
    assert_eq!(found[0], "/iban string #c763728afe367468c855b829f7e752bdbff31633cf524983bc7c707a09668582");
    assert!(found[1].starts_with("/n number #") && found[2] == "/o array", "{found:?}");
    let (other, _) = told(&extracted(br#"{"iban":"D\u0045\u0031","n":"12"}"#, &fields));
    assert_eq!(other[0], found[0], "what a string says counts, not how it is written");
    assert_ne!(other[1].split('#').nth(1), found[1].split('#').nth(1), "a text is no number");
    let (redacted, _) = told(&extracted(body, &[field("/iban", CaptureMode::Redacted)]));
    assert_eq!(redacted, ["/iban string"]);
}

#[test]
fn strings_are_told_as_what_they_say() {
    assert_eq!(
        values(r#"{"a":"\u00e4\n\ud83d\ude00\"","\u0062":1}"#, &["/a", "/b"]),
        ["/a string ä\n😀\"", "/b number 1"]
    );
    for text in [r#"{"a":"\ud83d"}"#, r#"{"a":"\u12"}"#, "{\"a\":\"\u{1}\"}"] {
        assert_eq!(fault(text.as_bytes(), "/a"), Some(NotCaptured::NotJson), "{text}");
    }
    let long = format!(r#"{{"a":"{}"}}"#, "ä".repeat(5000));
    let found = values(&long, &["/a"]);
    assert!((VALUE_BYTES_MAX + 1..VALUE_BYTES_MAX + 20).contains(&found[0].len()), "{}", found[0].len());
}

#[test]
fn tokens_are_withheld_whatever_the_member_is_called() {
    for value in [
        "eyJhbGciOiJFZERTQSJ9.e30.x",
        " eyJhbGciOiJFZERTQSJ9.e30.x",
        "Bearer abc",
        "\tBearer abc",
        "\r\n  bearer\tabc",
        "basic YQ==",
        "-----BEGIN PRIVATE KEY-----",
    ] {
        let body = serde_json::json!({ "note": value }).to_string();
        assert_eq!(values(&body, &["/note"]), ["/note string withheld"], "{value}");
    }
    assert_eq!(values(r#"{"note":"the bearer of this"}"#, &["/note"]), ["/note string the bearer of this"]);
}

#[test]
fn what_is_no_json_is_said_so() {
    for body in [
        &b"a=1&b=2"[..],
        b"{\"a\":1",
        b"{\"a\":1}x",
        b"{\"a\":1}{}",
        b"{\"a\":\"\xff\"}",
        b"{\"b\":\"\xff\"}",
        b"\xef\xbb\xbf{\"a\":1}",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":NaN}",
        b"{\"a\":1,}",
        b" ",
        b"\xff\xfe{\x00}\x00",
    ] {
        assert_eq!(fault(body, "/a"), Some(NotCaptured::NotJson), "{}", body.escape_ascii());
    }
}

#[test]
fn a_name_that_stands_twice_on_the_way_is_said_so() {
    for body in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"{"x":1,"x":2,"a":3}"#] {
        assert_eq!(fault(body.as_bytes(), "/a"), Some(NotCaptured::NameTwice), "{body}");
    }
    let inside = r#"{"a":[{"b":1,"b":2}],"other":{"x":1,"x":2}}"#;
    assert_eq!(fault(inside.as_bytes(), "/a/*/b"), Some(NotCaptured::NameTwice));
    assert_eq!(fault(inside.as_bytes(), "/a"), None, "no field is picked there");
}

/// A megabyte of nesting costs no stack, wherever it stands.
#[test]
fn nesting_has_no_depth_that_hurts() {
    let deep = format!("{}1{}", "[".repeat(500_000), "]".repeat(500_000));
    for body in [format!(r#"{{"x":{deep},"a":1}}"#), format!(r#"{{"a":{deep}}}"#), deep] {
        let (found, _) = told(&extracted(body.as_bytes(), &[field("/a", CaptureMode::Value)]));
        assert_eq!(found.len(), 1);
    }
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert_eq!(values(&objects, &["/a/a/a/a/a/a/a/a"]), ["/a/a/a/a/a/a/a/a object"]);
}

mod properties {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[ab*/~]{0,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Without a star, what is found is what serde_json's own pointer finds.
        #[test]
        fn a_pointer_finds_what_it_names(body in json(), steps in prop::collection::vec("([ab/~]{0,2}|[0-2])", 1..4)) {
            let pattern: String = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
            let found = extracted(body.to_string().as_bytes(), &[field(&pattern, CaptureMode::Value)]);
            let (found, _) = told(&found);
            let wanted = match body.pointer(&pattern) {
                None => format!("{pattern} absent"),
                Some(Value::Null) => format!("{pattern} null"),
                Some(Value::Array(_)) => format!("{pattern} array"),
                Some(Value::Object(_)) => format!("{pattern} object"),
                Some(Value::Bool(value)) => format!("{pattern} boolean {value}"),
                Some(Value::Number(value)) => format!("{pattern} number {value}"),
                Some(Value::String(value)) => format!("{pattern} string {value}"),
            };
            prop_assert_eq!(found, [wanted]);
        }

        /// Whatever the bytes are, they are looked at without a panic.
        #[test]
        fn any_bytes_are_looked_at(body in prop::collection::vec(any::<u8>(), 0..200)) {
            extracted(&body, &[field("/*/a", CaptureMode::Value), field("/a", CaptureMode::Digest)]);
        }
    }
}
