//! Who speaks to the control plane besides people and sidecars.

use super::text::{is_lower_word, text_type};

text_type! {
    /// A transmitter of shared signals, as the configuration calls it.
    TransmitterName, "transmitter name", max 63,
    "begins with a letter and holds lower-case letters, digits, '-' and '_'", is_lower_word,
    pattern "^[a-z][a-z0-9_-]*$", example "idp"
}
