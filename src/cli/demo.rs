//! `breakglass demo`: hands over to the room that imports both planes, where this build has it.

use super::args::{DemoArgs, Global};
use super::failure::Failure;
use super::output::Output;

/// Runs the demonstration, or one part of it; the code to exit with.
///
/// # Errors
/// When it cannot start, or this build holds no demonstration.
#[cfg(all(feature = "sidecar", feature = "control"))]
pub(super) async fn run(args: DemoArgs, global: &Global, out: &mut Output) -> Result<u8, Failure> {
    crate::demo::run::run(args, global, out).await
}

/// Says that it is not there.
///
/// # Errors
/// Always.
#[cfg(not(all(feature = "sidecar", feature = "control")))]
pub(super) async fn run(_: DemoArgs, _: &Global, _: &mut Output) -> Result<u8, Failure> {
    Err(Failure::new(
        super::failure::Exit::Failed,
        "this build holds no demonstration",
        "build it with the features sidecar, control and cli, which are the default",
    ))
}
