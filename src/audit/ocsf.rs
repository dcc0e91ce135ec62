//! One line: OCSF 1.8 API Activity (class 6003) with our facts under `unmapped.break_glass`.
//!
//! Source: <https://schema.ocsf.io/1.8.0/classes/api_activity>; `tests/ocsf/validate.py` checks real lines against the
//! published JSON schema.
//!
//! INVARIANT: a line is at most [`LINE_BYTES_MAX`] long: every client-controlled text is cut to a named length first, in
//! the open (`truncated` names it, and the text ends in [`CUT_MARK`]). INVARIANT: an outcome, whatever it says, is at most
//! [`OUTCOME_BYTES_MAX`] long with its newline, so that its space can be reserved before it is known.

use super::chain::{LineHash, Link};
use super::document::{
    Actor, Api, ApiRequest, ApiResponse, AuthenticationFacts, Body, BodyFacts, CountFacts, Document, Endpoint, Facts,
    GrantFacts, GrantRef, HttpRequest, HttpResponse, IntentFacts, IntentRef, Metadata, Named, OutcomeFacts, Product,
    ResourceDetails, Service, Start, SummaryFacts, Text, Unmapped, Url, VerdictFacts,
};
use super::line::{FORMAT, PastIntent};
use super::record::{
    Counted, Event, Holder, Intent, LogEnd, LogIdentity, LogStart, Observed, Outcome, Refusal, RequestFacts, Summary,
};
use crate::domain::{Grant, Resource, WallTime};

/// Greatest length of a line, without its newline.
pub const LINE_BYTES_MAX: usize = 65_535;
/// Greatest length of an outcome's line, newline included.
pub const OUTCOME_BYTES_MAX: usize = 6144;

const PATH_BYTES_MAX: usize = 4096;
const HOST_BYTES_MAX: usize = 255;
const METHOD_BYTES_MAX: usize = 32;
const QUERY_NAME_BYTES_MAX: usize = 64;
const QUERY_NAMES_MAX: usize = 32;
const REQUEST_ID_BYTES_MAX: usize = 64;
const VERSION_BYTES_MAX: usize = 64;
const ACR_BYTES_MAX: usize = 256;
const AMR_BYTES_MAX: usize = 64;
const AMR_MAX: usize = 16;
const APPROVALS_MAX: usize = 16;
/// What a text that was cut ends in.
const CUT_MARK: &str = "…[cut]";

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
    let frame = Frame { link, identity, kind: event.kind() };
    let mut cuts = Cuts::default();
    let content = match event {
        Event::LogStarted(start) => log_started(start),
        Event::Intent(intent) => intent_line(intent, &mut cuts),
        Event::Outcome { intent, link, outcome } => outcome_line(intent, link, outcome, &mut cuts),
        Event::Refusal(refusal) => refusal_line(refusal, &mut cuts),
        Event::Observed(observed) => observed_line(observed, &mut cuts),
        Event::RefusalSummary(summary) => summary_line(summary),
        Event::UnknownOutcome { intent, at } => unknown_outcome(intent, *at, &mut cuts),
        Event::LogEnded(end) => log_ended(end),
    };
    let start = out.len();
    serde_json::to_writer(&mut *out, &frame.around(content, cuts)).inspect_err(|_| out.truncate(start))
}

