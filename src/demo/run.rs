//! `breakglass demo`: the whole of it in one process, the story, and then a playground until Ctrl-C.
//!
//! Narration goes to standard output, what the parts log to standard error. It must never leave anything behind: the
//! folder with keys and logs is removed however the run ends, short of a kill.

use super::parts::{Parts, failed};
use super::story::{self, Stage, Verdict};
use super::{examples, standalone};
use crate::cli::args::{DemoArgs, DemoPart, DemoStoryArgs, Global};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::telemetry::{LogFormat, init_log};

/// What the parts log, unless `BREAKGLASS_LOG` says otherwise.
const LOG_FILTER: &str = "warn";

/// Runs the demonstration, or one part of it; the code to exit with: 0 where every step came out as told.
///
/// # Errors
/// When something cannot start.
pub(crate) async fn run(args: DemoArgs, global: &Global, out: &mut Output) -> Result<u8, Failure> {
    let filter = std::env::var("BREAKGLASS_LOG").unwrap_or_else(|_| LOG_FILTER.to_owned());
    init_log(&filter, LogFormat::Text).map_err(|error| failed("no log", &error))?;
    match args.part {
        Some(DemoPart::Issuer(args)) => standalone::issuer(args, out).await.map(|()| Exit::Ok as u8),
        Some(DemoPart::Api(args)) => standalone::api(args, out).await.map(|()| Exit::Ok as u8),
        Some(DemoPart::Story(args)) => Ok(code(story::play(&stage_of(args, global)?, out).await)),
        None => whole(args.once, out).await,
    }
}

fn stage_of(args: DemoStoryArgs, global: &Global) -> Result<Stage, Failure> {
    let (Some(control), Some(ca)) = (&global.control, &global.ca) else {
        let hint = "name them with --control https://HOST:PORT and --ca FILE";
        return Err(Failure::new(Exit::Usage, "the story needs the control plane's address and its authority", hint));
    };
    Stage::new(&args.sidecar, control, &args.issuer, ca, args.audit)
}

const fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::AsTold => Exit::Ok as u8,
        Verdict::Otherwise => Exit::Failed as u8,
    }
}

async fn whole(once: bool, out: &mut Output) -> Result<u8, Failure> {
    let mut interrupt = std::pin::pin!(interrupted());
    // Starting is short and is not left halfway: what was started is ended in order.
    let parts = Parts::start().await?;
    let ended = tokio::select! {
        ended = show(&parts, once, out) => ended,
        () = &mut interrupt => Ok(Exit::Interrupted as u8),
    };
    let ended = match ended {
        Ok(code) if !once && code != Exit::Interrupted as u8 => {
            interrupt.await;
            out.note("ending");
            Ok(code)
        }
        ended => ended,
    };
    parts.stop().await?;
    ended
}

async fn show(parts: &Parts, once: bool, out: &mut Output) -> Result<u8, Failure> {
    let stage = stage(parts)?;
    let verdict = story::play(&stage, out).await;
    if !once {
        story::invite(&stage, &parts.places(), out)?;
    }
    Ok(code(verdict))
}

fn stage(parts: &Parts) -> Result<Stage, Failure> {
    let at = |port: u16| format!("https://localhost:{port}");
    let audit = parts.folder.path().join("var/audit");
    let (sidecar, control) = (at(parts.sidecar_port()), at(parts.control_port()));
    Stage::new(&sidecar, &control, &parts.issuer_url, &parts.folder.cert(examples::AUTHORITY), Some(audit))
}

/// Resolves on Ctrl-C or SIGTERM.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without them the default action of the signals stands: they end the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
