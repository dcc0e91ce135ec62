//! The control plane's API as the verbs see it: one function per call of [`crate::wire::api`].

mod personal;
mod policy;
mod proven;

pub(super) use self::proven::Proving;

use std::time::Duration;

use http::header::{ETAG, IF_MATCH};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::calls::Calls;
use super::failure::{Exit, Failure};
use super::own_key::OwnKey;
use super::sign_in::Credentials;
use crate::domain::{ElevationId, GrantId, RevocationId, ServiceName};
use crate::error_chain::error_chain;
use crate::http::form::escaped;
use crate::http::{Answer, Client, HttpError};
use crate::secret::Secret;
use crate::wire::api::{
    ElevationView, Enforcement, GrantTokenView, GrantView, Page, RequestOptions, RevokeRequest, SidecarView,
};
use crate::wire::lifecycle::{ApproveRequest, DenyRequest, ReviewRequest, WithdrawRequest};
use crate::wire::problem::Problem;
use crate::wire::revocations::{
    FreezeLiftedView, FreezeRequest, FreezeView, RevocationEnforcement, RevocationPreview, RevocationRequest,
    RevocationView,
};
use crate::wire::sign_in::WhoamiView;

/// Pages read of one list before we say that there is more.
const PAGES_MAX: usize = 100;
/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The control plane said why.
    #[error("the control plane answered {}", .0.status)]
    Problem(Box<Problem>),
    /// Something answered that does not speak our language.
    #[error("{control} answered with status {status} and without saying why")]
    Status { control: String, status: u16 },
    #[error("the control plane at {control} cannot be reached")]
    Unreachable { control: String, source: HttpError },
    #[error("the control plane's answer cannot be used")]
    Unusable { source: HttpError },
    #[error("the control plane's answer has no ETag")]
    Untagged,
    #[error("the list has more than {PAGES_MAX} pages")]
    TooLong,
    /// The caller's key can't be proven.
    #[error("{}", .0.message)]
    Key(Box<Failure>),
    /// There is no access token to call with.
    #[error("{}", .0.message)]
    NotSignedIn(Box<Failure>),
}

impl ApiError {
    /// Whether the same question may be answered in a moment.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.status, 429 | 502..=504),
            Self::Status { status, .. } => matches!(status, 429 | 502..=504),
            Self::Unreachable { .. } => true,
            Self::Unusable { .. } | Self::Untagged | Self::TooLong | Self::Key(_) | Self::NotSignedIn(_) => false,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let message = error_chain(&error);
        match error {
            ApiError::Problem(problem) => {
                let (exit, hint) = meaning(problem.status);
                Self::from_problem(exit, &problem, hint)
            }
            ApiError::Status { status, .. } => {
                Self::new(meaning(status).0, message, "is --control the address of a break-glass control plane?")
            }
            ApiError::Unreachable { .. } => Self::new(
                Exit::Unreachable,
                message,
                "check --control and --ca, and whether the control plane is up; grants that are live go on working",
            ),
            ApiError::Unusable { .. } | ApiError::Untagged => {
                Self::new(Exit::Failed, message, "are this program and the control plane of the same version?")
            }
            ApiError::Key(failure) | ApiError::NotSignedIn(failure) => *failure,
            ApiError::TooLong => Self::new(Exit::Failed, message, "narrow the list with --service, --state or --mine"),
        }
    }
}

/// What a status means to a script, and what its reader can do.
const fn meaning(status: u16) -> (Exit, &'static str) {
    match status {
        401 => (Exit::NotAuthenticated, "sign in again with breakglass login, or get a fresh access token"),
        404 => (Exit::Failed, "check the name: what is not yours to see does not exist for you"),
        502..=504 => (Exit::Unreachable, "try again shortly; grants that are live go on working"),
        400..=499 => (Exit::Refused, "see what policy allows: breakglass request --help"),
        _ => (Exit::Failed, "try again; if it stays, give the request id to those who run the control plane"),
    }
}

/// Which grants to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantQuery {
    pub service: Option<ServiceName>,
    pub state: Option<&'static str>,
    pub review: Option<&'static str>,
    pub mine: bool,
}

impl GrantQuery {
    fn query(&self) -> String {
        query(self.service.as_ref(), &[("state", self.state), ("review", self.review)], &[("mine", self.mine)])
    }
}

/// Which requests to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElevationQuery {
    pub service: Option<ServiceName>,
    pub state: Option<&'static str>,
    pub to_approve: bool,
    pub mine: bool,
}

impl ElevationQuery {
    fn query(&self) -> String {
        let flags = [("to_approve", self.to_approve), ("mine", self.mine)];
        query(self.service.as_ref(), &[("state", self.state)], &flags)
    }
}

/// INVARIANT: every value is made of characters that need no escaping in a query.
fn query(service: Option<&ServiceName>, words: &[(&str, Option<&str>)], flags: &[(&str, bool)]) -> String {
    let service = service.map(|service| format!("service={service}"));
    let words = words.iter().filter_map(|(name, word)| word.map(|word| format!("{name}={word}")));
    let flags = flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!("{name}=true"));
    service.into_iter().chain(words).chain(flags).collect::<Vec<_>>().join("&")
}

