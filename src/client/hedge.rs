//! A slow answer is only known to be slow by waiting for it. Instead of waiting to the end, a second copy of the question
//! goes elsewhere after a while, and the first good answer wins (Dean and Barroso, "The Tail at Scale", 2013). It is paid
//! from the budget that pays retries, so when everybody is slow it does not double the load.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_lite::FutureExt as _;
use smol::Timer;

use super::attempt::{Attempt, Ended};
use super::callee::Callee;
use super::{Call, Client};
use crate::balance::{Endpoint, Pick};

impl Client {
    /// One attempt, and after `hedge_after`, if that is set, a copy of it to an endpoint that was not tried yet.
    pub(super) async fn ask(
        &self,
        callee: &Callee,
        call: &Call<'_>,
        pick: Pick,
        tried: &mut Vec<Arc<Endpoint>>,
    ) -> Ended {
        let mut first = pin!(self.attempt(callee, call, pick));
        let Some(patience) = self.inner.config.call.hedge_after else { return first.await };
        let late = async {
            Timer::after(patience).await;
            None
        };
        if let Some(ended) = async { Some(first.as_mut().await) }.or(late).await {
            return ended;
        }
        let Some(pick) = self.pick_for_copy(callee, tried) else { return first.await };
        log::debug!("{} is late; asking {} too", tried.last().map_or("", |late| late.id()), pick.endpoint().id());
        tried.push(Arc::clone(pick.endpoint()));
        best(first, pin!(self.attempt(callee, call, pick))).await
    }

    async fn attempt(&self, callee: &Callee, call: &Call<'_>, pick: Pick) -> Ended {
        let attempt = Attempt::new(call, pick, self.inner.config.call.attempt_timeout, Instant::now());
        let attempt = attempt.signed(self.inner.key.as_ref());
        attempt.run(&self.inner.surf, &callee.watch).await
    }

    /// An endpoint for a copy. None: nobody else is there, or the budget is spent.
    fn pick_for_copy(&self, callee: &Callee, tried: &[Arc<Endpoint>]) -> Option<Pick> {
        let now = Instant::now();
        let pick = callee.balancer.pick(now, &mut fastrand::Rng::new(), tried).ok()?;
        callee.watch.look();
        if !callee.budget.try_withdraw(now) {
            return None;
        }
        callee.counts.retries.fetch_add(1, Ordering::Relaxed);
        Some(pick)
    }
}

/// The first good answer of two, whose loser is dropped with the caller's frame; if neither is good, the one that at
/// least is an answer, of two alike the later.
async fn best<A, B>(mut one: Pin<&mut A>, mut other: Pin<&mut B>) -> Ended
where
    A: Future<Output = Ended>,
    B: Future<Output = Ended>,
{
    let first = async { (one.as_mut().await, true) };
    let second = async { (other.as_mut().await, false) };
    let (ended, was_one) = first.or(second).await;
    if !ended.may_ask_again {
        return ended;
    }
    let later = if was_one { other.await } else { one.await };
    if later.may_ask_again && later.answer.is_err() && ended.answer.is_ok() { ended } else { later }
}
