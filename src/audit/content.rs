//! What each kind of record puts into a line, before [`super::ocsf`] frames it.
//!
//! INVARIANT: every client-controlled text goes through [`Cuts`], so that a line has a greatest length.

use super::captured::captured_facts;
use super::chain::{LineHash, Link};
use super::cuts::{CUT_MARK, Cuts};
use super::document::{
    AuthenticationFacts, Body, BodyFacts, CountFacts, Endpoint, GrantFacts, GrantRef, HttpRequest, HttpResponse,
    IntentFacts, IntentRef, OutcomeFacts, Start, SummaryFacts, Text, Url, VerdictFacts, is_named_method,
};
use super::line::PastIntent;
use super::record::{Asker, Counted, End, Intent, LogEnd, LogStart, Observed, Outcome, Refusal, RequestFacts, Summary};
use crate::decision::RefusalCode;
use crate::domain::{Action, Authentication, Confirmation, Grant, Issuer, Person, Resource, WallTime};

const PATH_BYTES_MAX: usize = 4096;
const HOST_BYTES_MAX: usize = 255;
const METHOD_BYTES_MAX: usize = 32;
const QUERY_NAME_BYTES_MAX: usize = 64;
const QUERY_NAMES_MAX: usize = 32;
const REQUEST_ID_BYTES_MAX: usize = 64;
const TRACE_ID_BYTES_MAX: usize = 32;
const ACR_BYTES_MAX: usize = 256;
const AMR_BYTES_MAX: usize = 64;
const AMR_MAX: usize = 16;
const APPROVALS_MAX: usize = 16;

// OCSF's activity, severity and status identifiers.
const CREATE: u32 = 1;
const READ: u32 = 2;
const UPDATE: u32 = 3;
const DELETE: u32 = 4;
pub(super) const OTHER: u32 = 99;
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

/// What one kind puts into the frame.
pub(super) struct Content<'a> {
    pub(super) at: WallTime,
    pub(super) severity_id: u32,
    pub(super) status_id: u32,
    pub(super) status_code: Option<&'static str>,
    pub(super) activity_id: u32,
    pub(super) user: Option<&'a str>,
    pub(super) idp: Option<&'a str>,
    pub(super) operation: Option<Text<'a>>,
    pub(super) request_id: Option<Text<'a>>,
    pub(super) client: Option<Endpoint<'a>>,
    pub(super) resource: Option<&'a Resource>,
    pub(super) http_request: Option<HttpRequest<'a>>,
    pub(super) http_response: Option<HttpResponse>,
    pub(super) duration_ms: Option<u64>,
    pub(super) count: Option<u64>,
    pub(super) body: Body<'a>,
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

    /// A loss that was accepted.
    pub(super) fn of_a_loss(at: WallTime, body: Body<'a>) -> Self {
        Self { severity_id: HIGH, ..Self::of_the_log(at, body) }
    }
}

pub(super) fn log_started<'a>(start: &LogStart) -> Content<'a> {
    let body = Start {
        previous: start.previous,
        torn_bytes: start.torn_bytes,
        orphans: start.orphans,
        previous_damaged: start.previous_damaged,
    };
    let severity_id = if start.previous_damaged { HIGH } else { INFORMATIONAL };
    Content { severity_id, ..Content::of_the_log(start.at, Body::Start(body)) }
}

pub(super) fn log_ended<'a>(end: &LogEnd) -> Content<'a> {
    Content::of_the_log(end.at, Body::End { open_intents: end.open_intents })
}

pub(super) fn summary_line<'a>(summary: &Summary) -> Content<'a> {
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

pub(super) fn intent_line<'a>(intent: &'a Intent, cuts: &mut Cuts) -> Content<'a> {
    let (request, grant) = (&intent.request, &*intent.grant);
    let body = IntentFacts {
        request_id: cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX),
        trace_id: trace_id(request, cuts),
        decision: "override",
        mode: request.mode.as_str(),
        method: cuts.text("method", &request.method, METHOD_BYTES_MAX),
        protocol: request.protocol.as_str(),
        query_names: cuts.list("query_names", &request.query_names, QUERY_NAMES_MAX, QUERY_NAME_BYTES_MAX),
        query_digests: request.query_digests.as_ref(),
        resource: intent.resource.as_str(),
        action: intent.action.as_str(),
        person: grant.person.as_str(),
        idp: grant.idp.as_str(),
        authentication: authentication_facts(&grant.authentication, cuts),
        grant: grant_facts(grant, cuts),
        number: intent.number,
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