/// A client of one control plane, for one caller.
#[derive(Debug, Clone)]
pub struct Api {
    calls: Calls,
    /// Absent: nothing can be proven.
    key: Option<OwnKey>,
}

impl Api {
    pub(super) const fn new(client: Client, base: Uri, credentials: Credentials) -> Self {
        Self { calls: Calls::new(client, base, credentials), key: None }
    }

    /// The same, with the caller's own key.
    #[must_use]
    pub(super) fn with_key(self, key: OwnKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The caller's token for the API of `service`: the one that was given, or one of the sign-in that is kept.
    pub(super) async fn token_for(&self, service: &ServiceName) -> Result<Secret<String>, Failure> {
        self.calls.token_for(service).await
    }

    /// Whom the control plane takes the caller for.
    pub async fn whoami(&self) -> Result<WhoamiView, ApiError> {
        self.get("/v1/whoami").await
    }

    pub async fn options(&self, service: &ServiceName) -> Result<RequestOptions, ApiError> {
        self.get(&format!("/v1/services/{service}/options")).await
    }

    /// Every request that fits, all pages.
    pub async fn elevations(&self, query: &ElevationQuery) -> Result<Vec<ElevationView>, ApiError> {
        self.all("/v1/elevations", &query.query()).await
    }

    pub async fn elevation(&self, id: &ElevationId) -> Result<ElevationView, ApiError> {
        self.get(&format!("/v1/elevations/{id}")).await
    }

    /// A request with the tag of what is shown.
    pub async fn elevation_tagged(&self, id: &ElevationId) -> Result<(ElevationView, String), ApiError> {
        let answer = self.ask(Method::GET, &format!("/v1/elevations/{id}"), Vec::new(), None).await?;
        let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let view = answer.json().map_err(|source| ApiError::Unusable { source })?;
        Ok((view, tag.ok_or(ApiError::Untagged)?))
    }

    /// Approves what `etag` names.
    pub async fn approve(
        &self,
        id: &ElevationId,
        etag: &str,
        request: &ApproveRequest,
    ) -> Result<ElevationView, ApiError> {
        let seen = HeaderValue::try_from(etag).map_err(|_| ApiError::Untagged)?;
        let answer = self
            .ask(Method::POST, &format!("/v1/elevations/{id}/approve"), body(request)?, Some((IF_MATCH, seen)))
            .await?;
        answer.json().map_err(|source| ApiError::Unusable { source })
    }

    pub async fn deny(&self, id: &ElevationId, note: String) -> Result<ElevationView, ApiError> {
        self.post(&format!("/v1/elevations/{id}/deny"), &DenyRequest { note }).await
    }

    pub async fn withdraw(&self, id: &ElevationId) -> Result<ElevationView, ApiError> {
        self.post(&format!("/v1/elevations/{id}/withdraw"), &WithdrawRequest {}).await
    }

    pub async fn review(&self, id: &GrantId, review: &ReviewRequest) -> Result<GrantView, ApiError> {
        self.post(&format!("/v1/grants/{id}/review"), review).await
    }

    /// A report as JSON.
    pub(super) async fn report<T: DeserializeOwned>(&self, target: &str) -> Result<T, ApiError> {
        self.get(target).await
    }

    /// A report as the document that it is.
    pub(super) async fn report_bytes(&self, target: &str) -> Result<Vec<u8>, ApiError> {
        Ok(self.ask(Method::GET, target, Vec::new(), None).await?.body.to_vec())
    }

    /// Every grant that fits, all pages.
    pub async fn grants(&self, query: &GrantQuery) -> Result<Vec<GrantView>, ApiError> {
        self.all("/v1/grants", &query.query()).await
    }

    pub async fn grant(&self, id: &GrantId) -> Result<GrantView, ApiError> {
        self.get(&format!("/v1/grants/{id}")).await
    }

    pub async fn grant_token(&self, id: &GrantId) -> Result<GrantTokenView, ApiError> {
        self.get(&format!("/v1/grants/{id}/token")).await
    }

    pub async fn revoke(&self, id: &GrantId, note: Option<String>) -> Result<GrantView, ApiError> {
        self.post(&format!("/v1/grants/{id}/revoke"), &RevokeRequest { note }).await
    }

    /// How far the last change to a grant has arrived; waits up to `wait` for the sidecars.
    pub async fn enforcement(&self, id: &GrantId, wait: Duration) -> Result<Enforcement, ApiError> {
        self.get(&format!("/v1/grants/{id}/enforcement?wait_ms={}", wait.as_millis())).await
    }

    /// What a revocation of many grants would end.
    pub async fn preview(&self, request: &RevocationRequest) -> Result<RevocationPreview, ApiError> {
        self.post("/v1/revocations/preview", request).await
    }

    /// Ends many grants.
    pub async fn order(&self, request: &RevocationRequest) -> Result<RevocationView, ApiError> {
        self.post("/v1/revocations", request).await
    }

    pub async fn revocation(&self, id: &RevocationId) -> Result<RevocationView, ApiError> {
        self.get(&format!("/v1/revocations/{id}")).await
    }

    pub async fn revocations(&self) -> Result<Vec<RevocationView>, ApiError> {
        self.all("/v1/revocations", "").await
    }

    /// How far a revocation has arrived; waits up to `wait` for all sidecars, or for more answers than `after`.
    pub async fn revocation_enforcement(
        &self,
        id: &RevocationId,
        wait: Duration,
        after: Option<u32>,
    ) -> Result<RevocationEnforcement, ApiError> {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        self.get(&format!("/v1/revocations/{id}/enforcement?wait_ms={}{after}", wait.as_millis())).await
    }

    pub async fn freezes(&self) -> Result<Vec<FreezeView>, ApiError> {
        self.all("/v1/freezes", "").await
    }

    /// Freezes a service, or everything. False where it was frozen before.
    pub async fn freeze(&self, service: Option<&ServiceName>, note: &str) -> Result<(bool, FreezeView), ApiError> {
        let body = body(&FreezeRequest { note: note.to_owned() })?;
        let answer = self.ask(Method::PUT, &freeze_target(service), body, None).await?;
        let freeze = answer.json().map_err(|source| ApiError::Unusable { source })?;
        Ok((answer.status == StatusCode::CREATED, freeze))
    }

    /// Lifts a freeze; waits up to `wait` for the sidecars.
    pub async fn lift(&self, service: Option<&ServiceName>, wait: Duration) -> Result<FreezeLiftedView, ApiError> {
        let target = format!("{}?wait_ms={}", freeze_target(service), wait.as_millis());
        self.call(Method::DELETE, &target, Vec::new()).await
    }

    pub async fn sidecars(&self) -> Result<Vec<SidecarView>, ApiError> {
        self.all("/v1/sidecars", "").await
    }

    async fn all<T: DeserializeOwned>(&self, path: &str, query: &str) -> Result<Vec<T>, ApiError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut parts: Vec<String> = Vec::new();
            parts.extend((!query.is_empty()).then(|| query.to_owned()));
            parts.extend(cursor.as_deref().map(|cursor| format!("cursor={}", escaped(cursor))));
            let target = if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) };
            let page: Page<T> = self.get(&target).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
        Err(ApiError::TooLong)
    }

    async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ApiError> {
        self.call(Method::GET, target, Vec::new()).await
    }

    async fn post<Q: Serialize, T: DeserializeOwned>(&self, target: &str, document: &Q) -> Result<T, ApiError> {
        self.call(Method::POST, target, body(document)?).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, target: &str, body: Vec<u8>) -> Result<T, ApiError> {
        let answer = self.ask(method, target, body, None).await?;
        answer.json().map_err(|source| ApiError::Unusable { source })
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
        condition: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Answer, ApiError> {
        // On the heap: what signing in takes would otherwise lie on the stack of every verb, once for each of its calls.
        Box::pin(self.calls.send(method, target, body.into(), condition, None)).await
    }
}

