//! Work that is run to its end, whoever stays to hear of it.
//!
//! A future that hyper drops must never own a transaction: dropped at the wrong line it would give
//! a session back in the middle of one, and nobody would decide its order. A task of its own for
//! each order is one way, and was ours. But a task costs an allocation, and its end is a word to
//! the connection's task, which then waits in line once more. So the work is run where its caller
//! waits, and moves to a task of its own when the caller leaves: [`Kept`] is never dropped with
//! work in it that somebody could still do.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;
use tracing::Instrument;
use tracing::instrument::Instrumented;

/// Work that outlives its caller. Whoever waits for the tracker waits for it, wherever it runs.
pub(super) struct Kept<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    work: Option<Pin<Box<TrackedFuture<Instrumented<F>>>>>,
}

/// A defect: the work panicked. What it said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panicked(pub(super) String);

impl<F> Kept<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Counts the work in, under the span of now.
    pub(super) fn new(work: F, tracker: &TaskTracker) -> Kept<F> {
        Kept { work: Some(Box::pin(tracker.track_future(work.in_current_span()))) }
    }
}

impl<F> Future for Kept<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = self.work.as_mut() else {
            return Poll::Ready(Err(Panicked("asked again behind its end".to_owned())));
        };
        // As a task would: a defect ends this work and not the connection.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(Panicked(said(&*panic))),
        };
        self.work = None;
        Poll::Ready(ended)
    }
}

impl<F> Drop for Kept<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        // Without a runtime there is nobody left who could go on; its session is closed.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_caller_hears_how_it_ended() {
        let tracker = TaskTracker::new();
        assert_eq!(Kept::new(async { 7 }, &tracker).await, Ok(7));
        assert!(tracker.is_empty(), "and it is no longer counted");
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_leaves_and_is_waited_for() {
        let (tracker, (go, gone), (done, ended)) =
            (TaskTracker::new(), oneshot::channel::<()>(), oneshot::channel());
        let work = async move {
            gone.await.unwrap();
            done.send("to its end").unwrap();
        };
        let caller = timeout(Duration::ZERO, Kept::new(work, &tracker));
        assert!(caller.await.is_err(), "the caller has left in the middle");
        tracker.close();
        assert_eq!(tracker.len(), 1, "whoever shuts down knows of it");
        go.send(()).unwrap();
        tracker.wait().await;
        assert_eq!(ended.await, Ok("to its end"));
    }

    #[tokio::test]
    async fn work_that_nobody_has_begun_is_done_too() {
        let (tracker, (done, ended)) = (TaskTracker::new(), oneshot::channel());
        drop(Kept::new(async move { done.send(()).unwrap() }, &tracker));
        assert_eq!(ended.await, Ok(()));
    }

    #[tokio::test]
    async fn a_defect_ends_the_work_and_nothing_else() {
        let tracker = TaskTracker::new();
        let defect = Kept::new(async { panic!("a defect, number {}", 1) }, &tracker);
        assert_eq!(defect.await, Err::<(), _>(Panicked("a defect, number 1".to_owned())));
        assert!(tracker.is_empty());
    }
}
