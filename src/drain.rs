//! Ending in order: one signal that everything that serves can wait for, in two stages.

use tokio::sync::watch;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    Ending,
}

/// Held by whoever decides that it is time to end. When the last clone is dropped, the drain begins too.
#[derive(Debug, Clone)]
pub struct DrainTrigger(watch::Sender<Stage>);

/// Waits for the end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<Stage>);

/// A trigger and what it triggers.
pub fn channel() -> (DrainTrigger, Drain) {
    let (sender, receiver) = watch::channel(Stage::Serving);
    (DrainTrigger(sender), Drain(receiver))
}

impl DrainTrigger {
    /// Nothing new is taken; what is under way may finish.
    pub fn begin(&self) {
        self.reach(Stage::Draining);
    }

    /// What is under way is cut.
    pub fn end_now(&self) {
        self.reach(Stage::Ending);
    }

    fn reach(&self, stage: Stage) {
        self.0.send_if_modified(|reached| {
            let further = stage > *reached;
            *reached = stage.max(*reached);
            further
        });
    }
}

impl Drain {
    /// Resolves once the drain has begun.
    pub async fn begun(&self) {
        let mut receiver = self.0.clone();
        // An error means that the trigger is gone, which is an end as well.
        let _ = receiver.wait_for(|reached| *reached >= Stage::Draining).await;
    }

    /// Resolves once nothing more is waited for. Never, where the trigger is gone without having said so.
    pub async fn ended(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|reached| *reached == Stage::Ending).await.is_err() {
            std::future::pending().await
        }
    }

    pub fn has_begun(&self) -> bool {
        *self.0.borrow() >= Stage::Draining || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_end_comes_in_two_stages_and_never_goes_back() {
        let (trigger, drain) = channel();
        assert!(!drain.has_begun() && drain.begun().now_or_never().is_none());
        trigger.begin();
        assert!(drain.has_begun() && drain.begun().now_or_never().is_some());
        assert!(drain.ended().now_or_never().is_none());
        trigger.end_now();
        trigger.begin();
        assert!(drain.ended().now_or_never().is_some());
    }

    #[test]
    fn a_trigger_that_is_gone_begins_and_does_not_end() {
        let (trigger, drain) = channel();
        drop(trigger);
        assert!(drain.has_begun() && drain.begun().now_or_never().is_some());
        assert!(drain.ended().now_or_never().is_none());
    }
}
