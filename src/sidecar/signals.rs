//! What a running sidecar does on signals: SIGTERM and SIGINT end it in order, a second one at once; SIGHUP reloads;
//! SIGUSR2 hands over to a new process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::audit_log::CloseError;
use super::handover::HandoverError;
use super::running::Running;
use super::successor::{Heir, Program};
use super::supervisor;
use crate::error_chain::error_chain;

/// The signals, listened to from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    upgrade: Signal,
}

/// Why a sidecar that was to end did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    #[error("the audit log was not closed in order")]
    Close(#[from] CloseError),
    #[error("the drain broke off")]
    Broken(#[from] tokio::task::JoinError),
}

impl Signals {
    /// Needs a runtime. To be made before anything is served: who is asked to stop while starting still stops in order.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Serves until told to end or until a successor serves, and ends in order. `program` is what a successor runs.
    ///
    /// # Errors
    /// [`EndError`].
    pub async fn obey(mut self, running: Running, program: &Program) -> Result<(), EndError> {
        supervisor::ready();
        loop {
            tokio::select! {
                () = stop(&mut self.terminate, &mut self.interrupt) => break,
                _ = self.hangup.recv() => {
                    supervisor::reloading();
                    // What went wrong is in the log; the former configuration goes on.
                    let _ = running.reload().await;
                    supervisor::ready();
                }
                _ = self.upgrade.recv() => match self.hand_over(&running, program).await {
                    Ok(heir) => return self.leave(running, heir).await,
                    Err(HandoverError::Stopping) => break,
                    Err(_) => {}
                },
            }
        }
        tracing::info!("stopping");
        supervisor::stopping();
        let hurry = running.hurry();
        self.end(hurry, move || running.stop()).await
    }

    /// A hand-over, unless told to stop meanwhile.
    async fn hand_over(&mut self, running: &Running, program: &Program) -> Result<Heir, HandoverError> {
        let shared = running.shared();
        shared.handovers.begin();
        supervisor::reloading();
        let result = {
            let mut handing_over = std::pin::pin!(running.hand_over(program));
            loop {
                tokio::select! {
                    result = &mut handing_over => break result,
                    () = stop(&mut self.terminate, &mut self.interrupt) => break Err(HandoverError::Stopping),
                    _ = self.upgrade.recv() => tracing::warn!("a hand-over is under way: SIGUSR2 is ignored"),
                }
            }
        };
        if let Err(error) = &result {
            let error = error_chain(error);
            // Told in `/readyz` before it is told in the log: whoever reads the line and asks finds it.
            shared.handovers.fail(shared.clock.wall(), error.clone());
            tracing::error!(error, "the hand-over failed; this process goes on");
            supervisor::ready();
        }
        result
    }

    async fn leave(self, running: Running, heir: Heir) -> Result<(), EndError> {
        tracing::info!(process = heir.process, "handed over: the successor serves");
        supervisor::handed_over_to(heir.process);
        let hurry = running.hurry();
        let mut signals = self;
        // The first one asks for what is being done already.
        let (terminate, interrupt) = (&mut signals.terminate, &mut signals.interrupt);
        let mut ending = tokio::task::spawn_blocking(move || running.leave_to(heir));
        tokio::select! {
            ended = &mut ending => return Ok(ended??),
            () = stop(terminate, interrupt) => tracing::info!("stopping already"),
        }
        signals.until(hurry, ending).await
    }

    async fn end<F>(self, hurry: crate::drain::DrainTrigger, end: F) -> Result<(), EndError>
    where
        F: FnOnce() -> Result<(), CloseError> + Send + 'static,
    {
        self.until(hurry, tokio::task::spawn_blocking(end)).await
    }

    /// Waits for the end; one more signal cuts what is in flight.
    async fn until(
        mut self,
        hurry: crate::drain::DrainTrigger,
        mut ending: tokio::task::JoinHandle<Result<(), CloseError>>,
    ) -> Result<(), EndError> {
        tokio::select! {
            ended = &mut ending => return Ok(ended??),
            () = stop(&mut self.terminate, &mut self.interrupt) => {
                tracing::warn!("told to stop once more: what is in flight is cut");
                hurry.end_now();
            }
        }
        Ok(ending.await??)
    }
}

async fn stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
