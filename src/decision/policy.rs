//! What the sidecar's own configuration allows, whatever a signature says.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::{Action, Binding, Grant, Role, ServiceName};

/// The fixed side of a verdict.
#[derive(Debug, Clone)]
pub struct Policy {
    pub service: ServiceName,
    pub ceiling: Ceiling,
    /// True when any route of the service is sealed: then what matches no route is refused too.
    pub any_seal: bool,
}

/// The most that any grant can allow here. No signature lifts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    pub roles: BTreeSet<Role>,
    pub actions: BTreeSet<Action>,
    pub lifetime_max: Duration,
    pub bindings: BTreeSet<Binding>,
    /// The greatest staleness a grant may ask for; a grant that asks for more is held to this.
    pub staleness_max: Duration,
}

impl Ceiling {
    /// True when role, binding and lifetime of the grant are all allowed. Actions are compared one by one, at use.
    pub fn admits(&self, grant: &Grant) -> bool {
        self.roles.contains(&grant.role)
            && self.bindings.contains(&grant.binding)
            && grant.lifetime() <= self.lifetime_max
    }
}
