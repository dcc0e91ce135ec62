//! `breakglass witness`: cosigns the checkpoints of other people's logs until it is told to end.

use std::sync::Arc;

use super::args::WitnessArgs;
use super::failure::{Exit, Failure};
use super::interruption::interrupted;
use super::output::Output;
use crate::clock::Clock;
use crate::error_chain::error_chain;
use crate::witness::{Witness, serve};

/// # Errors
/// When it can't start.
pub(super) async fn run(args: WitnessArgs, out: &mut Output) -> Result<(), Failure> {
    let WitnessArgs { listen, state, name, logs } = args;
    let witness = Witness::open(&state, name, logs, Clock::System).map_err(|error| {
        Failure::new(Exit::Failed, error_chain(&error), "put back what is missing; nothing is cosigned until then")
    })?;
    let unheard = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("{listen} can't be listened on: {error}"),
            "name another address with --listen",
        )
    };
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(unheard)?;
    let address = listener.local_addr().map_err(unheard)?;
    out.line(&witness.verifier().to_string())?;
    out.note(&format!("listening on {address}; the line above is the verifier key of this witness"));
    // To be ended is what a service expects: it is no failure.
    serve(listener, Arc::new(witness), async { drop(interrupted().await) }).await;
    Ok(())
}
