//! `/v1/sign-in`: how the command line signs people in. `/v1/whoami`: whom a token makes of its bearer.
//!
//! The first is for anyone, and says nothing that an issuer would keep to itself.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::etag::Tagged;
use crate::control::openapi::ABOUT;
use crate::wire::lifecycle::AuthenticationView;
use crate::wire::sign_in::{SignInView, WhoamiView};

/// How to sign in
///
/// The issuer, and what a public client (RFC 8252) needs to know for getting access tokens there: for the control plane
/// and for each service. To anyone.
#[utoipa::path(
    get, path = "/v1/sign-in", operation_id = "getSignIn", tag = ABOUT,
    responses((status = 200, description = "What is configured.", body = SignInView, headers(("ETag" = String)))),
    security(()),
)]
pub(crate) async fn terms(State(state): State<ApiState>) -> Tagged<SignInView> {
    Tagged(SignInView::clone(&state.sign_in))
}

/// Who the caller is
///
/// The person, the groups and the authentication that the access token proves.
#[utoipa::path(
    get, path = "/v1/whoami", operation_id = "whoami", tag = ABOUT,
    responses((status = 200, description = "The caller.", body = WhoamiView)),
)]
pub(crate) async fn whoami(Caller(caller): Caller) -> Json<WhoamiView> {
    let authentication = AuthenticationView {
        issuer: caller.principal.issuer,
        acr: caller.authentication.acr,
        amr: caller.authentication.amr,
        auth_at: caller.authentication.auth_time,
    };
    Json(WhoamiView {
        person: caller.person,
        subject: caller.principal.subject.as_str().to_owned(),
        groups: caller.groups,
        authentication,
        expires_at: caller.expires,
    })
}
