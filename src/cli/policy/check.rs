//! `breakglass policy check`: every mistake of a policy and of its service files, at once.

use super::source::Source;
use crate::cli::args::PolicyCheckArgs;
use crate::cli::config;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// # Errors
/// When a file has a mistake, or there is no policy.
pub(super) fn run(args: &PolicyCheckArgs, out: &mut Output) -> Result<(), Failure> {
    let source = match &args.config {
        Some(file) => Source::of_control(file)?,
        None => Source::among(&args.paths)?,
    };
    config::check_files(&source.files(), out)
}
