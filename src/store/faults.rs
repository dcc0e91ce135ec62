//! A database that fails on command: one step of one piece of work (a statement, the beginning or the end of a
//! transaction), before it was done or after, at once or never to answer. Only for tests; it follows the task it is for.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is not done.
    Before,
    /// It is done, and nobody hears of it.
    After,
    /// Nothing answers, and the caller gives up; it is not done.
    SlowBefore,
    /// The same, and it is done.
    SlowAfter,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Before, Self::After, Self::SlowBefore, Self::SlowAfter];

    /// Whether the step is done.
    pub(super) const fn is_done(self) -> bool {
        matches!(self, Self::After | Self::SlowAfter)
    }
}

tokio::task_local! {
    static PLAN: Arc<Plan>;
}

#[derive(Debug)]
struct Plan {
    way: Way,
    nth: usize,
    steps: Mutex<Vec<&'static str>>,
    stuck: Notify,
}

impl Plan {
    /// How this step fails, if it does.
    fn next(&self, what: &'static str) -> Option<Way> {
        let mut steps = self.steps.lock().unwrap();
        steps.push(what);
        (steps.len() == self.nth + 1).then_some(self.way)
    }
}

/// What came of work with a fault in it.
#[derive(Debug)]
pub(crate) struct Faulted<T> {
    /// `None` where its caller gave up.
    pub(crate) answer: Option<T>,
    /// Those that were begun, in order: the last is the one that failed.
    pub(crate) steps: Vec<&'static str>,
    pub(crate) has_failed: bool,
}

/// Does the work, and answers with its steps; none fails.
pub(crate) async fn steps_of(work: impl Future<Output = ()>) -> Vec<&'static str> {
    with_fault(Way::Before, usize::MAX - 1, work).await.steps
}

/// Does the work, whose `nth` step, from 0, fails this way.
pub(crate) async fn with_fault<T>(way: Way, nth: usize, work: impl Future<Output = T>) -> Faulted<T> {
    let plan = Arc::new(Plan { way, nth, steps: Mutex::default(), stuck: Notify::new() });
    let work = PLAN.scope(Arc::clone(&plan), work);
    let answer = tokio::select! {
        answer = work => Some(answer),
        () = plan.stuck.notified() => None,
    };
    let steps = std::mem::take(&mut *plan.steps.lock().unwrap());
    Faulted { answer, has_failed: steps.len() > nth, steps }
}

/// One step of the work. It is boxed: whatever awaits it in a test's thread has a small stack.
pub(super) fn step<'w, T: Send + 'w>(
    what: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>> + Send + 'w,
) -> BoxFuture<'w, Result<T, sqlx::Error>> {
    let work = Box::pin(work);
    Box::pin(async move {
        let Ok(plan) = PLAN.try_with(Arc::clone) else { return work.await };
        let Some(way) = plan.next(what) else { return work.await };
        if way.is_done() {
            work.await?;
        }
        if matches!(way, Way::SlowBefore | Way::SlowAfter) {
            plan.stuck.notify_one();
            std::future::pending::<()>().await;
        }
        Err(sqlx::Error::Io(std::io::Error::other("injected")))
    })
}