/// Which texts were cut.
#[derive(Default)]
struct Cuts(Vec<&'static str>);

impl Cuts {
    fn text<'a>(&mut self, name: &'static str, text: &'a str, bytes_max: usize) -> Text<'a> {
        if text.len() <= bytes_max {
            return Text::Borrowed(text);
        }
        self.note(name);
        let end = text.floor_char_boundary(bytes_max);
        Text::Owned(format!("{}{CUT_MARK}", text.get(..end).unwrap_or_default()))
    }

    fn list<'a>(&mut self, name: &'static str, items: &'a [String], max: usize, bytes_max: usize) -> Vec<Text<'a>> {
        if items.len() > max {
            self.note(name);
        }
        items.iter().take(max).map(|item| self.text(name, item, bytes_max)).collect()
    }

    fn note(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

// OCSF's activity, severity and status identifiers.
const CREATE: u32 = 1;
const READ: u32 = 2;
const UPDATE: u32 = 3;
const DELETE: u32 = 4;
const OTHER: u32 = 99;
const INFORMATIONAL: u32 = 1;
const LOW: u32 = 2;
const MEDIUM: u32 = 3;
const HIGH: u32 = 4;
const UNKNOWN: u32 = 0;
const SUCCESS: u32 = 1;
const FAILURE: u32 = 2;

fn activity_of(method: &str) -> u32 {
    match method {
        "GET" | "HEAD" => READ,
        "POST" => CREATE,
        "PUT" | "PATCH" => UPDATE,
        "DELETE" => DELETE,
        _ => OTHER,
    }
}

/// The methods OCSF names; others stand in our facts only.
fn is_named_method(method: &str) -> bool {
    ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"].contains(&method)
}

/// What every line carries.
struct Frame<'a> {
    link: &'a Link,
    identity: &'a LogIdentity,
    kind: &'static str,
}

/// What one kind puts into the frame.
struct Content<'a> {
    at: WallTime,
    severity_id: u32,
    status_id: u32,
    status_code: Option<&'static str>,
    activity_id: u32,
    user: Option<&'a str>,
    idp: Option<&'a str>,
    operation: Option<Text<'a>>,
    request_id: Option<Text<'a>>,
    client: Option<Endpoint<'a>>,
    resource: Option<&'a Resource>,
    http_request: Option<HttpRequest<'a>>,
    http_response: Option<HttpResponse>,
    duration_ms: Option<u64>,
    count: Option<u64>,
    body: Body<'a>,
}

impl<'a> Content<'a> {
    /// Something the sidecar says of itself.
    fn of_the_log(at: WallTime, body: Body<'a>) -> Self {
        Self {
            at,
            severity_id: INFORMATIONAL,
            status_id: SUCCESS,
            status_code: None,
            activity_id: OTHER,
            user: None,
            idp: None,
            operation: None,
            request_id: None,
            client: None,
            resource: None,
            http_request: None,
            http_response: None,
            duration_ms: None,
            count: None,
            body,
        }
    }
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

fn log_started<'a>(start: &LogStart) -> Content<'a> {
    let body = Start {
        previous: start.previous,
        torn_bytes: start.torn_bytes,
        orphans: start.orphans,
        previous_damaged: start.previous_damaged,
    };
    let severity_id = if start.previous_damaged { HIGH } else { INFORMATIONAL };
    Content { severity_id, ..Content::of_the_log(start.at, Body::Start(body)) }
}

fn log_ended<'a>(end: &LogEnd) -> Content<'a> {
    Content::of_the_log(end.at, Body::End { open_intents: end.open_intents })
}

fn summary_line<'a>(summary: &Summary) -> Content<'a> {
    let count = |(counted, count): (&Counted, &u64)| {
        let (kind, code) = match counted {
            Counted::Refusal(code) => ("refusal", code.as_str()),
            Counted::Observed(code) => ("observed", *code),
        };
        CountFacts { kind, code, count: *count }
    };
    let counts: Vec<_> = summary.counts.iter().map(count).collect();
    let total = counts.iter().fold(0_u64, |sum, c| sum.saturating_add(c.count));
    let body = SummaryFacts { from: summary.from, until: summary.until, counts };
    Content {
        severity_id: MEDIUM,
        status_id: FAILURE,
        count: Some(total),
        ..Content::of_the_log(summary.until.unwrap_or(WallTime::EPOCH), Body::Summary(body))
    }
}

fn intent_line<'a>(intent: &'a Intent, cuts: &mut Cuts) -> Content<'a> {
    let (request, grant) = (&intent.request, &*intent.grant);
    let body = IntentFacts {
        request_id: cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX),
        decision: "override",
        mode: request.mode.as_str(),
        method: cuts.text("method", &request.method, METHOD_BYTES_MAX),
        protocol: request.protocol.as_str(),
        query_names: cuts.list("query_names", &request.query_names, QUERY_NAMES_MAX, QUERY_NAME_BYTES_MAX),
        resource: intent.resource.as_str(),
        action: intent.action.as_str(),
        person: grant.person.as_str(),
        idp: grant.idp.as_str(),
        authentication: AuthenticationFacts {
            acr: grant.authentication.acr.as_deref().map(|acr| cuts.text("acr", acr, ACR_BYTES_MAX)),
            amr: cuts.list("amr", &grant.authentication.amr, AMR_MAX, AMR_BYTES_MAX),
            auth_time: grant.authentication.auth_time,
        },
        grant: grant_facts(grant, cuts),
    };
    Content {
        severity_id: MEDIUM,
        status_id: UNKNOWN,
        status_code: Some("override"),
        user: Some(grant.person.as_str()),
        idp: Some(grant.idp.as_str()),
        operation: Some(Text::Borrowed(intent.action.as_str())),
        resource: Some(&intent.resource),
        ..of_request(request, Body::Intent(Box::new(body)), cuts)
    }
}