fn authentication_facts<'a>(authentication: &'a Authentication, cuts: &mut Cuts) -> AuthenticationFacts<'a> {
    AuthenticationFacts {
        acr: authentication.acr.as_deref().map(|acr| cuts.text("acr", acr, ACR_BYTES_MAX)),
        amr: cuts.list("amr", &authentication.amr, AMR_MAX, AMR_BYTES_MAX),
        auth_time: authentication.auth_time,
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
        confirmation: grant.confirmation.as_ref().map(Confirmation::thumbprint),
        policy_revision: grant.policy_revision,
        approvals: grant.approvals.iter().take(APPROVALS_MAX).map(Person::as_str).collect(),
        expires: grant.expires,
        max_uses: grant.max_uses.map(std::num::NonZeroU32::get),
    }
}

pub(super) fn outcome_line<'a>(intent: &'a Intent, link: &Link, outcome: &'a Outcome, cuts: &mut Cuts) -> Content<'a> {
    let (request, grant) = (&intent.request, &*intent.grant);
    let body = OutcomeFacts {
        intent: IntentRef { log_id: link.log_id, seq: link.seq },
        request_id: cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX),
        end: outcome.end.as_str(),
        cause: outcome.end.cause().map(RefusalCode::as_str),
        method: cuts.text("method", &request.method, METHOD_BYTES_MAX),
        resource: intent.resource.as_str(),
        action: intent.action.as_str(),
        person: grant.person.as_str(),
        idp: Some(grant.idp.as_str()),
        authentication: authentication_facts(&grant.authentication, cuts),
        grant: GrantRef { id: grant.id.as_str() },
        status: outcome.status,
        assertion: outcome.assertion,
        request: Some(BodyFacts {
            bytes: outcome.request_bytes,
            sha256: outcome.request_sha256.map(LineHash::from_bytes),
        }),
        response: Some(BodyFacts {
            bytes: outcome.response_bytes,
            sha256: outcome.response_sha256.map(LineHash::from_bytes),
        }),
        captured: outcome.captured.as_deref().map(|captured| captured_facts(captured, cuts)),
    };
    Content {
        severity_id: MEDIUM,
        status_id: outcome_status(outcome),
        status_code: Some(outcome.end.cause().map_or(outcome.end.as_str(), RefusalCode::as_str)),
        activity_id: activity_of(&request.method),
        user: Some(grant.person.as_str()),
        idp: Some(grant.idp.as_str()),
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
        (End::Unknown | End::Aborted, _) => UNKNOWN,
        (End::Completed | End::ClientClosed | End::UpstreamClosed | End::Idle, Some(status)) if status < 400 => SUCCESS,
        _ => FAILURE,
    }
}

pub(super) fn unknown_outcome<'a>(intent: &'a PastIntent, at: WallTime, cuts: &mut Cuts) -> Content<'a> {
    let request_id = cuts.text("request_id", &intent.request_id, REQUEST_ID_BYTES_MAX);
    let body = OutcomeFacts {
        intent: IntentRef { log_id: intent.log_id, seq: intent.seq },
        request_id: request_id.clone(),
        end: End::Unknown.as_str(),
        cause: None,
        method: cuts.text("method", &intent.method, METHOD_BYTES_MAX + CUT_MARK.len()),
        resource: intent.resource.as_str(),
        action: intent.action.as_str(),
        person: intent.person.as_str(),
        idp: intent.idp.as_ref().map(Issuer::as_str),
        authentication: past_authentication(&intent.authentication, cuts),
        grant: GrantRef { id: intent.grant.as_str() },
        status: None,
        assertion: None,
        request: None,
        response: None,
        captured: None,
    };
    Content {
        severity_id: HIGH,
        status_id: UNKNOWN,
        status_code: Some(End::Unknown.as_str()),
        activity_id: activity_of(&intent.method),
        user: Some(intent.person.as_str()),
        idp: intent.idp.as_ref().map(Issuer::as_str),
        operation: Some(Text::Borrowed(intent.action.as_str())),
        request_id: Some(request_id),
        client: intent.client.map(|ip| Endpoint { ip: Some(ip), ..Endpoint::default() }),
        resource: Some(&intent.resource),
        ..Content::of_the_log(at, Body::Outcome(Box::new(body)))
    }
}

