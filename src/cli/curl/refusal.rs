//! Is this answer one that elevation can open? What would have to be granted?
//!
//! Only two answers count: a problem document of ours that names service, resource and action, and a locked answer (423
//! or 403) whose `Link` with the relation `break-glass` (RFC 8288) carries them in its query. From that link only the
//! three values are taken. It is never called: an answer must not be able to send the caller's token anywhere.

use super::head::Head;
use crate::cli::api::unescaped;
use crate::domain::{Action, Resource, ServiceName};
use crate::wire::problem::{Problem, TYPE_PREFIX};

/// Greatest size of a problem document that is read, in bytes.
pub(super) const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// What is locked, in values that are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locked {
    pub service: ServiceName,
    pub resource: Resource,
    pub action: Action,
    /// The answer's own words.
    pub why: String,
}

/// True when the body must be held back to look into it.
pub(super) fn may_be_locked(head: &Head) -> bool {
    (400..500).contains(&head.status) && (head.is_problem() || link(head).is_some())
}

/// What the answer says is locked, if that is what it says. `body` may have more behind the document, and may be empty.
pub(super) fn read(head: &Head, body: &[u8]) -> Option<Locked> {
    let document = if head.is_problem() { document(body) } else { None };
    let named = document.as_ref().and_then(|document| of_problem(head, document)).or_else(|| of_link(head))?;
    let (service, resource, action) = named;
    Some(Locked {
        service: service.parse().ok()?,
        resource: resource.parse().ok()?,
        action: action.parse().ok()?,
        why: document.as_ref().and_then(words).unwrap_or_else(|| format!("status {}", head.status)),
    })
}

type Named = (String, String, String);

/// The first JSON value of the body: `--write-out` may have added to it.
fn document(body: &[u8]) -> Option<serde_json::Value> {
    serde_json::Deserializer::from_slice(body).into_iter().next()?.ok()
}

fn of_problem(head: &Head, document: &serde_json::Value) -> Option<Named> {
    let problem: Problem = serde::Deserialize::deserialize(document).ok()?;
    let ours = problem.kind.starts_with(TYPE_PREFIX) && (400..500).contains(&head.status);
    if ours { Some((problem.service?, problem.resource?, problem.action?)) } else { None }
}

fn of_link(head: &Head) -> Option<Named> {
    let target = link(head)?;
    let query = target.split_once('?')?.1.split('#').next()?;
    let value = |name: &str| {
        let mut values = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
        // Named twice is named not at all.
        values.next().filter(|_| values.next().is_none()).and_then(|(_, value)| unescaped(value))
    };
    Some((value("service")?, value("resource")?, value("action")?))
}

/// The target of the first link with the relation `break-glass`, on a locked answer.
fn link(head: &Head) -> Option<&str> {
    if !matches!(head.status, 403 | 423) {
        return None;
    }
    head.all("link").flat_map(links).find(|(_, parameters)| has_relation(parameters)).map(|(target, _)| target)
}

/// The links of one field value: target and parameters of each.
fn links(mut rest: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else { break };
        let end = outside_quotes(after, ',');
        let (parameters, next) = after.split_at_checked(end).unwrap_or((after, ""));
        found.push((target, parameters));
        rest = next;
    }
    found
}

/// Where `wanted` first stands outside a quoted string, or the end.
fn outside_quotes(text: &str, wanted: char) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == wanted && !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// The first `rel` counts (RFC 8288 §3.3), a list of relations parted by spaces.
fn has_relation(parameters: &str) -> bool {
    let mut rest = parameters;
    while !rest.is_empty() {
        let end = outside_quotes(rest, ';');
        let (parameter, next) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("rel")
        {
            return value
                .trim()
                .trim_matches('"')
                .split_whitespace()
                .any(|rel| rel.eq_ignore_ascii_case("break-glass"));
        }
        rest = next.strip_prefix(';').unwrap_or_default();
    }
    false
}

