//! Names that a policy gives: of tiers, teams and trackers.

use crate::config::mistakes::nearest;
use crate::config::reader::Section;
use crate::config::service::ServiceConfig;
use crate::domain::ServiceName;

const NAME_BYTES_MAX: usize = 63;

/// The `name` of a table. One that is malformed is noted and stands in for itself.
pub(super) fn read_name(section: &Section<'_>) -> Option<String> {
    let name: String = section.required("name")?;
    check_name(section, "name", &name);
    Some(name)
}

pub(super) fn check_name(section: &Section<'_>, key: &str, name: &str) {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(word) {
        section.mistake(key, format_args!("must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-' and '_'"), None);
    }
}

/// Notes that `name` is none of the `known`, with the nearest of them.
pub(super) fn unknown<'k>(
    section: &Section<'_>,
    key: &str,
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
) {
    let hint = nearest(name, known).map(|near| format!("did you mean \"{near}\"?"));
    section.mistake(key, format_args!("{what} \"{name}\""), hint.as_deref());
}

/// Notes that no service file has this name.
pub(super) fn no_service(section: &Section<'_>, name: &ServiceName, services: &[ServiceConfig]) {
    let known = services.iter().map(|service| service.name.as_str());
    unknown(section, "services", "no service file is named", name.as_str(), known);
}
