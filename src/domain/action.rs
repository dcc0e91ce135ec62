//! What is done: a dotted verb such as `payment.release`.

use super::text::{is_dotted_word, text_type};

text_type! {
    /// A dotted verb that a route of a service carries.
    Action, "action", max 128, "is lower-case words joined by dots", is_dotted_word,
    pattern r"^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*$", example "payment.release"
}
