//! How a verb ends other than well: a fixed exit code, what went wrong, and what to do next. There is no failure
//! without a hint (P9).

use crate::wire::problem::Problem;

/// The exit codes. Documented in `docs/cli.md` and in `--help`; they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// The operation failed, for a reason of its own.
    Failed = 1,
    /// The command line is wrong (clap's own code too).
    Usage = 2,
    /// Policy or a sidecar refused, or an override was not confirmed.
    Refused = 3,
    /// No token, or one that is not accepted.
    NotAuthenticated = 4,
    /// Nobody answered, or not in time.
    Unreachable = 5,
    /// A change is not enforced everywhere in time.
    NotEnforced = 6,
    /// What was checked does not hold.
    Unverified = 7,
    /// Ended by Ctrl-C, as shells count it.
    Interrupted = 130,
}

/// Why a verb did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// Empty when there is nobody to tell, such as a pipe that was closed.
    pub message: String,
    pub hint: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: hint.into() }
    }

    /// The reader of our output went away: that is its right, and no error.
    pub const fn reader_gone() -> Self {
        Self { exit: Exit::Ok, message: String::new(), hint: String::new() }
    }

    /// What somebody else refused, in their words.
    pub fn from_problem(exit: Exit, problem: &Problem, default_hint: &str) -> Self {
        let mut message = format!("{} ({}, {}): {}", problem.title, problem.status, problem.code, problem.detail);
        if let Some(instance) = &problem.instance {
            message.push_str(&format!(" [{instance}]"));
        }
        Self::new(exit, message, problem.hint.clone().unwrap_or_else(|| default_hint.to_owned()))
    }
}
