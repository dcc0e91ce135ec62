//! Resources × actions, and the role that goes with them.

use std::collections::BTreeSet;

use super::text::{is_dotted_word, text_type};
use super::{Action, Resource};

text_type! {
    /// The elevated role a grant confers.
    Role, "role", max 64, "is lower-case words joined by dots", is_dotted_word,
    pattern r"^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*$", example "payments.override"
}

/// Exact resources × actions. Never empty, never a wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    resources: BTreeSet<Resource>,
    actions: BTreeSet<Action>,
}

/// Why a set of resources and actions is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("a scope names at least one resource")]
    NoResource,
    #[error("a scope names at least one action")]
    NoAction,
    #[error("a scope names at most {max} {what}, this one names {count}")]
    TooMany { what: &'static str, max: usize, count: usize },
}

impl Scope {
    /// Greatest number of resources, and of actions, in one scope.
    pub const ITEMS_MAX: usize = 32;

    /// # Errors
    /// When either side is empty or has more than [`Scope::ITEMS_MAX`] members.
    pub fn new(
        resources: impl IntoIterator<Item = Resource>,
        actions: impl IntoIterator<Item = Action>,
    ) -> Result<Self, ScopeError> {
        let resources: BTreeSet<_> = resources.into_iter().collect();
        let actions: BTreeSet<_> = actions.into_iter().collect();
        if resources.is_empty() {
            return Err(ScopeError::NoResource);
        }
        if actions.is_empty() {
            return Err(ScopeError::NoAction);
        }
        for (what, count) in [("resources", resources.len()), ("actions", actions.len())] {
            if count > Self::ITEMS_MAX {
                return Err(ScopeError::TooMany { what, max: Self::ITEMS_MAX, count });
            }
        }
        Ok(Self { resources, actions })
    }

    pub fn resources(&self) -> &BTreeSet<Resource> {
        &self.resources
    }

    pub fn actions(&self) -> &BTreeSet<Action> {
        &self.actions
    }

    pub fn has_resource(&self, resource: &Resource) -> bool {
        self.resources.contains(resource)
    }

    pub fn has_action(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }

    /// True when everything `self` allows, `outer` allows too.
    pub fn is_within(&self, outer: &Self) -> bool {
        self.resources.is_subset(&outer.resources) && self.actions.is_subset(&outer.actions)
    }
}
