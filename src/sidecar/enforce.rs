//! Step 5, decide: the facts of one request are gathered and put to the pure decision, as often as it takes.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use rustls::pki_types::CertificateDer;

use super::authenticate::{Authenticated, authenticate};
use super::client_certificate::Certificate;
use super::framing::HeadNote;
use super::grant_table::{LiveGrant, token_digest};
use super::intake::{NamedGrant, Taken};
use super::possession::Shown;
use super::route::RouteMatch;
use super::setup::Setup;
use super::shared::Shared;
use super::signature_limit::SignatureLimit;
use super::target::{self, Ambiguity};
use crate::audit::Asker;
use crate::decision::{
    Assertion, Audit, Claimant, Credential, Decision, Facts, Feed, Framing, GrantFact, GrantStanding, Mode, Route,
    Target, Traits, Unproven, Uses, decide,
};
use crate::domain::{Binding, BootTime, Grant, Moment};
use crate::token::dpop::ProofError;
use crate::token::verify_grant;

/// What the request line and the headers said, before anything is looked up.
#[derive(Debug)]
pub struct Presented<'r> {
    pub method: &'r Method,
    pub path: &'r str,
    pub query: Option<&'r str>,
    /// The authority of an absolute-form target (or `:authority`) and the Host header differ.
    pub authority_mismatch: bool,
    pub upgrade: bool,
    pub taken: &'r Taken,
    pub note: &'r HeadNote,
    pub client: IpAddr,
    /// Of the connection.
    pub certificates: &'r [CertificateDer<'static>],
}

/// One request, looked at from every side.
#[derive(Debug)]
pub struct Examined<'r> {
    /// The canonical path, or why there is none.
    pub target: Result<Cow<'r, str>, Ambiguity>,
    pub found: RouteMatch<'r>,
    pub mode: Mode,
    framing: Framing,
    traits: Traits,
    credential: Credential,
    caller: Authenticated,
    certificate: Certificate,
    shown: Shown,
    live: Option<Arc<LiveGrant>>,
    genuine: Option<Grant>,
    /// Whether the table was whole before the grant was looked up. One that came in between is not unknown.
    was_synced: bool,
}

impl<'r> Examined<'r> {
    /// Looks everything up. `limit` bounds how often signatures of unknown tokens are checked for one address.
    pub fn new(shared: &Shared, setup: &'r Setup, presented: &Presented<'r>, limit: &SignatureLimit) -> Self {
        let target = canonical_target(presented);
        let found = match &target {
            Ok(path) => setup.routes.find(presented.method, path),
            Err(_) => RouteMatch::Unmatched,
        };
        let traits = Traits {
            rewrite_header: presented.taken.rewrite_header,
            unlisted_query: found.has_unlisted_query(presented.query),
            upgrade: presented.upgrade,
            connect: presented.method == Method::CONNECT,
        };
        let mut examined = Self {
            mode: found.route().and_then(|route| route.mode).unwrap_or(setup.service.mode),
            framing: if presented.note.fault.is_some() { Framing::Conflict } else { Framing::Sound },
            credential: presented.taken.credential,
            caller: Authenticated::Unproven(Unproven::Missing),
            certificate: Certificate::None,
            shown: Shown::Nothing,
            live: None,
            genuine: None,
            was_synced: true,
            target,
            found,
            traits,
        };
        examined.look_up(shared, setup, presented, limit);
        examined
    }

    /// Caller and grant are looked at only where the answer could depend on them.
    fn look_up(&mut self, shared: &Shared, setup: &Setup, presented: &Presented<'_>, limit: &SignatureLimit) {
        let (Credential::Presented(_), Route::Overridable { .. }) = (self.credential, self.found.fact()) else {
            return;
        };
        self.was_synced = shared.standing.feed() != Feed::NeverSynced;
        let now = shared.clock.now();
        self.caller = authenticate(setup, presented.taken);
        self.certificate = Certificate::of(setup, presented.certificates, now.wall);
        self.shown = self.shown_proof(shared, setup, presented, now);
        match &presented.taken.grant {
            Some(NamedGrant::Id(id)) => self.live = shared.grants.by_id(id),
            Some(NamedGrant::Token(token)) => {
                self.live = shared.grants.by_token(&token_digest(token.expose()));
                let may_learn = self.shows_anything() || self.may_be_borne(setup);
                if self.live.is_none() && may_learn && limit.allows(presented.client, now.boot) {
                    self.genuine = verify_grant(token.expose(), &shared.keys()).ok();
                }
            }
            None => {}
        }
        self.hold_to_fresh_proof();
        self.use_proof_up(shared, now.boot);
    }

    /// A grant whose person had to authenticate afresh takes no proof of them from before that: such a caller is told as
    /// little as one who proves nothing. As an identity that came too must fit, so must its time.
    ///
    /// A key or a certificate says nothing of when its person was there. A grant that is bound to one is not held to that:
    /// it waited while it was suspended, and was taken up because its person had authenticated afresh.
    fn hold_to_fresh_proof(&mut self) {
        if let Authenticated::Proven(verified) = &self.caller {
            self.live.take_if(|live| !live.takes_proof_of(verified.proven_at()));
        }
    }

