//! What a service manager is told (sd_notify(3)), where there is one: NOTIFY_SOCKET in the environment.

use sd_notify::NotifyState;

/// This process serves, anew after a reload or still after a hand-over that failed.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read anew, or a successor is being started: until [`ready`].
pub fn reloading() {
    // systemd tells by the time that the readiness that follows is the one of this reload.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the monotonic clock can't be read"),
    }
}

/// The service ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service now, and serves.
pub fn handed_over_to(process: u32) {
    tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
