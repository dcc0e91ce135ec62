//! Step 3, route: method and canonical path to resource and action.
//!
//! A tree over segments. A literal segment wins over a parameter; where the more specific path does not carry the
//! method, the less specific one is tried. A seal covers every method on its path.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::config::captured_field::CapturedField;
use crate::config::route_path::{ResourceTemplate, Segment};
use crate::config::{RouteConfig, ServiceConfig};
use crate::decision::{self, Mode};
use crate::domain::{Action, Resource, ResourceType};

/// The routes of a service, ready to be matched.
#[derive(Debug, Default)]
pub struct RouteTable {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    parameter: Option<Box<Node>>,
    routes: Vec<Route>,
}

/// One route as the request's journey needs it.
#[derive(Debug)]
pub struct Route {
    method: Method,
    subject: Option<Subject>,
    pub query: Vec<String>,
    pub sealed: bool,
    pub mode: Option<Mode>,
    pub upgrade: bool,
    pub offer: bool,
    /// Members of bodies that are kept of an override.
    pub capture: Arc<[CapturedField]>,
    /// The template, for `explain`.
    pub template: String,
}

#[derive(Debug)]
struct Subject {
    resource: ResourceSource,
    action: Action,
}

#[derive(Debug)]
enum ResourceSource {
    /// The parameter at this position among the path's parameters.
    Parameter(ResourceType, usize),
    Fixed(Resource),
}

/// What a path and method are.
#[derive(Debug)]
pub enum RouteMatch<'t> {
    /// Resource and action are there where the path fixes them.
    Route {
        route: &'t Route,
        subject: Option<(Resource, &'t Action)>,
    },
    PathSealed,
    Unmatched,
}

impl RouteMatch<'_> {
    /// The same as a fact for the decision.
    pub fn fact(&self) -> decision::Route<'_> {
        match self {
            Self::Route { route, subject: Some((resource, action)) } => {
                decision::Route::Overridable { resource, action, sealed: route.sealed, upgrade: route.upgrade }
            }
            Self::Route { route, subject: None } => {
                decision::Route::Fixed { sealed: route.sealed, upgrade: route.upgrade }
            }
            Self::PathSealed => decision::Route::PathSealed,
            Self::Unmatched => decision::Route::Unmatched,
        }
    }

    pub fn route(&self) -> Option<&Route> {
        match self {
            Self::Route { route, .. } => Some(route),
            Self::PathSealed | Self::Unmatched => None,
        }
    }

    pub fn resource(&self) -> Option<&Resource> {
        match self {
            Self::Route { subject: Some((resource, _)), .. } => Some(resource),
            Self::Route { subject: None, .. } | Self::PathSealed | Self::Unmatched => None,
        }
    }

    pub fn action(&self) -> Option<&Action> {
        match self {
            Self::Route { subject: Some((_, action)), .. } => Some(action),
            Self::Route { subject: None, .. } | Self::PathSealed | Self::Unmatched => None,
        }
    }

    /// True when the query has a parameter that the route does not list.
    pub fn has_unlisted_query(&self, query: Option<&str>) -> bool {
        let Some(route) = self.route() else { return false };
        query_names(query).any(|name| !route.query.iter().any(|listed| listed == name))
    }
}

/// The names in a query, as they stand (not decoded: a second spelling of a name is another name).
pub fn query_names(query: Option<&str>) -> impl Iterator<Item = &str> {
    query_pairs(query).map(|(name, _)| name)
}

/// Names and values as they stand; without a value: an empty one.
pub(super) fn query_pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

impl RouteTable {
    pub fn new(service: &ServiceConfig) -> Self {
        let mut table = Self::default();
        for route in &service.routes {
            table.insert(route);
        }
        table
    }

    fn insert(&mut self, config: &RouteConfig) {
        let mut node = &mut self.root;
        let mut parameters = Vec::new();
        for segment in config.path.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.as_str().into()).or_default(),
                Segment::Parameter(name) => {
                    parameters.push(name.as_str());
                    node.parameter.get_or_insert_default()
                }
            };
        }
        node.routes.push(Route::new(config, &parameters));
    }

    /// What `method` on `path` (canonical) is.
    pub fn find(&self, method: &Method, path: &str) -> RouteMatch<'_> {
        let segments: Vec<&str> = match path.strip_prefix('/') {
            Some("") => Vec::new(),
            Some(rest) => rest.split('/').collect(),
            None => return RouteMatch::Unmatched,
        };
        let mut search = Search { method, parameters: Vec::new(), sealed: false };
        match search.descend(&self.root, &segments) {
            Some(route) => RouteMatch::Route { route, subject: route.subject(&search.parameters) },
            None if search.sealed => RouteMatch::PathSealed,
            None => RouteMatch::Unmatched,
        }
    }
}

