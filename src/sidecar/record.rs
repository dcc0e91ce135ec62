//! Steps 6 and 8, record: what of a request may be written down.

use std::net::SocketAddr;

use http::header::HOST;
use http::{Request, Version};

use super::enforce::Examined;
use super::route::query_names;
use super::shared::Shared;
use crate::audit::{Protocol, RequestFacts};
use crate::telemetry::request_context;

/// Request facts: path, names of query parameters, never a value, a header or a body.
pub fn request_facts<B>(
    shared: &Shared,
    request: &Request<B>,
    examined: &Examined<'_>,
    client: SocketAddr,
    request_id: &str,
) -> RequestFacts {
    let uri = request.uri();
    RequestFacts {
        request_id: request_id.to_owned(),
        trace_id: request_context::trace().map(|trace| trace.trace_id.to_string()),
        at: shared.clock.wall(),
        method: request.method().to_string(),
        path: match &examined.target {
            Ok(path) => path.to_string(),
            Err(_) => uri.path().escape_default().to_string(),
        },
        query_names: query_names(uri.query()).map(|name| name.escape_default().to_string()).collect(),
        query_digests: shared.query_digests.as_ref().and_then(|digester| digester.digests(uri.query())),
        protocol: protocol(request.version()),
        client,
        host: host(request),
        resource: examined.found.resource().cloned(),
        action: examined.found.action().cloned(),
        mode: examined.mode,
    }
}

fn host<B>(request: &Request<B>) -> Option<String> {
    let authority = request.uri().authority().map(ToString::to_string);
    authority.or_else(|| Some(request.headers().get(HOST)?.to_str().ok()?.to_owned()))
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::HTTP_2 => Protocol::Http2,
        Version::HTTP_10 => Protocol::Http1_0,
        _ => Protocol::Http1_1,
    }
}
