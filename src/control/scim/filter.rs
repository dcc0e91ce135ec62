//! Filters as provisioning clients send them (RFC 7644 §3.4.2.2): comparisons by `eq`, joined by `and`; and the paths of
//! PATCH (§3.5.2), which hold such filters in brackets.

use serde_json::Value;

/// Attributes that are kept. All others are passed over, as RFC 7644 §3.3 allows.
const KNOWN: [&str; 16] = [
    "id",
    "userName",
    "externalId",
    "displayName",
    "active",
    "name",
    "emails",
    "members",
    "formatted",
    "givenName",
    "familyName",
    "value",
    "type",
    "primary",
    "display",
    "schemas",
];
const SCHEMAS: [&str; 2] =
    ["urn:ietf:params:scim:schemas:core:2.0:user:", "urn:ietf:params:scim:schemas:core:2.0:group:"];
/// Greatest number of comparisons in one filter.
const TERMS_MAX: usize = 4;

/// Why a text is no filter or path that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    #[error("the filter is not understood: it takes comparisons by eq, joined by and")]
    Filter,
    #[error("the path is not understood")]
    Path,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// As it is spelt in the schema; `members.value` for a sub-attribute.
    pub(super) attribute: String,
    pub(super) value: Value,
}

/// What a PATCH is aimed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// As it is spelt in the schema; `None`: an attribute that is not kept.
    pub(super) attribute: Option<&'static str>,
    pub(super) filter: Vec<Term>,
    pub(super) sub: Option<&'static str>,
}

/// The attribute as the schema spells it; names are compared without regard to case (RFC 7643 §2.1).
pub(super) fn known(name: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

fn without_schema(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let prefix = SCHEMAS.into_iter().find(|schema| lower.starts_with(schema));
    prefix.and_then(|prefix| name.get(prefix.len()..)).unwrap_or(name)
}

/// # Errors
/// [`SyntaxError::Filter`].
pub(super) fn parse_filter(text: &str) -> Result<Vec<Term>, SyntaxError> {
    let (mut rest, mut terms) = (text.trim(), Vec::new());
    loop {
        let (term, after) = parse_term(rest)?;
        terms.push(term);
        if after.is_empty() {
            return Ok(terms);
        }
        let and = after.get(..4).filter(|word| word.eq_ignore_ascii_case("and ")).ok_or(SyntaxError::Filter)?;
        rest = after.get(and.len()..).unwrap_or_default().trim_start();
        if terms.len() >= TERMS_MAX {
            return Err(SyntaxError::Filter);
        }
    }
}

fn parse_term(text: &str) -> Result<(Term, &str), SyntaxError> {
    let (attribute, rest) = text.split_once(' ').ok_or(SyntaxError::Filter)?;
    let (operator, rest) = rest.trim_start().split_once(' ').ok_or(SyntaxError::Filter)?;
    if !operator.eq_ignore_ascii_case("eq") {
        return Err(SyntaxError::Filter);
    }
    let mut values = serde_json::Deserializer::from_str(rest.trim_start()).into_iter::<Value>();
    let value = values.next().and_then(Result::ok).ok_or(SyntaxError::Filter)?;
    if !matches!(value, Value::String(_) | Value::Bool(_)) {
        return Err(SyntaxError::Filter);
    }
    let after = rest.trim_start().get(values.byte_offset()..).unwrap_or_default().trim_start();
    let name = without_schema(attribute);
    let attribute = match name.split_once('.') {
        Some((first, sub)) => known(first).zip(known(sub)).map(|(first, sub)| format!("{first}.{sub}")),
        None => known(name).map(str::to_owned),
    };
    Ok((Term { attribute: attribute.ok_or(SyntaxError::Filter)?, value }, after))
}

/// # Errors
/// [`SyntaxError::Path`], or what is wrong with its filter.
pub(super) fn parse_path(text: &str) -> Result<Path, SyntaxError> {
    let text = without_schema(text.trim());
    let (name, filter, rest) = match text.split_once('[') {
        None => {
            let (name, sub) = text.split_once('.').map_or((text, None), |(name, sub)| (name, Some(sub)));
            (name, Vec::new(), sub)
        }
        Some((name, rest)) => {
            let (filter, rest) = rest.rsplit_once(']').ok_or(SyntaxError::Path)?;
            let sub = match rest.strip_prefix('.') {
                Some(sub) => Some(sub),
                None if rest.is_empty() => None,
                None => return Err(SyntaxError::Path),
            };
            (name, parse_filter(filter)?, sub)
        }
    };
    if name.is_empty() || rest.is_some_and(str::is_empty) {
        return Err(SyntaxError::Path);
    }
    let sub = rest.map(known);
    // An attribute of an extension, or one that is not kept.
    let attribute = if sub == Some(None) { None } else { known(name) };
    Ok(Path { attribute, filter, sub: sub.flatten() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_as_clients_send_them() {
        for (text, expected) in [
            (r#"userName eq "a@x.test""#, vec![("userName", json!("a@x.test"))]),
            (r#"USERNAME EQ "a b \" c""#, vec![("userName", json!("a b \" c"))]),
            (r#"externalId eq "1" and active eq true"#, vec![("externalId", json!("1")), ("active", json!(true))]),
            (r#"id eq "g" and members.value eq "u""#, vec![("id", json!("g")), ("members.value", json!("u"))]),
            (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a""#, vec![("userName", json!("a"))]),
        ] {
            let terms = parse_filter(text).unwrap();
            let terms: Vec<_> = terms.iter().map(|term| (term.attribute.as_str(), term.value.clone())).collect();
            assert_eq!(terms, expected, "{text}");
        }
        for text in [
            "",
            "userName",
            "userName eq",
            "userName co \"a\"",
            "userName eq a",
            "userName eq 7",
            "userName eq \"a\" or active eq true",
            "userName eq \"a\"x",
            "title eq \"x\"",
            "not (active eq true)",
        ] {
            assert_eq!(parse_filter(text), Err(SyntaxError::Filter), "{text}");
        }
    }

    #[test]
    fn paths_as_clients_send_them() {
        let path = |text: &str| parse_path(text).unwrap();
        assert_eq!(path("active").attribute, Some("active"));
        assert_eq!((path("name.givenName").attribute, path("name.givenName").sub), (Some("name"), Some("givenName")));
        let mail = path(r#"emails[type eq "work"].value"#);
        assert_eq!((mail.attribute, mail.filter.len(), mail.sub), (Some("emails"), 1, Some("value")));
        let member = path(r#"members[value eq "u-1"]"#);
        assert_eq!((member.filter[0].value.clone(), member.sub), (json!("u-1"), None));
        assert_eq!(path("urn:ietf:params:scim:schemas:core:2.0:User:active").attribute, Some("active"));
        let extension = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
        assert_eq!(path(extension).attribute, None);
        for text in ["", ".value", "emails[", "emails[type]", "emails[type eq \"a\"]x", "name."] {
            assert!(parse_path(text).is_err(), "{text}");
        }
    }
}
