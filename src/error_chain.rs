//! The one way an error is written with its causes. Messages hold no source of their own, so nothing is said twice.

use std::error::Error;

/// The error and all its causes, joined by colons.
pub fn error_chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn causes_follow_in_order() {
        let cause = std::fmt::Error;
        assert_eq!(error_chain(&Outer(cause)), format!("outer: {cause}"));
    }
}
