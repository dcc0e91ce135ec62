//! The service file: routes, seals, modes and the ceiling of one contract API in one environment.
//!
//! The same file is read by the sidecars of the service and applied to the control plane, which checks requests
//! against it. Its digest tells whether both hold the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http::Method;

use super::captured_field::{CaptureMode, CapturedField, read_fields};
use super::mistakes::ConfigError;
use super::reader::{self, Section};
use super::route_path::{PathTemplate, ResourceTemplate};
use crate::decision::{Ceiling, Mode, Policy};
use crate::domain::{Action, Audience, Binding, ServiceName};

/// Longest lifetime a ceiling may allow: a day.
const LIFETIME_MAX_S: u64 = 86_400;
/// Longest staleness a ceiling may allow: five minutes.
const STALENESS_MAX_S: u64 = 300;
const ROUTES_MAX: usize = 10_000;

/// As they stand in files.
pub(super) const BINDINGS: &[(&str, Binding)] =
    &[("identity", Binding::Identity), ("mtls", Binding::Mtls), ("dpop", Binding::Dpop), ("bearer", Binding::Bearer)];
const MODES: &[(&str, Mode)] = &[("observe", Mode::Observe), ("enforce", Mode::Enforce)];

/// A service, checked.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    pub name: ServiceName,
    /// The audience that access tokens of callers must name. Defaults to the service's name.
    pub audience: Audience,
    pub mode: Mode,
    pub ceiling: Ceiling,
    pub routes: Vec<RouteConfig>,
    /// SHA-256 of the file, hex.
    pub digest: String,
}

/// What a request that matches a route means.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    pub method: Method,
    pub path: PathTemplate,
    /// What can be overridden; `None`: nothing.
    pub subject: Option<RouteSubject>,
    /// Query parameters an override may carry.
    pub query: Vec<String>,
    /// `without_grant = "refuse"`: the sidecar is the lock, on every method of this path.
    pub sealed: bool,
    /// `None`: the service's.
    pub mode: Option<Mode>,
    /// Whether another protocol may be spoken under a grant.
    pub upgrade: bool,
    /// Whether a 423 or 403 of the upstream is given a link to the request form.
    pub offer: bool,
    /// Members of bodies that the audit log keeps of an override.
    pub capture: Vec<CapturedField>,
}

/// Resource and action of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSubject {
    pub resource: ResourceTemplate,
    pub action: Action,
}

impl ServiceConfig {
    /// Reads and checks a service file.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &reader::read_file(file)?)
    }

    /// Checks the text of a service file; `file` is named in mistakes.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        reader::parse(file, text, |root| {
            let name: Option<ServiceName> = root.required("name");
            let audience = root.optional("audience");
            let mode = root.choice("mode", MODES).unwrap_or(Mode::Observe);
            let ceiling = root.required_section("ceiling").map(|section| read_ceiling(&section));
            let routes = read_routes(root, ceiling.as_ref().map(|ceiling| &ceiling.actions));
            let name = name?;
            let audience = match audience {
                Some(audience) => audience,
                None => name.as_str().parse().ok()?,
            };
            Some(Self { name, audience, mode, ceiling: ceiling?, routes, digest: super::digest_hex(text) })
        })
    }

    /// A route of which some field is kept as a keyed digest.
    pub fn captures_digest(&self) -> Option<&RouteConfig> {
        let is_digest = |field: &CapturedField| field.mode == CaptureMode::Digest;
        self.routes.iter().find(|route| route.capture.iter().any(is_digest))
    }

    pub fn any_seal(&self) -> bool {
        self.routes.iter().any(|route| route.sealed)
    }

    /// The fixed side of every verdict.
    pub fn policy(&self) -> Policy {
        Policy { service: self.name.clone(), ceiling: self.ceiling.clone(), any_seal: self.any_seal() }
    }

    /// True when some route carries this action on this kind of resource (or on exactly this one).
    pub fn serves(&self, resource: &crate::domain::Resource, action: &Action) -> bool {
        self.routes.iter().filter_map(|route| route.subject.as_ref()).any(|subject| {
            subject.action == *action
                && match &subject.resource {
                    ResourceTemplate::FromPath { kind, .. } => kind.as_str() == resource.kind(),
                    ResourceTemplate::Fixed(fixed) => fixed == resource,
                }
        })
    }
}

fn read_ceiling(section: &Section<'_>) -> Ceiling {
    let bindings = section.list::<String>("bindings");
    let mut known = BTreeSet::new();
    for word in &bindings {
        match BINDINGS.iter().find(|(name, _)| name == word) {
            Some((_, binding)) => drop(known.insert(*binding)),
            None => section.mistake(
                "bindings",
                format_args!("\"{word}\" is not a binding"),
                Some("use \"identity\", \"mtls\", \"dpop\" or \"bearer\""),
            ),
        }
    }
    if bindings.is_empty() {
        known.insert(Binding::Identity);
    }
    Ceiling {
        roles: section.required_list("roles").into_iter().collect(),
        actions: section.required_list("actions").into_iter().collect(),
        lifetime_max: Duration::from_secs(section.integer("lifetime_max_s", 1..=LIFETIME_MAX_S, 3600)),
        bindings: known,
        staleness_max: Duration::from_secs(section.integer("staleness_max_s", 1..=STALENESS_MAX_S, 30)),
    }
}

