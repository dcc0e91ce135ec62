//! `[[reason]]`: the categories of need, one of which every request names.

use super::some_sections;
use crate::config::reader::Section;
use crate::domain::ReasonCode;

/// One category of need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonRule {
    pub code: ReasonCode,
    /// What a human chooses by.
    pub text: String,
}

pub(super) fn read(root: &Section<'_>) -> Vec<ReasonRule> {
    let mut reasons: Vec<ReasonRule> = Vec::new();
    for section in some_sections(root, "reason") {
        let (code, text) = (section.required::<ReasonCode>("code"), section.required::<String>("text"));
        let (Some(code), Some(text)) = (code, text) else { continue };
        if reasons.iter().any(|known| known.code == code) {
            section.mistake("code", format_args!("\"{code}\" stands twice"), None);
        }
        reasons.push(ReasonRule { code, text });
    }
    reasons
}
