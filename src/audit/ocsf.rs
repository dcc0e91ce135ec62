//! One line: OCSF 1.8 API Activity (class 6003) with our facts under `unmapped.break_glass`.
//!
//! Source: <https://schema.ocsf.io/1.8.0/classes/api_activity>; `tests/ocsf/validate.py` checks real lines against the
//! published JSON schema.
//!
//! INVARIANT: a line is at most [`LINE_BYTES_MAX`] long: every client-controlled text is cut to a named length first, in
//! the open (`truncated` names it, and the text ends in `…[cut]`). INVARIANT: an outcome, whatever it says, is at most
//! [`OUTCOME_BYTES_MAX`] long with its newline, so that its space can be reserved before it is known.

use std::io::{BufWriter, Write as _};

use super::chain::Link;
use super::content::{
    Content, OTHER, intent_line, log_ended, log_started, observed_line, outcome_line, refusal_line, summary_line,
    unknown_outcome,
};
use super::cuts::Cuts;
use super::document::{
    Actor, Api, ApiRequest, ApiResponse, Body, Document, Endpoint, Facts, Metadata, Named, Product, ResourceDetails,
    Service, Text, Unmapped,
};
use super::line::FORMAT;
use super::loss::loss_line;
use super::record::{Event, LogIdentity};

/// Greatest length of a line, without its newline.
pub const LINE_BYTES_MAX: usize = 65_535;
/// Greatest length of an outcome's line, newline included.
pub const OUTCOME_BYTES_MAX: usize = 24 * 1024;

const VERSION_BYTES_MAX: usize = 64;
/// Most lines are shorter.
const USUAL_BYTES: usize = 4 * 1024;

/// Appends the line of `event`, without a newline.
///
/// # Errors
/// Only when the serializer fails, which the shapes below give it no cause for; `out` is then left as it was.
pub fn encode(
    link: &Link,
    identity: &LogIdentity,
    event: &Event<'_>,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    let frame = Frame { link, identity, kind: event.kind().as_str() };
    let mut cuts = Cuts::default();
    let content = match event {
        Event::LogStarted(start) => log_started(start),
        Event::Intent(intent) => intent_line(intent, &mut cuts),
        Event::Outcome { intent, link, outcome } => outcome_line(intent, link, outcome, &mut cuts),
        Event::Refusal(refusal) => refusal_line(refusal, &mut cuts),
        Event::Observed(observed) => observed_line(observed, &mut cuts),
        Event::RefusalSummary(summary) => summary_line(summary),
        Event::UnknownOutcome { intent, at } => unknown_outcome(intent, *at, &mut cuts),
        Event::LossAccepted { loss, at } => loss_line(loss, *at, &mut cuts),
        Event::LogEnded(end) => log_ended(end),
    };
    let start = out.len();
    write(&frame.around(content, cuts), out).inspect_err(|_| out.truncate(start))
}

/// A serializer writes some hundred pieces, most of them a byte or two: they are gathered where that is a store or two.
fn write(document: &Document<'_>, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut gathered = BufWriter::with_capacity(USUAL_BYTES, out);
    serde_json::to_writer(&mut gathered, document)?;
    gathered.flush().map_err(serde_json::Error::io)
}

/// What every line carries.
struct Frame<'a> {
    link: &'a Link,
    identity: &'a LogIdentity,
    kind: &'static str,
}