/// Title and detail of any problem document.
fn words(document: &serde_json::Value) -> Option<String> {
    let member = |name: &str| document.get(name)?.as_str().filter(|text| !text.is_empty());
    let code = member("code").map(|code| format!(" ({code})")).unwrap_or_default();
    match (member("title"), member("detail")) {
        (Some(title), Some(detail)) => Some(format!("{title}{code}: {detail}")),
        (Some(one), None) | (None, Some(one)) => Some(format!("{one}{code}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBLEM: &str = "Content-Type: application/problem+json\r\n";
    const OURS: &str = r#"{"type":"https://break-glass.dev/problems/grant_required","title":"Sealed","status":403,"detail":"a grant is needed","code":"grant_required","service":"payments","resource":"contract/C-1042","action":"payment.release"}"#;
    const LINK: &str = "Link: <https://c.example/request?service=payments&resource=contract%2FC-1042&action=payment.release>; rel=\"break-glass\"\r\n";

    fn head(status: u16, fields: &str) -> Head {
        Head::parse(format!("HTTP/1.1 {status} X\r\n{fields}\r\n").as_bytes()).unwrap()
    }

    fn is_release(locked: Option<Locked>) -> bool {
        locked.is_some_and(|locked| {
            locked.service.as_str() == "payments"
                && locked.resource.as_str() == "contract/C-1042"
                && locked.action.as_str() == "payment.release"
        })
    }

    #[test]
    fn a_problem_of_ours_says_what_is_locked() {
        let locked = read(&head(403, PROBLEM), OURS.as_bytes()).unwrap();
        assert_eq!(locked.why, "Sealed (grant_required): a grant is needed");
        assert!(is_release(Some(locked)));
        assert!(is_release(read(&head(403, PROBLEM), format!("{OURS}403 0.01s").as_bytes())), "write-out may follow");
    }

    #[test]
    fn a_link_on_a_locked_answer_says_it_too() {
        for status in [403, 423] {
            assert!(is_release(read(&head(status, LINK), b"locked")), "{status}");
        }
        let theirs = r#"{"type":"https://api.example/frozen","title":"Contract frozen","detail":"rule 7"}"#;
        let locked = read(&head(423, &format!("{PROBLEM}{LINK}")), theirs.as_bytes()).unwrap();
        assert_eq!(locked.why, "Contract frozen: rule 7");
        let second = format!(
            "Link: <https://x/?a=1,2>; title=\"a, <b>; rel=break-glass\"; rel=next, {}",
            LINK.trim_start_matches("Link: ")
        );
        assert!(is_release(read(&head(423, &second), b"")));
    }

    #[test]
    fn nothing_else_starts_an_elevation() {
        let foreign = OURS.replace("https://break-glass.dev/problems/", "https://evil.example/");
        let unnamed = OURS.replace("\"resource\"", "\"other\"");
        let wildcard = OURS.replace("contract/C-1042", "contract/*");
        for (status, fields, body) in [
            (200, PROBLEM, OURS),
            (503, PROBLEM, OURS),
            (403, "Content-Type: application/json\r\n", OURS),
            (403, PROBLEM, foreign.as_str()),
            (403, PROBLEM, unnamed.as_str()),
            (403, PROBLEM, wildcard.as_str()),
            (403, PROBLEM, ""),
            (403, PROBLEM, "{"),
            (404, LINK, ""),
            (200, LINK, ""),
            (423, &LINK.replace("break-glass\"", "help\""), ""),
            (423, &LINK.replace("%2F", "%2"), ""),
            (423, &LINK.replace("&action", "&resource=contract%2FC-1&action"), ""),
            (423, &LINK.replace("&action=payment.release", ""), ""),
            (423, "Link: <https://x\r\n", ""),
        ] {
            assert_eq!(read(&head(status, fields), body.as_bytes()), None, "{status} {fields} {body}");
        }
    }
}
