//! Policies that the tests speak of, and what must hold for all of them.

mod properties;
mod random;
mod standing;

use std::path::Path;
use std::sync::LazyLock;

use super::*;
use crate::config::ServiceConfig;
use crate::config::policy::PolicyConfig;
use crate::domain::{Authentication, WallTime};
use crate::wire::api::ElevationRequest;

const NOW: WallTime = WallTime::from_unix_s(1_800_000_000);

/// A service with every action on every contract, and one on one book.
fn service(name: &str) -> ServiceConfig {
    let route = |path: &str, resource: &str, action: &str| {
        format!(
            "[[route]]\nmethod = \"POST\"\npath = \"{path}/{action}\"\nresource = \"{resource}\"\naction = \"{action}\"\n"
        )
    };
    let text = format!(
        "name = \"{name}\"\n[ceiling]\nroles = [\"r.one\", \"r.two\"]\nactions = [\"a.one\", \"a.two\", \"a.three\"]\n\
         bindings = [\"identity\", \"bearer\"]\n{}{}{}{}",
        route("/c/{c}", "contract/{c}", "a.one"),
        route("/c/{c}", "contract/{c}", "a.two"),
        route("/c/{c}", "contract/{c}", "a.three"),
        route("/b", "book/main", "a.one"),
    );
    ServiceConfig::parse(Path::new("s.toml"), &text).unwrap()
}

fn rules(text: &str) -> Result<Rules, String> {
    static SERVICES: LazyLock<[ServiceConfig; 2]> = LazyLock::new(|| ["s-one", "s-two"].map(service));
    let services: &[ServiceConfig] = &*SERVICES;
    let policy = PolicyConfig::parse(Path::new("p.toml"), text, services).map_err(|error| error.to_string())?;
    Ok(Rules::new(1, policy, services.iter().cloned()))
}

fn request(service: &str, resource: &str, action: &str) -> ElevationRequest {
    ElevationRequest {
        binding: None,
        service: service.parse().unwrap(),
        resources: vec![resource.parse().unwrap()],
        actions: vec![action.parse().unwrap()],
        reason: "one".parse().unwrap(),
        ticket: "INC-1".parse().unwrap(),
        duration_s: None,
        max_uses: None,
        tier: None,
    }
}

fn asker(groups: &[&str]) -> Asker {
    let authentication = Authentication { acr: Some("urn:strong".to_owned()), amr: Vec::new(), auth_time: Some(NOW) };
    Asker::new(groups.iter().map(ToString::to_string), authentication, NOW)
}
