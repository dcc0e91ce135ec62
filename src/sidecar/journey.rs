//! One request's life, top to bottom: intake, route, authenticate, decide, record, forward, record.
//!
//! A request without the header on a service without seals takes the short way: strip, forward, nothing else.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::audit_log::{IntentError, Standing as Budget};
use super::body::ResponseBody;
use super::capture::Capture;
use super::connection::Peer;
use super::counters::{Counters, RequestOutcome};
use super::enforce::{Examined, Presented};
use super::failure::{close_after, no_tunnel, too_large, upstream_failure};
use super::forward::{self, Client, ForwardError, Recorded};
use super::framing::{HeadNote, HeadNotes};
use super::intake::{self, Taken};
use super::meter::{MeteredBody, metered};
use super::refusal::{self, About};
use super::route::RouteMatch;
use super::setup::Setup;
use super::shared::{ShareNews, Shared};
use super::signature_limit::SignatureLimit;
use super::upstream::Pool;
use super::{framing_head::HeadFault, record, target};
use crate::audit::{Asker, End, Intent, Observed, Outcome, Refusal, RequestFacts};
use crate::decision::{Credential, Decision, Disposition, Permit, RefusalCode, Uses};
use crate::telemetry::request_context::{self, RequestContext, request_id};

/// What `DPoP-Nonce` is to `DPoP` (RFC 9449 §8).
const DPOP_NONCE: HeaderName = HeaderName::from_static(crate::wire::own_headers::DPOP_NONCE);

/// One runtime's share of a sidecar.
#[derive(Debug)]
pub struct Worker {
    pub shared: Arc<Shared>,
    pub pool: Rc<Pool>,
    pub counters: Arc<Counters>,
    pub limit: SignatureLimit,
}

/// Answers one request, and measures it.
pub async fn serve(worker: &Rc<Worker>, peer: &Peer, request: Request<Incoming>) -> Response<MeteredBody> {
    let context = RequestContext::of(request.headers());
    metered(&worker.counters, context, answer(worker, peer, request)).await
}

async fn answer(worker: &Rc<Worker>, peer: &Peer, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let note = peer.notes.as_ref().map(HeadNotes::next).unwrap_or_default();
    let taken = intake::take(request.headers_mut());
    let client = Client { address: peer.address, afterwards: &peer.afterwards, hints: peer.hints.as_ref() };
    peer.note_hand_over(&mut request);
    let (any_seal, offers) = {
        let setup = worker.shared.glance();
        worker.pool.follow(&setup.upstream);
        (setup.policy.any_seal, setup.request_url.is_some())
    };
    if note.fault.is_some() || taken.credential != Credential::Absent || any_seal {
        let response = considered(worker, peer, client, request, &taken, &note).await;
        return with_nonce(&worker.shared, &taken, response);
    }
    if request.method() == Method::CONNECT {
        return no_tunnel(worker);
    }
    let asked = offers.then(|| (request.method().clone(), request.uri().clone()));
    let answer = forward::ordinary(&worker.pool, request, None, client).await;
    let mut response = finish(worker, peer, answer, RequestOutcome::Passed);
    if let Some((method, uri)) = asked
        && forward::is_locked(&response)
    {
        offer_request_form(&worker.shared.setup(), &method, uri.path(), &mut response);
    }
    response
}

/// Points from a locked answer to the request form, where the route is one that can be overridden.
fn offer_request_form(setup: &Setup, method: &Method, path: &str, response: &mut Response<ResponseBody>) {
    let Ok(path) = target::canonical(path) else { return };
    if let Some(link) = offered_link(setup, &setup.routes.find(method, &path)) {
        forward::add_link(response, &link);
    }
}

fn offered_link(setup: &Setup, found: &RouteMatch<'_>) -> Option<String> {
    let base = setup.request_url.as_deref()?;
    found.route().filter(|route| route.offer)?;
    Some(refusal::request_link(base, &setup.service.name, found.resource()?, found.action()?))
}

