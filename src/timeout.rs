//! Ends a future that takes too long.

use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::FutureExt as _;

/// The output of `work`, or None if it takes longer than `time`; then it is dropped.
pub async fn timeout<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    until(Timer::after(time), work).await
}

/// As [`timeout`], until the moment `deadline`.
pub async fn timeout_at<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    until(Timer::at(deadline), work).await
}

async fn until<T>(timer: Timer, work: impl Future<Output = T>) -> Option<T> {
    let late = async {
        timer.await;
        None
    };
    async { Some(work.await) }.or(late).await
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
