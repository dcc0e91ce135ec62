//! What the proxy itself answers: problem documents (RFC 9457), each with what to do next (P9).

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use crate::wire::problem::{CONTENT_TYPE as PROBLEM, Problem};

/// Why the proxy answers, and not the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    Browser,
    Host,
    Secret,
    Target,
    /// Nothing that proves the grant can be made at the moment.
    Unpresentable,
    /// Nothing has left.
    Unreachable,
    /// The request may have arrived.
    BrokenOff,
    TimedOut,
    /// The nonce is known now, but what was read of the body is gone.
    Again,
}

impl Rejection {
    pub(super) fn code(self) -> &'static str {
        self.row().1
    }

    pub(super) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::BAD_GATEWAY)
    }

    const fn row(self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            Self::Browser => (403, "proxy_browser", "No request of a browser gets in", "Use curl, or your own client."),
            Self::Host => {
                (421, "proxy_host", "The Host is not this proxy", "Use the address that the proxy was given.")
            }
            Self::Secret => (
                403,
                "proxy_secret",
                "The path does not begin with the secret of this run",
                "Use the whole address that the proxy wrote to its file as the base of yours.",
            ),
            Self::Target => (
                400,
                "proxy_target",
                "The target must be a path",
                "Use the proxy as the base address of the service; it is no proxy for other addresses.",
            ),
            Self::Unpresentable => (
                503,
                "proxy_unpresentable",
                "The grant can't be proven at the moment",
                "Nothing was sent. See what the proxy says on its terminal.",
            ),
            Self::Unreachable => {
                (502, "proxy_unreachable", "The upstream can't be reached", "Nothing was sent; try again.")
            }
            Self::BrokenOff => (
                502,
                "proxy_broken_off",
                "The exchange with the upstream broke off",
                "The request may have taken effect: check before repeating.",
            ),
            Self::TimedOut => (
                504,
                "proxy_timeout",
                "The upstream did not answer in time",
                "The request may have taken effect: check before repeating.",
            ),
            Self::Again => (
                503,
                "proxy_again",
                "The sidecar wanted a fresh proof, and the body is too large to be kept",
                "Nothing was forwarded, and the next request will have that proof: send it again.",
            ),
        }
    }

    pub(super) fn response<B: From<String>>(self) -> Response<B> {
        let (status, code, title, hint) = self.row();
        let problem = Problem::new(status, code, title, format!("{title}.")).with_hint(hint);
        let mut response = Response::new(B::from(serde_json::to_string(&problem).unwrap_or_default()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        // The rest of its body is not read.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}
