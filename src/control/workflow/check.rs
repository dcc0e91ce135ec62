//! The policy's verdict on a request, as the API answers it. What the verdict is stands in [`crate::policy`].

use crate::config::policy::Tier;
pub use crate::policy::check::Terms;
use crate::policy::{Asked, Asker, Rules};

use crate::control::refusal::{Cause, Refusal};

/// Checks a request.
///
/// # Errors
/// The refusal to answer with.
pub fn check<'r>(rules: &'r Rules, asker: &Asker, asked: Asked<'_>) -> Result<Terms<'r>, Refusal> {
    let terms = crate::policy::check(rules, asker, asked)?;
    // Nothing here gathers approvals yet, and a grant without those that the policy wants is none.
    if terms.approvals.is_wanted() {
        let detail = format!("the tier \"{}\" wants approvals, which this version can't gather", terms.tier.name);
        return Err(Refusal::new(Cause::NotPermitted, detail));
    }
    Ok(terms)
}

/// Whether a member of `groups` may use the tier at all.
pub fn is_open_to(tier: &Tier, groups: &[String]) -> bool {
    groups.iter().any(|group| tier.groups.contains(group))
}
