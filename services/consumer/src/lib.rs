//! The web form: asks a producer, and says what it got and how old it is.
//!
//! [`app`] routes. [`Typed`](input::Typed) is what a person typed; it becomes a [`Query`] or a list of mistakes. Who
//! answers is behind [`Ask`], so that the pages are tested without a network. Everything under [`page`] is a pure
//! function of typed input and `now`.

mod answer;
pub mod input;
pub mod page;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bramble_weather::{ApiError, Query, Report};

/// Whoever knows the weather.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// The weather at a place, by `deadline` at the latest: after that nobody waits for it, so the answer is
    /// [`Code::DeadlineExceeded`](bramble_weather::Code::DeadlineExceeded).
    ///
    /// # Errors
    /// Why there is no report, for the page of that name.
    async fn weather(&self, query: &Query, deadline: Instant) -> Result<Report, ApiError>;
}

/// What the pages need to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[call] timeout`: nobody waits longer, however much time a caller says it has.
    pub call_timeout: Duration,
    /// `[cache] fresh_for`: how long whoever reads the JSON may keep it, counted from `fetched_at`.
    pub fresh_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { call_timeout: Duration::from_secs(3), fresh_for: Duration::from_secs(600) }
    }
}

/// What every handler shares.
#[derive(Clone)]
pub struct State {
    ask: Arc<dyn Ask>,
    settings: Settings,
}

/// The form on `/`, the same as JSON on `/api/weather`, and what the pages are drawn with. Every answer carries the
/// security headers, that of a route added later too.
pub fn app(ask: Arc<dyn Ask>, settings: Settings) -> tide::Server<State> {
    let mut app = tide::with_state(State { ask, settings });
    page::SITE.furnish(&mut app);
    app.at("/").get(answer::page);
    app.at("/api/weather").get(answer::json);
    app
}

#[cfg(test)]
mod tests;
