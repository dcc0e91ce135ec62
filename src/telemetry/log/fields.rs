//! The names a log line may carry. `docs/logs.md` lists them, and a test holds every event in the code to them.

/// On every line, or wherever the circumstances give them.
pub const FIXED: &[(&str, &str)] = &[
    ("timestamp", "when it was written: RFC 3339, UTC, milliseconds"),
    ("level", "`ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`"),
    ("target", "the place in the code, such as `breakglass::sidecar::journey`"),
    ("message", "what happened; a fixed text, so that it can be searched for"),
    ("program", "`breakglass-sidecar` or `breakglass-control`"),
    ("service", "the service that a sidecar stands before; on the control plane the service spoken of"),
    ("instance", "which sidecar wrote it"),
    ("request_id", "the request it was written for: the `instance` of a refusal, `Break-Glass-Request-Id` upstream"),
    ("trace_id", "the trace of that request (W3C Trace Context), where it has one"),
    ("span_id", "the span that the next hop is a child of: ours under a grant, else the client's"),
];

/// What events say besides.
pub const OF_EVENTS: &[(&str, &str)] = &[
    ("accepted", "the digest of the damage that was accepted"),
    ("address", "a peer's or a listener's address"),
    ("addresses", "where clients are served"),
    ("admin", "where the admin port listens"),
    ("admin_addr", "where the control plane's admin port listens"),
    ("api_addr", "where the control plane's API listens"),
    ("assertion", "where the sidecar's public keys are served"),
    ("before", "the line before which the audit log lacks something"),
    ("begins", "when something begins"),
    ("binding", "how a grant is proven to be its holder's"),
    ("by", "who accepted a damage"),
    ("by_ms", "by how many milliseconds a clock jumped"),
    ("bytes", "a number of bytes"),
    ("client", "a provisioning client (SCIM), by its name"),
    ("code", "a decision code or a problem's code"),
    ("connections", "a number of connections"),
    ("days", "for how many days what is personal is kept"),
    ("digest", "the digest of a damage of the audit log"),
    ("elapsed_ms", "milliseconds from a revocation to the last sidecar's acknowledgement"),
    ("elevation", "the id of an elevation request"),
    ("ended", "a number of grants that were ended"),
    ("enforced", "how many sidecars acknowledged a revocation"),
    ("entries", "a number of entries of the ledger"),
    ("erasure", "the id of an erasure"),
    ("error", "an error with its causes"),
    ("event", "the kind of a signal"),
    ("feed_addr", "where the control plane's feed listens"),
    ("file", "a file"),
    ("filter", "the log filter now in force"),
    ("finding", "one finding of a damage of the audit log"),
    ("former", "the log filter before"),
    ("found", "whether the ledger's last line was found in the audit folder"),
    ("frozen", "whether overrides are frozen"),
    ("grant", "the id of a grant"),
    ("held_back", "how many lines were held back"),
    ("highest", "the newest revision that a sidecar had seen"),
    ("hsm", "a token of a hardware module"),
    ("id", "the id of a signal, unique within its transmitter"),
    ("issuer", "an identity issuer"),
    ("kid", "the id of a key"),
    ("lapsed", "a number of requests that lapsed"),
    ("lines", "a number of lines of the audit log"),
    ("logs", "a number of audit logs"),
    (
        "of",
        "what a revocation (a person, a resource, a service, everything, or a freeze) or an erasure (a person, or age) is about; what numbers of a grant differ in",
    ),
    ("overrides", "a number of overrides"),
    ("place", "where something is served"),
    ("process", "the number of a process"),
    ("reader", "whoever hands the audit log on, or a program that may read the ledger, by its name"),
    ("reason", "why something ended"),
    ("refusal", "why a feed was refused"),
    ("rejected", "how many sidecars refused a change"),
    ("replica", "a control plane among those that share a database"),
    ("requests", "a number of requests"),
    ("resumed", "a number of grants that were taken up again"),
    ("revision", "a revision of the feed, the policy or a file"),
    ("revocation", "the id of a revocation"),
    ("schedule", "an on-call schedule"),
    ("seconds", "for how long"),
    ("segments", "a number of segments of the audit log"),
    ("sequence", "a place in the audit log"),
    ("sidecar", "the instance of a sidecar that the control plane speaks of"),
    ("sink", "where the audit log is handed on to"),
    ("sockets", "a number of sockets"),
    ("spent", "uses spent"),
    ("status", "how a stream of signals stands"),
    ("stopped", "how many sidecars stopped by themselves before they had answered"),
    ("suspended", "a number of grants that were suspended"),
    ("transmitter", "a transmitter of shared signals, by its name"),
    ("unreadable", "places of the audit log that hold no line"),
    ("until", "when something ends"),
    ("vkey", "a verifier key of the ledger"),
    ("warning", "a remark on the configuration"),
    ("why", "why something was refused"),
    ("witness", "a witness of the ledger, by its name"),
];

