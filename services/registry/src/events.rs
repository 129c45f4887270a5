//! `/events`: the changes of the page as server-sent events, as long as there is a reader. A reader costs one question
//! to all services in two seconds, which all readers share, and when it goes nothing is left of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::{FutureExt as _, Stream, stream};
use serde_json::json;
use smol::Timer;

use crate::gather::EVERY;
use crate::page;
use crate::state::State;
use crate::view::{News, View};

/// Several changes at once are one.
const SETTLES: Duration = Duration::from_millis(100);

/// The page as a reader has it, so that only changes are sent.
#[derive(Debug, Default)]
pub(crate) struct PageDiff {
    /// By id, in the page's order.
    order: Vec<String>,
    parts: BTreeMap<String, String>,
    /// When it was sent last; nothing that happened before is sent.
    at: Option<Instant>,
}

impl PageDiff {
    /// The differences to `view`, as events; ends with the heartbeat, whose text is the page's title.
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
    let said: Vec<String> = fresh.take(5).map(|news| format!("{} {}", news.subject, news.what)).collect();
    // A line's end would end the event.
    (!said.is_empty()).then(|| said.join("; ").replace(['\r', '\n'], " ") + ".")
}

/// The events for one reader, without an end.
pub(crate) fn events(state: State) -> impl Stream<Item = Vec<u8>> + Send + Sync {
    stream::unfold(PageDiff::default(), move |diff| {
        let state = state.clone();
        let executor = Arc::clone(&state.executor);
        async move {
            let (text, diff) = executor.spawn(next(state, diff)).await;
            Some((text.into_bytes(), diff))
        }
    })
}

/// Waits until something has changed, or for [`EVERY`], and returns the events of it.
async fn next(state: State, mut diff: PageDiff) -> (String, PageDiff) {
    if let Some(at) = diff.at {
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
    let text = diff.update(&view, Instant::now());
    (text, diff)
}

#[cfg(test)]
mod tests;