fn freeze_target(service: Option<&ServiceName>) -> String {
    service.map_or_else(|| "/v1/freezes".to_owned(), |service| format!("/v1/freezes/{service}"))
}

fn body<Q: Serialize>(document: &Q) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(document).map_err(|_| ApiError::Unusable { source: HttpError::RequestJson })
}

/// A query value without its percent-encoding (RFC 3986 §2.1). What is not well-formed is nothing.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        assert_eq!(GrantQuery::default().query(), "");
        let service = Some("payments".parse().unwrap());
        let query = GrantQuery { service: service.clone(), state: Some("active"), mine: true, ..GrantQuery::default() };
        assert_eq!(query.query(), "service=payments&state=active&mine=true");
        let query = ElevationQuery { service, to_approve: true, ..ElevationQuery::default() };
        assert_eq!(query.query(), "service=payments&to_approve=true");
    }

    #[test]
    fn a_refusal_keeps_the_control_planes_own_words() {
        let problem = Problem::new(422, "reason_unknown", "Unknown reason", "'x' is no reason code")
            .with_hint("use stuck-payment");
        let failure = Failure::from(ApiError::Problem(Box::new(problem)));
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(failure.message, "Unknown reason (422, reason_unknown): 'x' is no reason code");
        assert_eq!(failure.hint, "use stuck-payment");
    }

    #[test]
    fn statuses_become_exit_codes() {
        for (status, exit) in [
            (401, Exit::NotAuthenticated),
            (403, Exit::Refused),
            (404, Exit::Failed),
            (409, Exit::Refused),
            (500, Exit::Failed),
            (503, Exit::Unreachable),
        ] {
            assert_eq!(meaning(status).0, exit, "{status}");
        }
    }
}
