//! `[[schedule]]`: an on-call schedule that a tier may name.

use super::reader::Section;

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// What tiers call it.
    pub name: String,
}

/// The schedules of a policy.
pub fn read_schedules(root: &Section<'_>) -> Vec<ScheduleConfig> {
    let sections = root.sections("schedule");
    let read = |section: &Section<'_>| {
        section.ignore_unknown();
        section.required("name").map(|name| ScheduleConfig { name })
    };
    sections.iter().filter_map(read).collect()
}
