//! What a tier lets people ask for: one resource, or any of a type.

use std::fmt;
use std::str::FromStr;

use crate::domain::{Resource, ResourceType};

/// What may be asked for: one resource, or any of a type. A grant always names exact resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourcePattern {
    Exact(Resource),
    AnyOf(ResourceType),
}

impl ResourcePattern {
    pub fn matches(&self, resource: &Resource) -> bool {
        match self {
            Self::Exact(exact) => exact == resource,
            Self::AnyOf(kind) => kind.as_str() == resource.kind(),
        }
    }

    /// True when `outer` matches whatever this matches.
    pub fn is_within(&self, outer: &Self) -> bool {
        match self {
            Self::Exact(resource) => outer.matches(resource),
            Self::AnyOf(_) => self == outer,
        }
    }
}

impl FromStr for ResourcePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix("/*") {
            Some(kind) => kind.parse().map(Self::AnyOf).map_err(|error| error.to_string()),
            None => text
                .parse()
                .map(Self::Exact)
                .map_err(|_| format!("\"{text}\" is neither an exact resource such as contract/C-1042 nor contract/*")),
        }
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(resource) => resource.fmt(f),
            Self::AnyOf(kind) => write!(f, "{kind}/*"),
        }
    }
}
