//! Drives the state machine of a call with requests and timers.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_lite::FutureExt as _;
use smol::Timer;

use super::Client;
use super::answer::Answer;
use super::attempt::{Attempt, Ended};
use super::error::Error;
use super::prepared::Prepared;
use super::service_client::ServiceClient;
use crate::balance::Endpoint;
use crate::call::{Ask, CallEvent, CallMachine, CallOutcome, Step};
use crate::telemetry::Event;

impl Client {
    /// Does what `machine` says until it is done. Returns what each attempt has brought, if it has ended.
    pub(super) async fn drive(
        &self,
        callee: &ServiceClient,
        request: &Prepared<'_>,
        machine: &mut CallMachine<'_>,
    ) -> (CallOutcome, Vec<Option<Result<Answer, Error>>>) {
        let (mut rng, mut results) = (fastrand::Rng::new(), Vec::new());
        let mut asked: Vec<(Arc<Endpoint>, u64)> = Vec::new();
        // The machine has two attempts out at most: one, and a copy of it.
        let (mut one, mut other) = (pin!(None), pin!(None));
        let mut event = CallEvent::Begin;
        loop {
            match machine.step(event, Instant::now(), &mut rng) {
                Step::Ask(ask) => {
                    if ask.attempt > 0 {
                        callee.calls.note(Event::Retry, Instant::now());
                        log::debug!("asking another {}: {}", callee.service, ask.endpoint.id());
                    }
                    results.push(None);
                    asked.push((Arc::clone(&ask.endpoint), ask.endpoint.breaker().generation()));
                    let slot = if one.is_none() { &mut one } else { &mut other };
                    slot.set(Some(self.attempt(callee, request, ask)));
                    event = CallEvent::Woken;
                }
                Step::Wait(until) => {
                    self.watch_health(callee);
                    // An attempt ends at the deadline by itself; only what is due before needs a timer.
                    let timer = if until < request.deadline { Timer::at(until) } else { Timer::never() };
                    let ended = async { Some(first(one.as_mut(), other.as_mut()).await) };
                    event = match ended.or(late(timer)).await {
                        Some((attempt, Ended { answer, ending })) => {
                            let is_unsent =
                                matches!(&answer, Err(Error::Failed { cause, .. }) if cause.is_before_sending());
                            if let Some(result) = results.get_mut(attempt) {
                                *result = Some(answer);
                            }
                            match is_unsent {
                                true => CallEvent::Unsent { attempt, ending },
                                false => CallEvent::Ended { attempt, ending },
                            }
                        }
                        None => CallEvent::Woken,
                    };
                }
                Step::Done(outcome) => {
                    for (endpoint, generation) in &asked {
                        callee.watch.add_if_changed(endpoint, *generation);
                    }
                    return (outcome, results);
                }
            }
        }
    }

    /// Makes an attempt; returns its number with its result.
    async fn attempt(&self, callee: &ServiceClient, request: &Prepared<'_>, ask: Ask) -> (usize, Ended) {
        let number = ask.attempt;
        let key = self.inner.key.as_ref();
        let ended = Attempt::new(callee, request, ask, key, Instant::now()).run(&self.inner.wire).await;
        self.log_if_forbidden(&ended.answer);
        self.report_to_directory(&ended.answer);
        (number, ended)
    }
}

/// Waits for the first of two attempts to end, and empties its place.
async fn first<F, T>(mut one: Pin<&mut Option<F>>, mut other: Pin<&mut Option<F>>) -> T
where
    F: Future<Output = T>,
{
    poll_fn(|cx| match poll_slot(one.as_mut(), cx) {
        Poll::Pending => poll_slot(other.as_mut(), cx),
        ready => ready,
    })
    .await
}

fn poll_slot<F: Future>(mut slot: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let Some(future) = slot.as_mut().as_pin_mut() else { return Poll::Pending };
    let polled = future.poll(cx);
    if polled.is_ready() {
        slot.set(None);
    }
    polled
}

async fn late<T>(timer: Timer) -> Option<T> {
    timer.await;
    None
}