/// The long way: everything is looked at.
async fn considered(
    worker: &Rc<Worker>,
    peer: &Peer,
    client: Client<'_>,
    request: Request<Incoming>,
    taken: &Taken,
    note: &HeadNote,
) -> Response<ResponseBody> {
    if note.fault == Some(HeadFault::TooLarge) {
        return too_large(worker);
    }
    let shared = Arc::clone(&worker.shared);
    let setup = shared.setup();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let presented = Presented {
        method: &method,
        path: uri.path(),
        query: uri.query(),
        authority_mismatch: authority_mismatch(&request),
        upgrade: request.headers().contains_key(UPGRADE),
        taken,
        note,
        client: peer.address.ip(),
        certificates: &peer.certificates,
    };
    let examined = Examined::new(&shared, &setup, &presented, &worker.limit);
    let id = request_id().to_string();
    if method == Method::CONNECT && taken.credential == Credential::Absent && note.fault.is_none() {
        return no_tunnel(worker);
    }
    let case = Case { worker, peer, shared: &shared, setup: &setup, examined: &examined, client, id: &id, note };
    let facts = || record::request_facts(&shared, &request, &examined, peer.address, &id);
    match examined.mode.apply(examined.decide(&shared, None)) {
        Disposition::Forward => case.pass(request).await,
        Disposition::Override(permit) => {
            request_context::ensure_trace();
            let facts = facts();
            case.carry_out(permit, request, facts).await
        }
        Disposition::Refuse(code) => {
            if taken.credential != Credential::Absent || note.had_credential {
                case.record_refusal(code, facts());
            }
            case.refuse(code)
        }
        Disposition::WouldOverride(_) => {
            worker.counters.count_would_override();
            case.record_observed("override", facts());
            case.pass(request).await
        }
        Disposition::WouldRefuse(code) => {
            worker.counters.count_would_refuse(code);
            if taken.credential != Credential::Absent {
                case.record_observed(code.as_str(), facts());
            }
            case.pass(request).await
        }
    }
}

/// A nonce for the next proof, to who sent one and to who has to prove themselves, where proofs are taken.
fn with_nonce(shared: &Shared, taken: &Taken, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    let is_asked = response.status() == StatusCode::UNAUTHORIZED && taken.credential != Credential::Absent;
    if (taken.proof.is_some() || is_asked)
        && shared.glance().public_origin.is_some()
        && let Ok(nonce) = HeaderValue::try_from(shared.possession.nonce(shared.clock.boot()))
    {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response
}

/// The authority of an absolute-form target, or `:authority`, must be the Host header's where both are there; and there
/// may be one Host only, which over HTTP/2 nothing before us has checked.
fn authority_mismatch<B>(request: &Request<B>) -> bool {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    let Some(host) = hosts.next() else { return false };
    hosts.next().is_some() || authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host))
}

/// One request that is looked at.
struct Case<'c> {
    worker: &'c Rc<Worker>,
    peer: &'c Peer,
    shared: &'c Arc<Shared>,
    setup: &'c Setup,
    examined: &'c Examined<'c>,
    client: Client<'c>,
    id: &'c str,
    note: &'c HeadNote,
}

