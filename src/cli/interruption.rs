//! Ctrl-C, and being told to end.

use super::failure::{Exit, Failure};

/// Resolves when the person, or the system, wants the program to end.
pub(super) async fn interrupted() -> Failure {
    let ended = Failure { exit: Exit::Interrupted, message: String::new(), hint: String::new() };
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return ended,
            _ = terminated.recv() => return ended,
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    ended
}