/// The page, from its head on.
#[cfg(test)]
fn document() -> String {
    let table = |fields: &[(&str, &str)]| {
        let rows = fields.iter().map(|(name, meaning)| format!("| `{name}` | {meaning} |\n"));
        format!("| field | meaning |\n|---|---|\n{}", rows.collect::<String>())
    };
    format!(
        "{}\n## On every line\n\n{}\n## Of single events\n\n{}",
        include_str!("../../../docs/logs.head.md"),
        table(FIXED),
        table(OF_EVENTS)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use proc_macro2::{TokenStream, TokenTree};
    use syn::visit::{self, Visit};

    use super::*;

    /// `UPDATE_DOCS=1 cargo test log_fields` writes the page anew.
    #[test]
    fn log_fields_are_those_of_the_page() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(page, document()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(page).unwrap(), document(), "UPDATE_DOCS=1 writes docs/logs.md anew");
    }

    /// The names of the fields of every `tracing::…!(…)` of a file.
    #[derive(Default)]
    struct Events(BTreeSet<String>);

    impl<'a> Visit<'a> for Events {
        fn visit_macro(&mut self, item: &'a syn::Macro) {
            let path: Vec<String> = item.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if path.first().is_some_and(|first| first == "tracing") {
                self.0.extend(names(item.tokens.clone()));
            }
            visit::visit_macro(self, item);
        }
    }

    /// Arguments are `name = value`, `name`, `%name`, `?name`, `target: …`, or the message with what it formats.
    fn names(tokens: TokenStream) -> Vec<String> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let arguments = tokens.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ','));
        let fields = arguments.take_while(|argument| !matches!(argument.first(), Some(TokenTree::Literal(_))));
        fields.filter_map(name).collect()
    }

    fn name(argument: &[TokenTree]) -> Option<String> {
        let is_sigil = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if matches!(p.as_char(), '%' | '?'));
        let rest = argument.iter().skip_while(|token| is_sigil(token));
        let before: Vec<&TokenTree> =
            rest.take_while(|token| !matches!(token, TokenTree::Punct(p) if p.as_char() == '=')).collect();
        let text: String = before.iter().map(ToString::to_string).collect();
        let is_option = argument.iter().any(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ':'))
            && matches!(text.split(':').next(), Some("target" | "parent" | "name"));
        // `%a.b` is named by its whole path; a bare level or constant as message is none.
        (!is_option && !text.is_empty() && !text.starts_with("Level")).then_some(text)
    }

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn every_event_speaks_in_documented_fields() {
        let mut events = Events::default();
        for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
            if file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("log/layer.rs") {
                events.visit_file(&syn::parse_file(&std::fs::read_to_string(&file).unwrap()).unwrap());
            }
        }
        let known: BTreeSet<&str> = FIXED.iter().chain(OF_EVENTS).map(|(name, _)| *name).collect();
        let unknown: Vec<&String> = events.0.iter().filter(|name| !known.contains(name.as_str())).collect();
        assert!(unknown.is_empty(), "fields that docs/logs.md does not list: {unknown:?}");
        assert!(events.0.len() > 15, "events were found");
        let unused: Vec<&str> = OF_EVENTS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| *name != "held_back" && !events.0.contains(*name))
            .collect();
        assert!(unused.is_empty(), "fields that no event has: {unused:?}");
    }

    #[test]
    fn fields_are_found_in_every_spelling() {
        let tokens = r#"target: "x", %a, ?b, c = 1, d = %f(1, 2), e, "message {e}", f = 2"#.parse().unwrap();
        assert_eq!(names(tokens), ["a", "b", "c", "d", "e"]);
    }
}