fn read_routes(root: &Section<'_>, actions: Option<&BTreeSet<Action>>) -> Vec<RouteConfig> {
    let mut routes: Vec<RouteConfig> = Vec::new();
    let sections = root.sections("route");
    if sections.is_empty() {
        root.mistake("route", "a service has at least one route", Some("add a [[route]] table"));
    }
    if sections.len() > ROUTES_MAX {
        root.mistake("route", format_args!("at most {ROUTES_MAX} routes"), None);
        return routes;
    }
    for section in sections {
        let Some(route) = read_route(&section, actions) else { continue };
        if let Some(twin) = routes.iter().find(|known| collides(known, &route)) {
            section.mistake("path", format_args!("matches the same requests as {} {}", twin.method, twin.path), None);
        }
        routes.push(route);
    }
    routes
}

fn collides(a: &RouteConfig, b: &RouteConfig) -> bool {
    a.method == b.method && a.path.same_shape(&b.path)
}

fn read_route(section: &Section<'_>, actions: Option<&BTreeSet<Action>>) -> Option<RouteConfig> {
    let method = section.required::<String>("method").and_then(|word| read_method(section, &word));
    let path: Option<PathTemplate> = section.required("path");
    let subject = read_subject(section, path.as_ref(), actions);
    let query = section.list("query");
    let sealed = section.choice("without_grant", &[("pass", false), ("refuse", true)]).unwrap_or(false);
    let mode = section.choice("mode", MODES);
    let upgrade = section.choice("upgrade", &[("deny", false), ("allow", true)]).unwrap_or(false);
    let offer = section.boolean("offer", true);
    let capture = read_fields(section);
    if !capture.is_empty() && !section.has("resource") {
        section.mistake(
            "capture",
            "only an override's body is captured",
            Some("give the route a resource and an action"),
        );
    }
    if subject.is_none() && !sealed && !section.has("resource") && !section.has("action") {
        section.mistake("resource", "is missing", Some("a route names resource and action, or is sealed, or both"));
    }
    Some(RouteConfig { method: method?, path: path?, subject, query, sealed, mode, upgrade, offer, capture })
}

fn read_method(section: &Section<'_>, word: &str) -> Option<Method> {
    let method = Method::from_bytes(word.as_bytes()).ok().filter(|_| word.bytes().all(|b| b.is_ascii_uppercase()));
    if method.is_none() {
        section.mistake("method", format_args!("\"{word}\" is not a method in capital letters"), None);
    }
    if method == Some(Method::CONNECT) {
        section.mistake("method", "CONNECT can't be a route", None);
        return None;
    }
    method
}

fn read_subject(
    section: &Section<'_>,
    path: Option<&PathTemplate>,
    actions: Option<&BTreeSet<Action>>,
) -> Option<RouteSubject> {
    let resource: Option<ResourceTemplate> = section.optional("resource");
    let action: Option<Action> = section.optional("action");
    if section.has("resource") != section.has("action") {
        section.mistake("resource", "resource and action go together", None);
    }
    if let (Some(ResourceTemplate::FromPath { parameter, .. }), Some(path)) = (&resource, path)
        && !path.has_parameter(parameter)
    {
        section.mistake("resource", format_args!("{{{parameter}}} is not a parameter of the path"), None);
    }
    if let (Some(action), Some(actions)) = (&action, actions)
        && !actions.contains(action)
    {
        section.mistake(
            "action",
            format_args!("\"{action}\" is not in ceiling.actions"),
            Some("no grant could be used here"),
        );
    }
    Some(RouteSubject { resource: resource?, action: action? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: &str = "[ceiling]\nroles = [\"r\"]\nactions = [\"a.b\"]\n";

    fn report(text: &str) -> String {
        ServiceConfig::parse(Path::new("s.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_observe_and_pass() {
        let text = format!(
            "name = \"s\"\n{CEILING}[[route]]\nmethod = \"GET\"\npath = \"/x/{{id}}\"\nresource = \"x/{{id}}\"\naction = \"a.b\"\n"
        );
        let service = ServiceConfig::parse(Path::new("s.toml"), &text).unwrap();
        assert_eq!(service.mode, Mode::Observe);
        assert_eq!(service.audience.as_str(), "s");
        assert!(!service.any_seal());
        assert!(service.serves(&"x/1".parse().unwrap(), &"a.b".parse().unwrap()));
        assert!(!service.serves(&"y/1".parse().unwrap(), &"a.b".parse().unwrap()));
    }

    #[test]
    fn a_resource_that_the_path_does_not_fix_is_a_mistake() {
        let text = format!(
            "name = \"s\"\n{CEILING}[[route]]\nmethod = \"get\"\npath = \"/x\"\nresource = \"x/{{id}}\"\naction = \"a.c\"\n"
        );
        assert_eq!(
            report(&text),
            "s.toml:6:10: route[0].method: \"get\" is not a method in capital letters\n\
             s.toml:8:12: route[0].resource: {id} is not a parameter of the path\n\
             s.toml:9:10: route[0].action: \"a.c\" is not in ceiling.actions (no grant could be used here)"
        );
    }

    #[test]
    fn two_routes_for_the_same_requests_are_a_mistake() {
        let route =
            |name| format!("[[route]]\nmethod = \"GET\"\npath = \"/x/{{{name}}}\"\nwithout_grant = \"refuse\"\n");
        let text = format!("name = \"s\"\n{CEILING}{}{}", route("a"), route("b"));
        assert!(report(&text).contains("matches the same requests as GET /x/{a}"));
    }
}
