//! Where: one contract API in one environment.

use super::text::{is_lower_word, text_type};

text_type! {
    /// One contract API in one environment, such as `payments-prod`. It is the `aud` of grant tokens: a staging grant
    /// never fits production.
    ServiceName, "service name", max 63, "is lower-case letters, digits, '_' and '-', beginning with a letter", is_lower_word,
    pattern "^[a-z][a-z0-9_-]*$", example "payments-demo"
}
text_type! {
    /// One running sidecar of a service.
    InstanceName, "instance name", max 63, "is lower-case letters, digits, '_' and '-', beginning with a letter", is_lower_word,
    pattern "^[a-z][a-z0-9_-]*$", example "payments-demo-1"
}
