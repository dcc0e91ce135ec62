//! Names and values as a query and a form carry them (RFC 3986 §3.4, WHATWG URL `application/x-www-form-urlencoded`).

/// The text as a value.
pub fn escaped(text: &str) -> String {
    let unreserved = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if unreserved(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A whole form, or a query. The names are ours and need no escaping.
pub fn encoded<V: AsRef<str>>(fields: &[(&str, V)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}={}", escaped(value.as_ref()))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_unreserved_is_escaped() {
        assert_eq!(escaped("a b/\u{e9}+&="), "a%20b%2F%C3%A9%2B%26%3D");
        assert_eq!(encoded(&[("a", "1&2"), ("b", "~")]), "a=1%262&b=~");
    }
}
