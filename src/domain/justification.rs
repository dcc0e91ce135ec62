//! Why: the human's reason code and the reference in the tracker.

use super::text::{is_lower_word, is_visible, text_type};

text_type! {
    /// The human's category of need. Never a decision code.
    ReasonCode, "reason code", max 64, "is lower-case letters, digits, '_' and '-', beginning with a letter", is_lower_word,
    pattern "^[a-z][a-z0-9_-]*$", example "stuck_payment"
}
text_type! {
    /// A reference in the tracker, such as `INC-2041`. Never a credential.
    Ticket, "ticket", max 128, "is visible ASCII without spaces", is_visible,
    pattern "^[!-~]+$", example "INC-2041"
}

/// What a human states when asking for an override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Justification {
    pub reason: ReasonCode,
    pub ticket: Ticket,
}
