//! The policy's verdict on a request, as the API answers it. What the verdict is stands in [`crate::policy`].

use crate::config::policy::Tier;
pub use crate::policy::check::Terms;
use crate::policy::{Asked, Asker, Rules};

use crate::control::refusal::Refusal;

/// Checks a request.
///
/// # Errors
/// The refusal to answer with.
pub fn check<'r>(rules: &'r Rules, asker: &Asker, asked: Asked<'_>) -> Result<Terms<'r>, Refusal> {
    Ok(crate::policy::check(rules, asker, asked)?)
}

/// Whether a member of `groups` may use the tier at all.
pub fn is_open_to(tier: &Tier, groups: &[String]) -> bool {
    groups.iter().any(|group| tier.groups.contains(group))
}
