//! The web form: asks a producer, and says what it got and how old it is.
//!
//! [`app`] routes. [`Typed`](input::Typed) is what a person typed; it becomes a [`Query`] or a list of mistakes. The
//! source of answers is behind [`Ask`], so that the pages are tested without a network. Everything under [`page`] is a
//! pure function of typed input and `now`.

mod answer;
pub mod input;
pub mod page;
mod producers;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bramble::serve::{Error, Host};
use bramble::{Config, Service};
use bramble_weather::{ApiError, Query, Report};

pub use producers::Producers;
pub use settings::ConsumerSettings;

/// The service. [`service`] has it listen where the settings say.
pub const SERVICE: Service = Service::named("consumer")
    .version(env!("CARGO_PKG_VERSION"))
    .page("Bramble weather")
    .calls(&["producer"])
    .open_to_all()
    .section::<ConsumerSettings>();

/// The service, listening where `[consumer] listen` says.
pub fn service(config: &Config) -> Service {
    SERVICE.listen(config.section::<ConsumerSettings>().listen)
}

/// A question, its deadline and its trace.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The place.
    pub query: &'a Query,
    /// Time after which the caller no longer waits for the answer.
    pub deadline: Instant,
    /// The trace it belongs to (W3C Trace Context), to be passed on.
    pub trace: Option<&'a str>,
}

/// A source of weather reports.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// The weather at a place, by the question's deadline at the latest.
    ///
    /// # Errors
    /// Why there is no report. Only [`Code::Unavailable`](bramble_weather::Code::Unavailable) means that no producer
    /// answered.
    async fn weather(&self, question: &Question<'_>) -> Result<Report, ApiError>;
}

/// Serves the form until the process is told to end.
///
/// # Errors
/// When it cannot listen.
pub async fn run(host: Host) -> Result<(), Error> {
    let producers = Arc::new(Producers::new(&host.config, host.client(), Arc::clone(&host.executor)));
    let settings = Settings { call_timeout: host.config.call.timeout, fresh_for: host.config.cache.fresh_for };
    let app = app(Arc::clone(&producers) as Arc<dyn Ask>, settings);
    host.collect(producers);
    host.serve(app).await
}

/// Settings that the pages need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[call] timeout`: no question waits longer, however much time a caller says it has.
    pub call_timeout: Duration,
    /// `[cache] fresh_for`: how long a reader of the JSON may keep it, counted from `fetched_at`.
    pub fresh_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { call_timeout: Duration::from_secs(3), fresh_for: Duration::from_secs(600) }
    }
}

/// State that every handler shares.
#[derive(Clone)]
pub struct State {
    ask: Arc<dyn Ask>,
    settings: Settings,
}

/// The form on `/`, the same as JSON on `/api/weather`, and what the pages are drawn with. Every answer carries the
/// security headers, that of a route added later too.
pub fn app(ask: Arc<dyn Ask>, settings: Settings) -> tide::Server<State> {
    let mut app = tide::with_state(State { ask, settings });
    page::SITE.install(&mut app);
    app.at("/").get(answer::page);
    app.at("/api/weather").get(answer::json);
    app
}

#[cfg(test)]
mod tests;
