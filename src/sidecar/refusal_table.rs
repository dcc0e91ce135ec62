//! From decision code to status, title and hint: one row a code, no wildcard. Nothing else is decided here.

use http::StatusCode;

use crate::decision::RefusalCode;

/// What is fixed for one code.
pub(super) struct Row {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) hint: &'static str,
}

const fn row(status: StatusCode, title: &'static str, hint: &'static str) -> Row {
    Row { status, title, hint }
}

/// The table. No wildcard arm: a new code must say what it means to a caller.
pub(super) const fn table(code: RefusalCode) -> Row {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    const WHO: StatusCode = StatusCode::UNAUTHORIZED;
    const NO: StatusCode = StatusCode::FORBIDDEN;
    const WAIT: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match code {
        RefusalCode::FramingConflict => row(
            BAD,
            "The request has no single reading",
            "Send one length, CRLF line ends and one Host header; do not retry as it is.",
        ),
        RefusalCode::HeaderDuplicated => row(
            BAD,
            "A Break-Glass header stands more than once",
            "Send Break-Glass, Break-Glass-Identity and Break-Glass-DPoP once each.",
        ),
        RefusalCode::HeaderMalformed => row(
            BAD,
            "A Break-Glass header is malformed",
            "Break-Glass takes a grant id (g- and 12 characters) or a grant token, Break-Glass-Identity an access token, Break-Glass-DPoP a DPoP proof.",
        ),
        RefusalCode::TargetAmbiguous => row(
            BAD,
            "The path has more than one reading",
            "Send the plain path: no dot segments, no escaped dots or slashes, no '//' and no ';'.",
        ),
        RefusalCode::RewriteHeaderPresent => row(
            BAD,
            "A header asks for another method or path",
            "Leave method-override and rewrite headers out of an override.",
        ),
        RefusalCode::ConnectNotOverridable => row(BAD, "CONNECT can't be overridden", "Send the request itself."),
        RefusalCode::QueryNotListed => row(
            BAD,
            "A query parameter is not listed for this route",
            "Leave the parameter out, or have the route list it.",
        ),
        RefusalCode::UpgradeNotAllowed => {
            row(NO, "This route allows no other protocol", "Send the request without Upgrade.")
        }
        RefusalCode::IdentityMissing => row(
            WHO,
            "Your identity is missing",
            "Add your access token for this service as Break-Glass-Identity, or prove the key or the certificate that your grant is bound to.",
        ),
        RefusalCode::IdentityInvalid => row(
            WHO,
            "Your identity could not be verified",
            "Get a fresh access token for this service's audience from its identity provider.",
        ),
        RefusalCode::IdentityExpired => {
            row(WHO, "Your identity has expired", "Get a fresh access token and send the request again.")
        }
        RefusalCode::IdentityUnverifiable => row(
            WAIT,
            "The identity provider's key for your token is not here yet",
            "Wait a moment and try again; ordinary requests are not affected.",
        ),
        RefusalCode::DpopProofInvalid => row(
            WHO,
            "The DPoP proof does not hold for this request",
            "Make a new proof for this method, this URL and this grant token, by a clock that is right.",
        ),
        RefusalCode::UseDpopNonce => row(
            WHO,
            "The DPoP proof needs a nonce of this sidecar",
            "Make a new proof with the nonce of Break-Glass-DPoP-Nonce and send the request again.",
        ),
        RefusalCode::DpopProofUnverifiable => row(
            WAIT,
            "DPoP proofs can't be checked at this sidecar now",
            "Try again in two minutes; operators: see `[bindings]` in docs/bindings.md.",
        ),
        RefusalCode::CertificateUntrusted => row(
            WHO,
            "Your client certificate is not accepted",
            "Use one that has not expired, of an authority that this service trusts.",
        ),
        RefusalCode::RouteNotOverridable => row(
            NO,
            "This route can't be overridden",
            "Check method and path; `breakglass-sidecar explain METHOD URL` shows what they match.",
        ),
        RefusalCode::GrantRequired => {
            row(NO, "This route is sealed", "Request elevation and send the request with your grant.")
        }
        RefusalCode::RouteUnknown => row(
            NO,
            "No route of this service matches",
            "This service has sealed routes, so only listed routes are served. Check method and path.",
        ),
        RefusalCode::GrantNotUsable => row(
            NO,
            "The grant can't be used",
            "Check the grant, and that it is yours, with `breakglass grants`; or request a new one.",
        ),
        RefusalCode::TokenRequired => row(
            NO,
            "Your grant takes its token, not its id",
            "Send the grant token in Break-Glass: `breakglass grants token ID` prints it.",
        ),
        RefusalCode::GrantNotInForce => row(
            NO,
            "Your grant is not in force at this sidecar",
            "It has ended, or has not arrived yet: see `breakglass grants`.",
        ),
        RefusalCode::WrongService => row(NO, "Your grant is for another service", "Request elevation on this service."),
        RefusalCode::GrantExpired => row(NO, "Your grant has expired", "Request elevation again."),
        RefusalCode::GrantRevoked => {
            row(NO, "Your grant was revoked", "Ask who revoked it, and why, with `breakglass grants show ID`.")
        }
        RefusalCode::GrantUsedUp => row(NO, "Your grant is used up", "Request elevation again."),
        RefusalCode::GrantSuspended => row(
            NO,
            "Your grant is suspended until you have signed in afresh",
            "Your identity provider reported a change of your credential: sign in again, then run `breakglass grants`.",
        ),
        RefusalCode::OverCeiling => row(
            NO,
            "Your grant exceeds what this service ever allows",
            "Have the service's ceiling and the policy compared.",
        ),
        RefusalCode::ResourceOutOfScope => {
            row(NO, "Your grant does not cover this resource", "Request elevation on this resource.")
        }
        RefusalCode::ActionOutOfScope => {
            row(NO, "Your grant does not cover this action", "Request elevation for this action.")
        }
        RefusalCode::Frozen => row(NO, "Overrides are frozen", "Ask your operators; the freeze must be lifted first."),
        RefusalCode::FeedNotSynced => row(
            WAIT,
            "This sidecar has not heard from the control plane yet",
            "Try again shortly; ordinary requests are not affected.",
        ),
        RefusalCode::FeedStale => row(
            WAIT,
            "This sidecar has lost touch with the control plane",
            "Try again once it is back; ordinary requests are not affected.",
        ),
        RefusalCode::ClockUnsettled => row(WAIT, "This sidecar's clock jumped", "Try again in a few seconds."),
        RefusalCode::UsesElsewhere => row(
            WAIT,
            "No use of your grant is left at this sidecar",
            "Another sidecar may hold one; this one has asked. Try again shortly.",
        ),
        RefusalCode::AuditUnavailable => row(
            WAIT,
            "The override can't be recorded",
            "Nothing was forwarded. Operators: see the sidecar's audit metrics.",
        ),
        RefusalCode::AssertionUnavailable => row(
            WAIT,
            "The contract API can't be told of the override",
            "Nothing was forwarded. This sidecar's key awaits its certificate from the control plane; try again shortly.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> String {
        let mut text = include_str!("../../docs/refusals.head.md").to_owned();
        for code in RefusalCode::ALL {
            let row = table(*code);
            text.push_str(&format!(
                "| `{}` | {} | {} | {} |\n",
                code.as_str(),
                row.status.as_u16(),
                row.title,
                row.hint
            ));
        }
        text
    }

    /// `UPDATE_DOCS=1 cargo test refusal_table` writes the page anew.
    #[test]
    fn the_page_lists_every_code() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/refusals.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(page, document()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(page).unwrap(), document(), "UPDATE_DOCS=1 writes docs/refusals.md anew");
    }

    #[test]
    fn every_code_has_a_client_or_waiting_status_and_a_hint() {
        for code in RefusalCode::ALL {
            let row = table(*code);
            assert!(matches!(row.status.as_u16(), 400 | 401 | 403 | 503), "{}", code.as_str());
            assert!(row.hint.ends_with('.'), "{}", code.as_str());
        }
    }
}