impl Case<'_> {
    /// Ordinary traffic. Where there are seals, what was matched is what is forwarded; elsewhere it stays as it is.
    async fn pass(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let path = self.examined.target.as_deref().ok().filter(|_| self.setup.policy.any_seal);
        let answer = forward::ordinary(&self.worker.pool, request, path, self.client).await;
        self.finish(answer, RequestOutcome::Passed)
    }

    /// An override: spend a use, make the intent durable, look once more, forward.
    async fn carry_out(
        &self,
        permit: Permit,
        request: Request<Incoming>,
        facts: RequestFacts,
    ) -> Response<ResponseBody> {
        match self.record_intent(permit, &facts).await {
            Ok(recorded) => {
                let recorded = Recorded { capture: self.capture(request.headers()), ..recorded };
                tracing::info!(grant = %recorded.permit.grant().id, "an override goes to the upstream");
                let path = self.examined.target.as_deref().unwrap_or("/");
                let (shared, pool) = (self.shared, &self.worker.pool);
                let answer = forward::as_override(shared, pool, recorded, request, path, self.client, self.id).await;
                self.finish(answer, RequestOutcome::Override)
            }
            Err(code) => {
                // What failed after the intent was durable has its outcome; it needs no refusal beside it.
                if code.1 == Durable::No {
                    self.record_refusal(code.0, facts);
                }
                self.refuse(code.0)
            }
        }
    }

    async fn record_intent(&self, permit: Permit, facts: &RequestFacts) -> Result<Recorded, (RefusalCode, Durable)> {
        let live = self.examined.live().ok_or((RefusalCode::GrantNotUsable, Durable::No))?;
        if !live.spend() {
            return Err((RefusalCode::UsesElsewhere, Durable::No));
        }
        let asked = Instant::now();
        let intent = self.shared.audit.intent(Intent::new(facts.clone(), &permit)).await;
        self.worker.counters.count_intent(asked.elapsed());
        let receipt = match intent {
            Ok(receipt) => receipt,
            Err(error) => {
                give_back_use(live, error);
                return Err((RefusalCode::AuditUnavailable, Durable::No));
            }
        };
        if permit.grant().max_uses.is_some() {
            self.shared.tell(ShareNews::Spent(permit.grant().id.clone()));
        }
        match self.examined.decide(self.shared, Some(Uses::Available)) {
            Decision::Override(permit) => Ok(Recorded { permit, receipt, live: Arc::clone(live), capture: None }),
            Decision::Refuse(code) => {
                // The use stays spent: its intent is durable, and that is what uses are counted by after a restart.
                receipt.outcome(Outcome::bare(self.shared.clock.wall(), End::NotForwarded(code)));
                Err((code, Durable::Yes))
            }
            Decision::Pass => Err((RefusalCode::GrantNotUsable, Durable::Yes)),
        }
    }

    /// Where the route names members of bodies.
    fn capture(&self, request: &HeaderMap) -> Option<Capture> {
        Capture::of(&self.examined.found.route()?.capture, request, &self.shared.capture)
    }

    fn record_refusal(&self, code: RefusalCode, request: RequestFacts) {
        let asker = self.examined.asker();
        let is_holder = asker.as_ref().is_some_and(Asker::is_holder);
        let budget = if is_holder { Budget::Proven } else { Budget::Stranger };
        self.shared.audit.refusal(Refusal { request, code, asker }, budget);
    }

    fn record_observed(&self, decision: &'static str, request: RequestFacts) {
        self.shared.audit.observed(Observed { request, decision, asker: self.examined.asker() });
    }

    fn refuse(&self, code: RefusalCode) -> Response<ResponseBody> {
        self.worker.counters.count_refusal(code);
        tracing::debug!(code = code.as_str(), "refused");
        if code == RefusalCode::UsesElsewhere
            && let Some(live) = self.examined.live()
        {
            self.shared.want_uses(live);
        }
        let mut response = refusal::respond(code, &self.about(self.detail(code)));
        self.point_to_request_form(&mut response);
        if code == RefusalCode::FramingConflict {
            close_after(&mut response);
        }
        response
    }

    fn about(&self, detail: Option<String>) -> About<'_> {
        About {
            request_id: self.id,
            service: Some(&self.setup.service.name),
            resource: self.examined.found.resource(),
            action: self.examined.found.action(),
            request_url: self.setup.request_url.as_deref(),
            detail,
        }
    }

    /// What can be said of the request itself; nothing of the grant.
    fn detail(&self, code: RefusalCode) -> Option<String> {
        match (code, &self.examined.target, self.note.fault) {
            (RefusalCode::FramingConflict, _, Some(fault)) => Some(format!("The request was refused unread: {fault}.")),
            (RefusalCode::TargetAmbiguous, Err(ambiguity), _) => Some(format!("The path was refused: {ambiguity}.")),
            (RefusalCode::DpopProofInvalid, _, _) => {
                self.examined.proof_fault().map(|fault| format!("The proof was refused: {fault}."))
            }
            _ => None,
        }
    }

    fn finish(
        &self,
        answer: Result<Response<ResponseBody>, ForwardError>,
        outcome: RequestOutcome,
    ) -> Response<ResponseBody> {
        if let Err(ForwardError::Cut { code, sent }) = answer {
            self.worker.counters.count_refusal(code);
            return refusal::respond(code, &self.about(Some(forward::cut_detail(sent).to_owned())));
        }
        if let Err(ForwardError::Unsigned) = answer {
            return self.refuse(RefusalCode::AssertionUnavailable);
        }
        let mut response = finish(self.worker, self.peer, answer, outcome);
        self.point_to_request_form(&mut response);
        response
    }

    fn point_to_request_form(&self, response: &mut Response<ResponseBody>) {
        if forward::is_locked(response)
            && let Some(link) = offered_link(self.setup, &self.examined.found)
        {
            forward::add_link(response, &link);
        }
    }
}

/// Whether the intent's line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    No,
}

/// A use is given back only where it is certain that no intent was or will be written.
fn give_back_use(live: &super::grant_table::LiveGrant, error: IntentError) {
    match error {
        IntentError::Full
        | IntentError::Busy
        | IntentError::Closed
        | IntentError::Opening
        | IntentError::Damaged
        | IntentError::Spool
        | IntentError::NoLedger => live.unspend(),
        IntentError::Slow | IntentError::Failed | IntentError::Untaken => {}
    }
}

fn finish(
    worker: &Worker,
    peer: &Peer,
    answer: Result<Response<ResponseBody>, ForwardError>,
    outcome: RequestOutcome,
) -> Response<ResponseBody> {
    let error = match answer {
        Ok(response) => {
            worker.counters.count_outcome(outcome);
            return response;
        }
        Err(error) => error,
    };
    // A request whose body breaks its framing looks like a broken upstream from inside.
    if peer.notes.as_ref().is_some_and(HeadNotes::body_is_broken) {
        worker.counters.count_refusal(RefusalCode::FramingConflict);
        let id = request_id().to_string();
        let mut response =
            refusal::respond(RefusalCode::FramingConflict, &About { request_id: &id, ..About::default() });
        close_after(&mut response);
        return response;
    }
    upstream_failure(worker, &error)
}