/// One walk down the tree.
struct Search<'s> {
    method: &'s Method,
    parameters: Vec<&'s str>,
    /// A sealed route was met on this path, under whatever method.
    sealed: bool,
}

impl<'s> Search<'s> {
    /// Depth is bounded by the templates' greatest number of segments.
    fn descend<'t>(&mut self, node: &'t Node, segments: &[&'s str]) -> Option<&'t Route> {
        let Some((segment, rest)) = segments.split_first() else {
            self.sealed |= node.routes.iter().any(|route| route.sealed);
            return node.routes.iter().find(|route| route.method == *self.method);
        };
        if let Some(literal) = node.literals.get(*segment)
            && let Some(route) = self.descend(literal, rest)
        {
            return Some(route);
        }
        let parameter = node.parameter.as_deref().filter(|_| !segment.is_empty())?;
        self.parameters.push(segment);
        let found = self.descend(parameter, rest);
        if found.is_none() {
            self.parameters.pop();
        }
        found
    }
}

impl Route {
    fn new(config: &RouteConfig, parameters: &[&str]) -> Self {
        let subject = config.subject.as_ref().and_then(|subject| {
            let resource = match &subject.resource {
                ResourceTemplate::Fixed(resource) => ResourceSource::Fixed(resource.clone()),
                ResourceTemplate::FromPath { kind, parameter } => {
                    ResourceSource::Parameter(kind.clone(), parameters.iter().position(|name| name == parameter)?)
                }
            };
            Some(Subject { resource, action: subject.action.clone() })
        });
        Self {
            method: config.method.clone(),
            subject,
            query: config.query.clone(),
            sealed: config.sealed,
            mode: config.mode,
            upgrade: config.upgrade,
            offer: config.offer,
            capture: config.capture.as_slice().into(),
            template: config.path.to_string(),
        }
    }

    /// `None` too where the segment can be no resource id: then nothing fixes a resource.
    fn subject(&self, parameters: &[&str]) -> Option<(Resource, &Action)> {
        let subject = self.subject.as_ref()?;
        let resource = match &subject.resource {
            ResourceSource::Fixed(resource) => resource.clone(),
            ResourceSource::Parameter(kind, index) => Resource::new(kind, parameters.get(*index)?).ok()?,
        };
        Some((resource, &subject.action))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn table() -> RouteTable {
        let text = r#"
            name = "s"
            [ceiling]
            roles = ["r"]
            actions = ["c.read", "c.close", "p.release"]
            [[route]]
            method = "GET"
            path = "/v1/c/{id}"
            resource = "c/{id}"
            action = "c.read"
            [[route]]
            method = "POST"
            path = "/v1/c/{id}/p/{p}"
            resource = "c/{id}"
            action = "p.release"
            [[route]]
            method = "POST"
            path = "/v1/c/special"
            resource = "c/special"
            action = "c.close"
            [[route]]
            method = "DELETE"
            path = "/v1/sealed/{id}"
            without_grant = "refuse"
        "#;
        RouteTable::new(&ServiceConfig::parse(Path::new("s.toml"), text).unwrap())
    }

    fn found(method: &str, path: &str) -> String {
        match table().find(&method.parse().unwrap(), path) {
            RouteMatch::Route { subject: Some((resource, action)), .. } => format!("{resource} {action}"),
            RouteMatch::Route { subject: None, .. } => "fixed".into(),
            RouteMatch::PathSealed => "path sealed".into(),
            RouteMatch::Unmatched => "unmatched".into(),
        }
    }

    #[test]
    fn paths_become_resources() {
        for (method, path, expected) in [
            ("GET", "/v1/c/C-1", "c/C-1 c.read"),
            ("POST", "/v1/c/C-1/p/P-9", "c/C-1 p.release"),
            ("POST", "/v1/c/special", "c/special c.close"),
            ("GET", "/v1/c/special", "c/special c.read"),
            ("HEAD", "/v1/c/C-1", "unmatched"),
            ("GET", "/v1/c/C-1/", "unmatched"),
            ("GET", "/v1/c/", "unmatched"),
            ("GET", "/v1/c", "unmatched"),
            ("GET", "/", "unmatched"),
            ("GET", "*", "unmatched"),
            ("GET", "/V1/c/C-1", "unmatched"),
            ("GET", "/v1/c/a%20b", "fixed"),
            ("DELETE", "/v1/sealed/x", "fixed"),
            ("GET", "/v1/sealed/x", "path sealed"),
        ] {
            assert_eq!(found(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn query_names_are_taken_as_they_stand() {
        assert_eq!(query_names(Some("a=1&b&&%61=2")).collect::<Vec<_>>(), ["a", "b", "%61"]);
        assert_eq!(query_names(None).count(), 0);
    }
}
