//! What a sidecar's own line says besides the facts of its entry: who asked from where, and what bodies there were.
//!
//! The line is a personal value: once it was erased, nothing of this is known any more.

use serde::Deserialize;

use crate::wire::reports::{AskedTold, BodyTold};

/// The members of a line that a report shows. `docs/audit-log.md` describes them.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    duration: Option<u64>,
    http_request: Option<Request>,
    src_endpoint: Option<Endpoint>,
    unmapped: Unmapped,
}

#[derive(Debug, Deserialize)]
struct Request {
    url: Option<Url>,
}

#[derive(Debug, Deserialize)]
struct Url {
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    ip: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Unmapped {
    break_glass: Own,
}

#[derive(Debug, Deserialize)]
struct Own {
    request_id: Option<String>,
    method: Option<String>,
    person: Option<String>,
    request: Option<BodyTold>,
    response: Option<BodyTold>,
}

impl Line {
    /// `None`: no line of the format.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn asked(&self) -> AskedTold {
        let own = &self.unmapped.break_glass;
        let path = self.http_request.as_ref().and_then(|request| request.url.as_ref()?.path.clone());
        AskedTold {
            request_id: own.request_id.clone().unwrap_or_default(),
            method: own.method.clone().unwrap_or_default(),
            path: path.unwrap_or_default(),
            client: self.src_endpoint.as_ref().and_then(|from| from.ip.clone()).unwrap_or_default(),
            person: own.person.clone().unwrap_or_default(),
        }
    }

    pub(super) const fn duration_ms(&self) -> Option<u64> {
        self.duration
    }

    /// The body that came and the one that was answered.
    pub(super) fn bodies(self) -> (Option<BodyTold>, Option<BodyTold>) {
        (self.unmapped.break_glass.request, self.unmapped.break_glass.response)
    }
}