    fn shown_proof(&self, shared: &Shared, setup: &Setup, presented: &Presented<'_>, now: Moment) -> Shown {
        let path = self.target.as_deref().unwrap_or_default();
        let (method, origin) = (presented.method.as_str(), setup.public_origin.as_ref());
        shared.possession.look_at(presented.taken, method, path, origin, now)
    }

    /// Once a request: the decision may be asked for more often.
    fn use_proof_up(&mut self, shared: &Shared, now: BootTime) {
        let shown = std::mem::replace(&mut self.shown, Shown::Nothing);
        self.shown = match self.grant() {
            Some(grant) => shared.possession.use_up(shown, grant, now),
            None => shown,
        };
    }

    fn shows_anything(&self) -> bool {
        let proven = matches!(self.certificate, Certificate::Proven(_)) || matches!(self.shown, Shown::Key(_));
        proven || self.caller.person().is_some()
    }

    fn grant(&self) -> Option<&Grant> {
        self.live.as_ref().map(|live| &**live.grant()).or(self.genuine.as_ref())
    }

    /// Why the proof that came does not hold.
    pub fn proof_fault(&self) -> Option<ProofError> {
        match &self.shown {
            Shown::Invalid(error) => Some(*error),
            _ => None,
        }
    }

    /// Nobody came with the token, and this service takes tokens alone.
    fn may_be_borne(&self, setup: &Setup) -> bool {
        self.caller == Authenticated::Unproven(Unproven::Missing)
            && setup.policy.ceiling.bindings.contains(&Binding::Bearer)
    }

    /// The verdict now, by the policy of now. `uses` overrides what the table says, for the second look after a use was spent.
    pub fn decide(&self, shared: &Shared, uses: Option<Uses>) -> Decision {
        let now = shared.clock.now();
        // Before the grant's deadline is asked for: a first heartbeat that comes between the two would make one that is not
        // known yet look like one that has passed.
        let feed = if self.was_synced { shared.standing.feed() } else { Feed::NeverSynced };
        let facts = Facts {
            now,
            framing: self.framing,
            target: if self.target.is_ok() { Target::Canonical } else { Target::Ambiguous },
            route: self.found.fact(),
            traits: self.traits,
            credential: self.credential,
            caller: self.caller.fact(),
            certificate: self.certificate.fact(),
            proof: self.shown.fact(),
            grant: self.grant_fact(shared, now, uses.is_some()),
            freeze: shared.standing.freeze(),
            feed,
            uses: uses.or_else(|| self.live.as_ref().map(|live| live.uses())).unwrap_or(Uses::Elsewhere),
            audit: if shared.audit_is_ready() { Audit::Ready } else { Audit::Unavailable },
            // Asked of an override only: ordinary traffic waits for no lock of ours.
            assertion: self.live.as_ref().map_or(Assertion::Unavailable, |_| shared.assertions.fact()),
        };
        decide(&shared.glance().policy, &facts)
    }

    fn grant_fact(&self, shared: &Shared, now: Moment, use_is_spent: bool) -> GrantFact<'_> {
        match (&self.live, &self.genuine) {
            (Some(live), _) => {
                let mut fact = live.fact(&shared.standing, now);
                // The use that this very request has spent does not count against it.
                if use_is_spent && fact.standing == GrantStanding::UsedUp {
                    fact.standing = GrantStanding::Live;
                } else if !use_is_spent && fact.standing == GrantStanding::Live && live.is_used_up_here() {
                    fact.standing = GrantStanding::UsedUp;
                }
                GrantFact::Held(fact)
            }
            (None, Some(grant)) => GrantFact::Genuine(grant),
            (None, None) => GrantFact::Unknown,
        }
    }

    pub fn live(&self) -> Option<&Arc<LiveGrant>> {
        self.live.as_ref()
    }

    /// Who has proven to be asking: the grant's holder, or else the person whose identity token came.
    pub fn asker(&self) -> Option<Asker> {
        self.held_grant().map(Asker::holder_of).or_else(|| self.caller.asker())
    }

    /// The grant, where the caller is proven to be its holder.
    fn held_grant(&self) -> Option<&Grant> {
        let Credential::Presented(named_by) = self.credential else { return None };
        let grant = self.grant()?;
        let claimant = Claimant::of(self.caller.fact(), self.certificate.fact(), self.shown.fact(), named_by);
        claimant.is_ok_and(|claimant| claimant.is_holder_of(grant)).then_some(grant)
    }
}

fn canonical_target<'r>(presented: &Presented<'r>) -> Result<Cow<'r, str>, Ambiguity> {
    if presented.note.fragment {
        return Err(Ambiguity::Fragment);
    }
    if presented.authority_mismatch {
        return Err(Ambiguity::AuthorityMismatch);
    }
    target::canonical(presented.path)
}