/// What a line said already: its texts may end in the mark of a cut.
fn past_authentication<'a>(past: &'a Authentication, cuts: &mut Cuts) -> AuthenticationFacts<'a> {
    AuthenticationFacts {
        acr: past.acr.as_deref().map(|acr| cuts.text("acr", acr, ACR_BYTES_MAX + CUT_MARK.len())),
        amr: cuts.list("amr", &past.amr, AMR_MAX, AMR_BYTES_MAX + CUT_MARK.len()),
        auth_time: past.auth_time,
    }
}

pub(super) fn refusal_line<'a>(refusal: &'a Refusal, cuts: &mut Cuts) -> Content<'a> {
    let code = refusal.code.as_str();
    let body = verdict_facts(&refusal.request, code, refusal.asker.as_ref(), cuts);
    Content {
        severity_id: LOW,
        status_id: FAILURE,
        status_code: Some(code),
        ..of_verdict(&refusal.request, refusal.asker.as_ref(), body, cuts)
    }
}

pub(super) fn observed_line<'a>(observed: &'a Observed, cuts: &mut Cuts) -> Content<'a> {
    let body = verdict_facts(&observed.request, observed.decision, observed.asker.as_ref(), cuts);
    Content {
        severity_id: INFORMATIONAL,
        status_id: UNKNOWN,
        status_code: Some(observed.decision),
        ..of_verdict(&observed.request, observed.asker.as_ref(), body, cuts)
    }
}

fn of_verdict<'a>(
    request: &'a RequestFacts,
    asker: Option<&'a Asker>,
    body: VerdictFacts<'a>,
    cuts: &mut Cuts,
) -> Content<'a> {
    Content {
        user: asker.map(|asker| asker.person.as_str()),
        idp: asker.map(|asker| asker.idp.as_str()),
        operation: request.action.as_ref().map(|action| Text::Borrowed(action.as_str())),
        resource: request.resource.as_ref(),
        ..of_request(request, Body::Verdict(Box::new(body)), cuts)
    }
}

fn verdict_facts<'a>(
    request: &'a RequestFacts,
    decision: &'static str,
    asker: Option<&'a Asker>,
    cuts: &mut Cuts,
) -> VerdictFacts<'a> {
    VerdictFacts {
        request_id: cuts.text("request_id", &request.request_id, REQUEST_ID_BYTES_MAX),
        trace_id: trace_id(request, cuts),
        decision,
        mode: request.mode.as_str(),
        method: cuts.text("method", &request.method, METHOD_BYTES_MAX),
        protocol: request.protocol.as_str(),
        query_names: cuts.list("query_names", &request.query_names, QUERY_NAMES_MAX, QUERY_NAME_BYTES_MAX),
        query_digests: request.query_digests.as_ref(),
        resource: request.resource.as_ref().map(Resource::as_str),
        action: request.action.as_ref().map(Action::as_str),
        person: asker.map(|asker| asker.person.as_str()),
        idp: asker.map(|asker| asker.idp.as_str()),
        authentication: asker.map(|asker| authentication_facts(&asker.authentication, cuts)),
        grant: asker.and_then(|asker| Some(GrantRef { id: asker.grant.as_ref()?.as_str() })),
    }
}

fn trace_id<'a>(request: &'a RequestFacts, cuts: &mut Cuts) -> Option<Text<'a>> {
    request.trace_id.as_deref().map(|id| cuts.text("trace_id", id, TRACE_ID_BYTES_MAX))
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
