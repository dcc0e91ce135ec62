//! `[organisation]`: what no tier exceeds, and what a tier has that says nothing else.

use super::reason::ReasonRule;
use super::tier_keys::TermKeys;
use crate::config::reader::Section;

/// Longest lifetime that an organisation can allow: a day.
const LIFETIME_MAX_S: u64 = 86_400;
/// Longest staleness that an organisation can allow: five minutes.
const STALENESS_MAX_S: u64 = 300;

pub(super) struct Organisation {
    pub(super) lifetime_max_s: u64,
    pub(super) staleness_max_s: u64,
    pub(super) second_administrator: bool,
    pub(super) tier_defaults: TermKeys,
}

pub(super) fn read(root: &Section<'_>, reasons: &[ReasonRule]) -> Organisation {
    let mut organisation = Organisation {
        lifetime_max_s: LIFETIME_MAX_S,
        staleness_max_s: STALENESS_MAX_S,
        second_administrator: false,
        tier_defaults: TermKeys::default(),
    };
    let Some(section) = root.required_section("organisation") else { return organisation };
    organisation.lifetime_max_s = section.integer("lifetime_max_s", 1..=LIFETIME_MAX_S, 3600);
    organisation.staleness_max_s = section.integer("staleness_max_s", 1..=STALENESS_MAX_S, 30);
    organisation.second_administrator = section.boolean("second_administrator", false);
    if let Some(defaults) = section.section("tier_defaults") {
        organisation.tier_defaults = TermKeys::read(&defaults, &organisation, reasons);
    }
    organisation
}
