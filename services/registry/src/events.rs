//! `/events`: the changes of the page as server-sent events, as long as there is a reader. A reader costs one question
//! to all services in two seconds, which all readers share, and when it goes nothing is left of it.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bramble::bulkhead::Seat;
use event_listener::EventListener;
use futures_lite::{AsyncBufRead, AsyncRead, FutureExt as _};
use serde_json::json;
use smol::{Task, Timer};

use crate::State;
use crate::gather::EVERY;
use crate::page;
use crate::view::{News, View};

/// Readers at a time: a screen on the wall, and a few visitors.
pub(crate) const READERS: usize = 8;
/// Several changes at once are one.
const SETTLES: Duration = Duration::from_millis(100);

/// State of the page that a reader has, so that it is sent changes only.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By id, in the page's order.
    order: Vec<String>,
    parts: BTreeMap<String, String>,
    /// When it was told last; of what was before, nothing is said.
    at: Option<Instant>,
}

impl Told {
    /// Differences in `view`, as events; ends with the heartbeat, whose text is the page's title.
    pub(crate) fn update(&mut self, view: &View, now: Instant) -> String {
        let mut text = String::new();
        let mut event = |name: &str, data: &str| {
            text.push_str(&format!("event: {name}\ndata: {data}\n\n"));
        };
        let parts = page::parts(view);
        let order: Vec<String> = parts.iter().map(|part| part.id.clone()).collect();
        if order != self.order {
            event("order", &json!(order).to_string());
            self.parts.retain(|id, _| order.contains(id));
            self.order = order;
        }
        for part in parts {
            if self.parts.get(&part.id) != Some(&part.html) {
                event("part", &json!({"id": part.id, "html": part.html}).to_string());
                self.parts.insert(part.id, part.html);
            }
        }
        let since = self.at.replace(now).map(|at| now.saturating_duration_since(at));
        if let Some(said) = since.and_then(|since| sentence(&view.news, since)) {
            event("said", &said);
        }
        event("beat", &format!("{} · Bramble", page::title(view)));
        text
    }
}

/// Changes within `since` as a sentence, for a user that hears the page rather than sees it.
fn sentence(news: &[News], since: Duration) -> Option<String> {
    let fresh = news.iter().take_while(|news| news.ago < since);
    let said: Vec<String> = fresh.take(5).map(|news| format!("{} {}", news.whom, news.what)).collect();
    // A line's end would end the event.
    (!said.is_empty()).then(|| said.join("; ").replace(['\r', '\n'], " ") + ".")
}

/// The stream of one reader, as a body.
pub(crate) struct Feed {
    state: State,
    /// Made while the reader has nothing to take; it brings `Told` back.
    round: Task<(Told, String)>,
    event: Vec<u8>,
    /// How much of `event` has been taken.
    taken: usize,
    ends: EventListener,
    ended: bool,
    _seat: Seat,
}

impl Feed {
    /// Tells what `state` sees, until the service ends.
    pub(crate) fn new(state: State, ends: EventListener, seat: Seat) -> Self {
        let round = Self::round(state.clone(), Told::default());
        Self { state, round, event: Vec::new(), taken: 0, ends, ended: false, _seat: seat }
    }

    fn round(state: State, mut told: Told) -> Task<(Told, String)> {
        let executor = Arc::clone(&state.executor);
        executor.spawn(async move {
            if let Some(at) = told.at {
                let changed = async {
                    state.directory.changed().await;
                    Timer::after(SETTLES).await;
                };
                let due = async {
                    Timer::at(at + EVERY).await;
                };
                changed.or(due).await;
            }
            let view = state.view().await;
            let text = told.update(&view, Instant::now());
            (told, text)
        })
    }

    /// Makes `event` hold something to be taken, or ends.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended || self.taken < self.event.len() {
            return Poll::Ready(());
        }
        (self.event, self.taken) = (Vec::new(), 0);
        if Pin::new(&mut self.ends).poll(cx).is_ready() {
            self.ended = true;
            return Poll::Ready(());
        }
        let (told, text) = ready!(Pin::new(&mut self.round).poll(cx));
        self.event = text.into_bytes();
        self.round = Self::round(self.state.clone(), told);
        Poll::Ready(())
    }

    fn left(&self) -> &[u8] {
        self.event.get(self.taken..).unwrap_or(&[])
    }
}

impl AsyncBufRead for Feed {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_event(cx));
        Poll::Ready(Ok(this.left()))
    }

    fn consume(mut self: Pin<&mut Self>, read: usize) {
        self.taken = self.taken.saturating_add(read).min(self.event.len());
    }
}

impl AsyncRead for Feed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_event(cx));
        let n = into.len().min(self.left().len());
        into[..n].copy_from_slice(&self.left()[..n]);
        self.taken += n;
        Poll::Ready(Ok(n))
    }
}

#[cfg(test)]
mod tests;
