//! Ends a future that takes too long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::Timer;
use pin_project_lite::pin_project;

/// The output of `work`, or None if it takes longer than `time`.
pub fn timeout<F: Future>(time: Duration, work: F) -> Timeout<F> {
    Timeout { work, timer: Timer::after(time) }
}

/// As [`timeout`], until the moment `deadline`.
pub fn timeout_at<F: Future>(deadline: Instant, work: F) -> Timeout<F> {
    Timeout { work, timer: Timer::at(deadline) }
}

pin_project! {
    /// Future of [`timeout`]. A type of its own, since an `async fn` has twice the size of the future that it awaits, and a
    /// server has one for each connection.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        work: F,
        timer: Timer,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.work.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(this.timer).poll(cx).map(|_| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn work_that_is_done_has_its_output_even_without_time_and_work_that_never_is_ends() {
        assert_eq!(block_on(timeout(Duration::ZERO, ready(7))), Some(7));
        assert_eq!(block_on(timeout(Duration::MAX, ready(7))), Some(7));
        assert_eq!(block_on(timeout(Duration::from_millis(1), pending::<()>())), None);
        assert_eq!(block_on(timeout_at(Instant::now(), pending::<()>())), None);
    }
}
