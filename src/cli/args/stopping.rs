//! The verbs that stop: `revoke` in every size, `freeze`, `unfreeze`.

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{parse_note, parse_span};
use crate::domain::{GrantId, Person, Resource, Selector, ServiceName};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true)
    .args(["id", "person", "resource", "service", "everything"]))]
pub struct RevokeArgs {
    /// This grant
    #[arg(conflicts_with_all = ["person", "resource", "service", "everything"])]
    pub id: Option<GrantId>,
    /// Every live grant of a person, and the requests that wait for an answer
    #[arg(long, value_name = "PERSON", conflicts_with_all = ["resource", "service", "everything"])]
    pub person: Option<Person>,
    /// Every live grant that names the resource, such as contract/C-1042
    #[arg(long, value_name = "TYPE/ID", conflicts_with = "everything", requires = "note")]
    pub resource: Option<Resource>,
    /// Every live grant of a service; with --resource, only there
    #[arg(long, value_name = "NAME", conflicts_with = "everything", requires = "note")]
    pub service: Option<ServiceName>,
    /// Every live grant there is
    #[arg(long, requires = "note")]
    pub everything: bool,
    /// Why, for the record; at most 500 characters. Needed for what is not one's own
    #[arg(long, value_name = "TEXT", value_parser = parse_note)]
    pub note: Option<String>,
    /// End many without showing them and asking
    #[arg(long)]
    pub yes: bool,
    /// How long to wait for the sidecars
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "10s")]
    pub wait: Duration,
}

impl RevokeArgs {
    /// What is to end; `None` for what clap does not let through.
    pub fn selector(&self) -> Option<Selector> {
        let service = self.service.clone();
        if let Some(grant) = self.id.clone() {
            return Some(Selector::Grant { grant });
        }
        if let Some(person) = self.person.clone() {
            return Some(Selector::Person { person });
        }
        if let Some(resource) = self.resource.clone() {
            return Some(Selector::Resource { resource, service });
        }
        match service {
            Some(service) => Some(Selector::Service { service }),
            None => self.everything.then_some(Selector::Everything {}),
        }
    }
}

#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// The service; without one, everything
    pub service: Option<ServiceName>,
    /// Why, for the record; at most 500 characters
    #[arg(long, value_name = "TEXT", value_parser = parse_note)]
    pub note: String,
    /// How long to wait for the sidecars
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "10s")]
    pub wait: Duration,
}

#[derive(Debug, Args)]
pub struct UnfreezeArgs {
    /// The service; without one, the freeze of everything
    pub service: Option<ServiceName>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// How long to wait for the sidecars
    #[arg(long, value_name = "SPAN", value_parser = parse_span, default_value = "10s")]
    pub wait: Duration,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{CommandLine, Verb};
    use super::*;

    fn selector(line: &str) -> Result<Selector, clap::Error> {
        let line = CommandLine::try_parse_from(line.split(' '))?;
        let Verb::Revoke(args) = line.verb else { panic!("not revoke") };
        Ok(args.selector().unwrap())
    }

    #[test]
    fn one_size_at_a_time() {
        let service: ServiceName = "payments".parse().unwrap();
        for (line, wanted) in [
            ("bg revoke g-0123456789ab", Selector::Grant { grant: "g-0123456789ab".parse().unwrap() }),
            ("bg revoke --person alice", Selector::Person { person: "alice".parse().unwrap() }),
            ("bg revoke --service payments --note x", Selector::Service { service: service.clone() }),
            ("bg revoke --everything --note x --yes", Selector::Everything {}),
            (
                "bg revoke --resource contract/C-1 --service payments --note x",
                Selector::Resource { resource: "contract/C-1".parse().unwrap(), service: Some(service) },
            ),
        ] {
            assert_eq!(selector(line).unwrap(), wanted, "{line}");
        }
        for bad in [
            "bg revoke",
            "bg revoke --note x",
            "bg revoke g-0123456789ab --person alice",
            "bg revoke --person alice --service payments",
            "bg revoke --everything --service payments --note x",
            "bg revoke --everything",
            "bg revoke --service payments",
            "bg revoke --resource contract/C-1",
            "bg revoke --resource contract/* --note x",
            "bg freeze payments",
        ] {
            assert!(CommandLine::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }
}
