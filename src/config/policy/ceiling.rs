//! A tier against the service files: what the sidecars of a service would refuse is a mistake here.

use super::{Known, Tier};
use crate::config::reader::Section;
use crate::config::service::ServiceConfig;

/// Holds the tier to every service it is for. A name that no file has is noted where it is read.
pub(super) fn check_services(section: &Section<'_>, tier: &Tier, known: &Known<'_>) {
    for name in &tier.services {
        if let Some(service) = known.services.iter().find(|service| service.name == *name) {
            check_ceiling(section, tier, service);
            check_tickets(section, known, service);
        }
    }
}

fn check_tickets(section: &Section<'_>, known: &Known<'_>, service: &ServiceConfig) {
    if !known.tickets.is_empty() && !known.tickets.iter().any(|ticket| ticket.serves(&service.name)) {
        let what = format_args!("no [[ticket]] serves \"{}\", so nobody could ask", service.name);
        section.mistake("services", what, Some("add the service to the services of a [[ticket]]"));
    }
}

fn check_ceiling(section: &Section<'_>, tier: &Tier, service: &ServiceConfig) {
    let (name, ceiling) = (&service.name, &service.ceiling);
    if !ceiling.roles.contains(&tier.role) {
        section.mistake("role", format_args!("\"{}\" is not in ceiling.roles of service {name}", tier.role), None);
    }
    for action in tier.actions.difference(&ceiling.actions) {
        section.mistake("actions", format_args!("\"{action}\" is not in ceiling.actions of service {name}"), None);
    }
    if tier.maximum > ceiling.lifetime_max {
        let most = ceiling.lifetime_max.as_secs();
        section.mistake("maximum_s", format_args!("is above ceiling.lifetime_max_s of service {name}, {most}"), None);
    }
    if tier.staleness_max > ceiling.staleness_max {
        let most = ceiling.staleness_max.as_secs();
        let what = format_args!("is above ceiling.staleness_max_s of service {name}, {most}");
        section.mistake("staleness_max_s", what, None);
    }
    let key = if section.has("bindings") { "bindings" } else { "binding" };
    for binding in tier.bindings.iter().filter(|binding| !ceiling.bindings.contains(binding)) {
        let what = format_args!("\"{}\" is not in ceiling.bindings of service {name}", binding.as_str());
        section.mistake(key, what, None);
    }
}