fn grant_facts<'a>(grant: &'a Grant, cuts: &mut Cuts) -> GrantFacts<'a> {
    if grant.approvals.len() > APPROVALS_MAX {
        cuts.note("approvals");
    }
    GrantFacts {
        id: grant.id.as_str(),
        role: grant.role.as_str(),
        reason: grant.justification.reason.as_str(),
        ticket: grant.justification.ticket.as_str(),
        binding: grant.binding.as_str(),
        policy_revision: grant.policy_revision,
        approvals: grant.approvals.iter().take(APPROVALS_MAX).map(crate::domain::Person::as_str).collect(),
        expires: grant.expires,
        max_uses: grant.max_uses.map(std::num::NonZeroU32::get),
    }
}

fn outcome_line<'a>(intent: &'a Intent, link: &Link, outcome: &Outcome, cuts: &mut Cuts) -> Content<'a> {
    let (request, grant) = (&intent.request, &*intent.grant);
    let body = OutcomeFacts {
        intent: IntentRef { log_id: link.log_id, seq: link.seq },
        request_id: cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX),
        end: outcome.end.as_str(),
        cause: outcome.end.cause().map(crate::decision::RefusalCode::as_str),
        method: cuts.text("method", &request.method, METHOD_BYTES_MAX),
        resource: intent.resource.as_str(),
        action: intent.action.as_str(),
        person: grant.person.as_str(),
        grant: GrantRef { id: grant.id.as_str() },
        status: outcome.status,
        request: Some(BodyFacts {
            bytes: outcome.request_bytes,
            sha256: outcome.request_sha256.map(LineHash::from_bytes),
        }),
        response: Some(BodyFacts {
            bytes: outcome.response_bytes,
            sha256: outcome.response_sha256.map(LineHash::from_bytes),
        }),
    };
    Content {
        severity_id: MEDIUM,
        status_id: outcome_status(outcome),
        status_code: Some(outcome.end.cause().map_or(outcome.end.as_str(), crate::decision::RefusalCode::as_str)),
        activity_id: activity_of(&request.method),
        user: Some(grant.person.as_str()),
        operation: Some(Text::Borrowed(intent.action.as_str())),
        request_id: Some(body.request_id.clone()),
        client: Some(client_endpoint(request)),
        resource: Some(&intent.resource),
        http_request: Some(HttpRequest {
            body_length: Some(outcome.request_bytes),
            ..bare_http_request(request, cuts)
        }),
        http_response: outcome.status.map(|code| HttpResponse { body_length: outcome.response_bytes, code }),
        duration_ms: Some(u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX)),
        ..Content::of_the_log(outcome.at, Body::Outcome(Box::new(body)))
    }
}

/// Success is the upstream's answer below 400, passed on whole.
fn outcome_status(outcome: &Outcome) -> u32 {
    match (outcome.end, outcome.status) {
        (super::End::Unknown | super::End::Aborted, _) => UNKNOWN,
        (super::End::Completed, Some(status)) if status < 400 => SUCCESS,
        _ => FAILURE,
    }
}

fn unknown_outcome<'a>(intent: &'a PastIntent, at: WallTime, cuts: &mut Cuts) -> Content<'a> {
    let request_id = cuts.text("request_id", &intent.request_id, REQUEST_ID_BYTES_MAX);
    let body = OutcomeFacts {
        intent: IntentRef { log_id: intent.log_id, seq: intent.seq },
        request_id: request_id.clone(),
        end: super::End::Unknown.as_str(),
        cause: None,
        method: cuts.text("method", &intent.method, METHOD_BYTES_MAX + CUT_MARK.len()),
        resource: intent.resource.as_str(),
        action: intent.action.as_str(),
        person: intent.person.as_str(),
        grant: GrantRef { id: intent.grant.as_str() },
        status: None,
        request: None,
        response: None,
    };
    Content {
        severity_id: HIGH,
        status_id: UNKNOWN,
        status_code: Some(super::End::Unknown.as_str()),
        activity_id: activity_of(&intent.method),
        user: Some(intent.person.as_str()),
        operation: Some(Text::Borrowed(intent.action.as_str())),
        request_id: Some(request_id),
        client: intent.client.map(|ip| Endpoint { ip: Some(ip), ..Endpoint::default() }),
        resource: Some(&intent.resource),
        ..Content::of_the_log(at, Body::Outcome(Box::new(body)))
    }
}

fn refusal_line<'a>(refusal: &'a Refusal, cuts: &mut Cuts) -> Content<'a> {
    let code = refusal.code.as_str();
    let body = verdict_facts(&refusal.request, code, refusal.holder.as_ref(), cuts);
    Content {
        severity_id: LOW,
        status_id: FAILURE,
        status_code: Some(code),
        ..of_verdict(&refusal.request, refusal.holder.as_ref(), body, cuts)
    }
}

