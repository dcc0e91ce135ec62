//! `breakglass demo`: hands over to the room that imports both planes, where this build has it.

use super::args::DemoArgs;
use super::failure::{Exit, Failure};
use super::output::Output;

/// Runs the demonstration, or one part of it; the code to exit with.
///
/// # Errors
/// When this build holds no demonstration.
pub(super) async fn run(args: DemoArgs, out: &mut Output) -> Result<u8, Failure> {
    let asked = args.part.map_or_else(|| "demo".to_owned(), |part| format!("demo {part:?}").to_ascii_lowercase());
    out.note(&format!("breakglass {asked}"));
    Err(Failure::new(
        Exit::Failed,
        "this build holds no demonstration",
        "build it with the features sidecar, control and cli, which are the default",
    ))
}