impl<'a> Frame<'a> {
    fn around(&self, content: Content<'a>, mut cuts: Cuts) -> Document<'a> {
        let (service, instance) = (self.identity.service.as_str(), self.identity.instance.as_str());
        let version = cuts.text("version", &self.identity.version, VERSION_BYTES_MAX);
        let sidecar = || Endpoint { svc_name: Some(service), instance_uid: Some(instance), ..Endpoint::default() };
        let is_request = content.client.is_some();
        Document {
            activity_id: content.activity_id,
            activity_name: (content.activity_id == OTHER).then_some(self.kind),
            actor: Actor {
                app_name: content.user.is_none().then_some(if is_request {
                    "unproven client"
                } else {
                    "breakglass-sidecar"
                }),
                idp: content.idp.map(|uid| Named { uid }),
                user: content.user.map(|uid| Named { uid }),
            },
            api: Api {
                operation: content.operation.unwrap_or(Text::Borrowed(self.kind)),
                request: content.request_id.clone().map(|uid| ApiRequest { uid }),
                response: content.http_response.as_ref().map(|response| ApiResponse { code: response.code }),
                service: Some(Service { name: service }),
            },
            category_uid: 6,
            class_uid: 6003,
            count: content.count,
            dst_endpoint: is_request.then(sidecar),
            duration: content.duration_ms,
            http_request: content.http_request,
            http_response: content.http_response,
            metadata: Metadata {
                correlation_uid: content.request_id,
                event_code: self.kind,
                is_truncated: (!cuts.0.is_empty()).then_some(true),
                log_name: "break-glass-audit",
                log_version: "1",
                product: Product { name: "breakglass-sidecar", vendor_name: "breakglass", version: version.clone() },
                sequence: self.link.seq,
                uid: self.link.uid(),
                version: "1.8.0",
            },
            resources: content.resource.map(|r| [ResourceDetails { kind: r.kind(), uid: r.as_str() }]),
            severity_id: content.severity_id,
            src_endpoint: content.client.unwrap_or_else(sidecar),
            status_code: content.status_code,
            status_id: content.status_id,
            time: content.at,
            type_uid: 600_300 + content.activity_id,
            unmapped: Unmapped { break_glass: self.facts(version, cuts, content.body) },
        }
    }

    fn facts(&self, version: Text<'a>, cuts: Cuts, body: Body<'a>) -> Facts<'a> {
        Facts {
            format: FORMAT,
            kind: self.kind,
            log_id: self.link.log_id,
            seq: self.link.seq,
            prev: self.link.prev,
            service: self.identity.service.as_str(),
            instance: self.identity.instance.as_str(),
            version,
            truncated: cuts.0,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::LineHash;
    use crate::audit::cuts::CUT_MARK;
    use crate::audit::record::{Asker, Observed, Outcome, Refusal};
    use crate::audit::sample::{self, longest_captured, longest_identity, longest_intent, longest_request, outcome};
    use crate::audit::{Chain, End, LogId, ParsedLine};
    use crate::decision::RefusalCode;

    fn link() -> Link {
        Link { log_id: LogId::from_bytes([0xff; 16]), seq: u64::MAX, prev: LineHash::from_bytes([0xff; 32]) }
    }

    fn encoded(identity: &LogIdentity, event: &Event<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        encode(&link(), identity, event, &mut line).unwrap();
        line
    }

    #[test]
    fn no_line_is_longer_than_it_may_be() {
        let (intent, identity) = (longest_intent(), longest_identity());
        let asker = Asker::holder_of(&intent.grant);
        let refusal =
            Refusal { request: longest_request(), code: RefusalCode::HeaderMalformed, asker: Some(asker.clone()) };
        let observed = Observed { request: longest_request(), decision: "override", asker: Some(asker) };
        let loss = sample::longest_loss();
        let loss = Event::LossAccepted { loss: &loss, at: sample::AT };
        for event in [Event::Intent(&intent), Event::Refusal(&refusal), Event::Observed(&observed), loss] {
            let line = encoded(&identity, &event);
            assert!(line.len() <= LINE_BYTES_MAX, "{}: {}", event.kind().as_str(), line.len());
        }
    }

    #[test]
    fn an_outcome_fits_the_space_reserved_for_it() {
        let (intent, identity) = (longest_intent(), longest_identity());
        let longest_code = RefusalCode::ALL.iter().max_by_key(|code| code.as_str().len()).unwrap();
        let outcome = Outcome {
            assertion: Some(u64::MAX),
            request_bytes: u64::MAX,
            response_bytes: u64::MAX,
            duration: std::time::Duration::MAX,
            captured: Some(Box::new(longest_captured())),
            ..outcome(End::NotForwarded(*longest_code))
        };
        let line = encoded(&identity, &Event::Outcome { intent: &intent, link: &link(), outcome: &outcome });
        assert!(line.len() < OUTCOME_BYTES_MAX, "{}", line.len());
        let past = sample::past_intent(&encoded(&identity, &Event::Intent(&intent)));
        let line = encoded(&identity, &Event::UnknownOutcome { intent: &past, at: sample::AT });
        assert!(line.len() < OUTCOME_BYTES_MAX, "{}", line.len());
    }

    #[test]
    fn what_was_cut_is_named() {
        let line = encoded(&sample::identity(), &Event::Intent(&longest_intent()));
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let facts = &line["unmapped"]["break_glass"];
        for name in ["request_id", "method", "path", "host", "query_names", "acr", "amr", "approvals"] {
            assert!(facts["truncated"].as_array().unwrap().contains(&name.into()), "{name}");
        }
        assert_eq!(line["metadata"]["is_truncated"], true);
        assert!(line["http_request"]["url"]["path"].as_str().unwrap().ends_with(CUT_MARK));
    }

    #[test]
    fn lines_read_back() {
        let mut chain = Chain::start(LogId::from_bytes([1; 16]), None);
        chain.advance(b"x");
        let mut line = Vec::new();
        encode(&chain.next(), &sample::identity(), &Event::Intent(&sample::intent("r-1")), &mut line).unwrap();
        assert_eq!(ParsedLine::parse(&line).unwrap().link, chain.next());
        let past = sample::past_intent(&line);
        assert_eq!((past.request_id.as_str(), past.person.as_str(), past.seq), ("r-1", "ada", 2));
        assert_eq!(past.client, Some("10.1.2.3".parse().unwrap()));
    }

    /// The lines that the published schema is checked against, when a file is named for them.
    #[test]
    fn one_of_each_for_the_schema() {
        let mut log = sample::one_of_each();
        for loss in [sample::loss(), sample::longest_loss()] {
            log.push(&Event::LossAccepted { loss: &loss, at: sample::AT });
        }
        assert!(log.lines.iter().all(|line| ParsedLine::parse(line).is_ok() && !line.contains(&b'\n')));
        if let Some(path) = std::env::var_os("AUDIT_LINES_OUT") {
            let mut text = log.lines.join(&b'\n');
            text.push(b'\n');
            std::fs::write(path, text).unwrap();
        }
    }
}