fn observed_line<'a>(observed: &'a Observed, cuts: &mut Cuts) -> Content<'a> {
    let body = verdict_facts(&observed.request, observed.decision, observed.holder.as_ref(), cuts);
    Content {
        severity_id: INFORMATIONAL,
        status_id: UNKNOWN,
        status_code: Some(observed.decision),
        ..of_verdict(&observed.request, observed.holder.as_ref(), body, cuts)
    }
}

fn of_verdict<'a>(
    request: &'a RequestFacts,
    holder: Option<&'a Holder>,
    body: VerdictFacts<'a>,
    cuts: &mut Cuts,
) -> Content<'a> {
    Content {
        user: holder.map(|holder| holder.person.as_str()),
        operation: request.action.as_ref().map(|action| Text::Borrowed(action.as_str())),
        resource: request.resource.as_ref(),
        ..of_request(request, Body::Verdict(Box::new(body)), cuts)
    }
}

fn verdict_facts<'a>(
    request: &'a RequestFacts,
    decision: &'static str,
    holder: Option<&'a Holder>,
    cuts: &mut Cuts,
) -> VerdictFacts<'a> {
    VerdictFacts {
        request_id: cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX),
        decision,
        mode: request.mode.as_str(),
        method: cuts.text("method", &request.method, METHOD_BYTES_MAX),
        protocol: request.protocol.as_str(),
        query_names: cuts.list("query_names", &request.query_names, QUERY_NAMES_MAX, QUERY_NAME_BYTES_MAX),
        resource: request.resource.as_ref().map(Resource::as_str),
        action: request.action.as_ref().map(crate::domain::Action::as_str),
        person: holder.map(|holder| holder.person.as_str()),
        grant: holder.map(|holder| GrantRef { id: holder.grant.as_str() }),
    }
}

/// The members that any request brings, whole.
fn of_request<'a>(request: &'a RequestFacts, body: Body<'a>, cuts: &mut Cuts) -> Content<'a> {
    let url = Url {
        hostname: request.host.as_deref().map(|host| cuts.text("host", host, HOST_BYTES_MAX)),
        path: cuts.text("path", &request.path, PATH_BYTES_MAX),
    };
    Content {
        activity_id: activity_of(&request.method),
        request_id: Some(cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX)),
        client: Some(client_endpoint(request)),
        http_request: Some(HttpRequest {
            url: Some(url),
            version: Some(request.protocol.as_str()),
            ..bare_http_request(request, cuts)
        }),
        ..Content::of_the_log(request.at, body)
    }
}

fn bare_http_request<'a>(request: &'a RequestFacts, cuts: &mut Cuts) -> HttpRequest<'a> {
    HttpRequest {
        body_length: None,
        http_method: is_named_method(&request.method).then_some(Text::Borrowed(request.method.as_str())),
        uid: cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX),
        url: None,
        version: None,
    }
}

fn client_endpoint<'a>(request: &RequestFacts) -> Endpoint<'a> {
    Endpoint { ip: Some(request.client.ip().to_canonical()), port: Some(request.client.port()), ..Endpoint::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample::{self, longest_identity, longest_intent, longest_request, outcome};
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
        let holder = Holder { grant: intent.grant.id.clone(), person: intent.grant.person.clone() };
        let refusal =
            Refusal { request: longest_request(), code: RefusalCode::HeaderMalformed, holder: Some(holder.clone()) };
        let observed = Observed { request: longest_request(), decision: "override", holder: Some(holder) };
        for event in [Event::Intent(&intent), Event::Refusal(&refusal), Event::Observed(&observed)] {
            let line = encoded(&identity, &event);
            assert!(line.len() <= LINE_BYTES_MAX, "{}: {}", event.kind(), line.len());
        }
    }

    #[test]
    fn an_outcome_fits_the_space_reserved_for_it() {
        let (intent, identity) = (longest_intent(), longest_identity());
        let longest_code = RefusalCode::ALL.iter().max_by_key(|code| code.as_str().len()).unwrap();
        let outcome = Outcome {
            request_bytes: u64::MAX,
            response_bytes: u64::MAX,
            duration: std::time::Duration::MAX,
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
        let log = sample::one_of_each();
        assert!(log.lines.iter().all(|line| ParsedLine::parse(line).is_ok() && !line.contains(&b'\n')));
        if let Some(path) = std::env::var_os("AUDIT_LINES_OUT") {
            let mut text = log.lines.join(&b'\n');
            text.push(b'\n');
            std::fs::write(path, text).unwrap();
        }
    }
}
