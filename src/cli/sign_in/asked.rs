//! What a sign-in is asked to be: how strong, how fresh. And the challenge that asks for it (RFC 9470 §3).

use std::time::Duration;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Greatest length of the context classes that a challenge names together.
const ACR_BYTES_MAX: usize = 1024;

/// How the person must authenticate. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Asked {
    /// One of these context classes.
    pub(in crate::cli) acr: Vec<String>,
    /// How long ago it may have been.
    pub(in crate::cli) max_age: Option<Duration>,
}

impl Asked {
    /// What a refusal asks for, if it asks for a step-up.
    pub(in crate::cli) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(challenges).find_map(|challenge| challenge.step_up())
    }

    /// As parameters of an authorization request (OpenID Connect Core 1.0 §3.1.2.1).
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let acr = (!self.acr.is_empty()).then(|| ("acr_values", self.acr.join(" ")));
        let age = self.max_age.map(|age| ("max_age", age.as_secs().to_string()));
        acr.into_iter().chain(age).collect()
    }

    /// As flags of `breakglass login`.
    pub(in crate::cli) fn flags(&self) -> String {
        let acr = self.acr.iter().map(|acr| format!(" --acr {}", crate::cli::session::shell_word(acr)));
        let age = self.max_age.map(|age| format!(" --max-age {}s", age.as_secs()));
        acr.chain(age).collect()
    }
}

/// `acr urn:a or urn:b, at most 300 s ago`
impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let acr = (!self.acr.is_empty()).then(|| format!("acr {}", self.acr.join(" or ")));
        let age = self.max_age.map(|age| format!("at most {} s ago", age.as_secs()));
        f.write_str(&acr.into_iter().chain(age).collect::<Vec<_>>().join(", "))
    }
}

/// One challenge (RFC 9110 §11.6.1).
#[derive(Debug, Default)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn step_up(&self) -> Option<Asked> {
        let is_one =
            self.scheme.eq_ignore_ascii_case("bearer") && self.get("error") == Some("insufficient_user_authentication");
        let acr = self.get("acr_values").unwrap_or_default();
        if !is_one || acr.len() > ACR_BYTES_MAX {
            return None;
        }
        let acr = acr.split_ascii_whitespace().map(str::to_owned).collect();
        let max_age = self.get("max_age").and_then(|age| age.parse().ok()).map(Duration::from_secs);
        Some(Asked { acr, max_age })
    }
}

/// The challenges of one field value. What is malformed ends the reading: what came before it stands.
fn challenges(value: &str) -> Vec<Challenge> {
    let mut all: Vec<Challenge> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else { return all };
        if let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            let Some((value, after)) = parameter_value(value.trim_start_matches([' ', '\t'])) else { return all };
            let Some(challenge) = all.last_mut() else { return all };
            challenge.parameters.push((word.to_owned(), value));
            rest = after;
        } else {
            all.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest = after;
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at_checked(end)).flatten()
}

/// A token or a quoted string (RFC 9110 §5.6.4).
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(word, after)| (word.to_owned(), after));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, quoted.get(at + 1..).unwrap_or_default())),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Option<Asked> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        Asked::of(&headers)
    }

    #[test]
    fn a_step_up_is_found_among_challenges() {
        let asked = |acr: &[&str], age: Option<u64>| {
            let acr = acr.iter().map(ToString::to_string).collect();
            Some(Asked { acr, max_age: age.map(Duration::from_secs) })
        };
        let error = "error=\"insufficient_user_authentication\"";
        for (values, wanted) in [
            (
                &[&*format!("Bearer realm=\"x\", {error}, acr_values=\"urn:a urn:b\", max_age=\"300\"")][..],
                asked(&["urn:a", "urn:b"], Some(300)),
            ),
            (&[&*format!("bearer {error},max_age=5")], asked(&[], Some(5))),
            (&[&*format!("Basic realm=\"a, b=\\\"c\\\"\", Bearer {error} , acr_values=\"x\"")], asked(&["x"], None)),
            (&["Negotiate", &*format!("Bearer {error}")], asked(&[], None)),
            (&["Bearer error=\"invalid_token\", acr_values=\"x\""], None),
            (&[&*format!("DPoP {error}, acr_values=\"x\"")], None),
            (&[&*format!("{error}, acr_values=\"x\"")], None),
            (&["Bearer error=\"insufficient_user_authentication"], None),
            (&[""], None),
        ] {
            assert_eq!(of(values), wanted, "{values:?}");
        }
        assert_eq!(asked(&["urn:a", "b c"], Some(300)).unwrap().flags(), " --acr urn:a --acr 'b c' --max-age 300s");
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[ -~]{0,80}|(Bearer |a=|\"|\\\\|,|error=){0,12}") {
            let _ = challenges(&text);
        }
    }
}
