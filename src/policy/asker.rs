//! Who asks, and what is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::domain::{Authentication, Binding, Resource, ServiceName, WallTime};
use crate::wire::api::ElevationRequest;

/// The person who asks, as far as the policy cares.
#[derive(Debug, Clone)]
pub struct Asker {
    pub groups: BTreeSet<String>,
    /// The schedules that the person is on call in, now; where a schedule's fallback stood in for it, that too.
    pub on_call: BTreeSet<String>,
    pub authentication: Authentication,
    pub history: History,
    pub now: WallTime,
}

impl Asker {
    /// Someone without a history who is on call nowhere.
    pub fn new(groups: impl IntoIterator<Item = String>, authentication: Authentication, now: WallTime) -> Self {
        Self {
            groups: groups.into_iter().collect(),
            on_call: BTreeSet::new(),
            authentication,
            history: History::default(),
            now,
        }
    }
}

/// What this person was granted before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// How many live grants by the name of the tier. A request that waits for approvals counts as one.
    pub live: BTreeMap<String, u32>,
    /// The last end of a grant of each tier on each resource; older ones do no harm.
    pub ended: Vec<Ended>,
}

/// A grant had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub tier: String,
    pub service: ServiceName,
    pub resource: Resource,
    pub at: WallTime,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub request: &'a ElevationRequest,
    /// `None`: the tier's own.
    pub binding: Option<Binding>,
}

impl<'a> From<&'a ElevationRequest> for Asked<'a> {
    fn from(request: &'a ElevationRequest) -> Self {
        Self { request, binding: request.binding }
    }
}

/// By what the tier was open to the person. As text `group:NAME` or `on_call:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdmittedBy {
    Group(String),
    OnCall(String),
}

impl fmt::Display for AdmittedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "group:{name}"),
            Self::OnCall(name) => write!(f, "on_call:{name}"),
        }
    }
}

/// It is neither a group nor a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be group: or on_call: and a name")]
pub struct NotAdmittedBy;

impl FromStr for AdmittedBy {
    type Err = NotAdmittedBy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("group", name)) => Ok(Self::Group(name.to_owned())),
            Some(("on_call", name)) => Ok(Self::OnCall(name.to_owned())),
            Some(_) | None => Err(NotAdmittedBy),
        }
    }
}
