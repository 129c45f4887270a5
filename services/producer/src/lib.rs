//! Answers `GET /weather` from OpenWeatherMap: one question upstream for many equal ones, a cache that outlives the
//! API's bad hours, and never longer than the caller waits.
//!
//! A request comes in by [`routes`], becomes a `Query`, and goes to [`Weather`], which looks into the cache and asks
//! [`upstream`] if it must; what that answers, [`openweathermap`] understands.

pub mod clock;
pub mod key;
pub mod openweathermap;
pub mod routes;
pub mod upstream;
pub mod weather;

mod refusal;
mod report;
mod settings;

use std::sync::Arc;

use bramble::Service;
use bramble::serve::{Error, Host};
use bramble::telemetry::Collect;

pub use clock::Clock;
pub use routes::app;
pub use settings::ProducerSettings;
pub use weather::Weather;

/// The service: with a cluster key it answers the cluster alone, since each answer may cost a call of the weather API.
pub const SERVICE: Service =
    Service::named("producer").version(env!("CARGO_PKG_VERSION")).section::<ProducerSettings>();

/// Serves until the process is told to end, on a machine whose `clock` may be a guess at first.
///
/// # Errors
/// There is no key, or it cannot listen.
pub async fn run(host: Host, clock: Clock) -> Result<(), Error> {
    let executor = Arc::clone(&host.executor);
    // Its calls leave the LAN: a lost SYN costs 1 s, and so does a first TLS handshake over a mobile uplink.
    let settings: &ProducerSettings = host.settings()?;
    let client = host.outside_with(settings.fetch_timeout, settings.ca_file.as_deref())?;
    let weather = Weather::with_clock(&host.config, client, (executor, &host.id), clock);
    let weather = Arc::new(weather.map_err(|error| Error::Setup(error.to_string()))?);
    host.collect(Arc::clone(&weather) as Arc<dyn Collect>);
    host.serve(app(weather)).await
}

#[cfg(test)]
mod tests;
