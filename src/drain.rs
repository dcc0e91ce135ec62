//! Ending in order: one signal that everything that serves can wait for.

use tokio::sync::watch;

/// Held by whoever decides that it is time to end. Dropping it begins the drain too.
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<bool>);

/// Waits for the end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<bool>);

/// A trigger and what it triggers.
pub fn channel() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (DrainTrigger(sender), Drain(receiver))
}

impl DrainTrigger {
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Resolves once the drain has begun.
    pub async fn begun(&self) {
        let mut receiver = self.0.clone();
        // An error means that the trigger is gone, which is an end as well.
        let _ = receiver.wait_for(|begun| *begun).await;
    }

    pub fn has_begun(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}
