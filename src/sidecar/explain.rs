//! `explain METHOD URL`: what a request is to this service, without sending it.

use http::{Method, Uri};
use serde::Serialize;

use super::route::{RouteMatch, RouteTable};
use super::target;
use crate::config::ServiceConfig;
use crate::decision::Mode;

/// The answer, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub method: String,
    /// The canonical path; absent where it has more than one reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambiguity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    pub mode: Mode,
    /// What happens to the request with a fitting grant.
    pub with_grant: &'static str,
    /// What happens to it without.
    pub without_grant: &'static str,
}

/// Explains `method` on `url` (absolute, or a path with query).
pub fn explain(service: &ServiceConfig, method: &Method, url: &Uri) -> Explanation {
    let routes = RouteTable::new(service);
    let target = target::canonical(url.path());
    let found = match &target {
        Ok(path) => routes.find(method, path),
        Err(_) => RouteMatch::Unmatched,
    };
    let any_seal = service.any_seal();
    Explanation {
        method: method.to_string(),
        canonical: target.as_ref().ok().map(ToString::to_string),
        ambiguity: target.as_ref().err().map(ToString::to_string),
        route: found.route().map(|route| format!("{method} {}", route.template)),
        resource: found.resource().map(ToString::to_string),
        action: found.action().map(ToString::to_string),
        mode: found.route().and_then(|route| route.mode).unwrap_or(service.mode),
        with_grant: with_grant(&found, target.is_ok(), found.has_unlisted_query(url.query())),
        without_grant: without_grant(&found, target.is_ok(), any_seal),
    }
}

fn with_grant(found: &RouteMatch<'_>, canonical: bool, unlisted_query: bool) -> &'static str {
    match found {
        _ if !canonical => "refused: target_ambiguous",
        RouteMatch::Route { subject: Some(_), .. } if unlisted_query => "refused: query_not_listed",
        RouteMatch::Route { subject: Some(_), .. } => "override",
        RouteMatch::Route { subject: None, .. } | RouteMatch::PathSealed | RouteMatch::Unmatched => {
            "refused: route_not_overridable"
        }
    }
}

fn without_grant(found: &RouteMatch<'_>, canonical: bool, any_seal: bool) -> &'static str {
    match found {
        _ if !any_seal => "passed to the API",
        _ if !canonical => "refused: target_ambiguous",
        RouteMatch::Route { route, .. } if !route.sealed => "passed to the API",
        RouteMatch::Route { .. } | RouteMatch::PathSealed => "refused: grant_required",
        RouteMatch::Unmatched => "refused: route_unknown",
    }
}
