//! A stand-in for OpenWeatherMap with the same URLs, bodies and errors.
//!
//! | call | answer |
//! | --- | --- |
//! | `GET /data/2.5/weather?zip=70569,DE&units=metric&lang=de&appid=KEY` | simulated weather; also by `lat`/`lon`, `q` |
//! | `GET /geo/1.0/zip?zip=70569,DE&appid=KEY` | name and position of a postal code |
//! | `GET /sim/calls` | how often it was asked: in all, by status, by place |
//! | `POST /sim/faults` | `{"latency":"800ms","error_rate":0.3,"status":500,"hang":false,"garbage":false,"only":"70569,DE"}` |
//! | `GET /sim/faults`, `DELETE /sim/faults` | shows, clears them |
//!
//! A call passes the faults first, as a failing gateway would fail it before anyone looked at its key; then the key,
//! the limit and the question are checked in upstream's order. `/sim/*` answers this machine alone unless
//! [`Settings::allow_remote_faults`] is set.
//!
//! ```
//! use bramble_upstream_sim::{Settings, app};
//! use tide::http::{Method, Request, Response, Url};
//!
//! let app = app(Settings { keys: vec!["k".into()], ..Settings::default() });
//! let url = Url::parse("http://localhost/data/2.5/weather?zip=70569,DE&appid=k").expect("a URL");
//! let answer: tide::Result<Response> = smol::block_on(app.respond(Request::new(Method::Get, url)));
//! assert_eq!(answer.expect("an answer").status(), 200);
//! ```

#![warn(missing_docs)]

mod ask;
mod body;
mod calls;
mod faults;
mod places;
mod reply;
mod routes;
mod sim;
mod weather;

pub use places::{Place, Places, PlacesError};
pub use routes::app;
pub use sim::{Clock, Settings, Sim};
pub use weather::{Condition, Language, Sun, Weather, offset_s, weather_at};

/// The service. A weather API is many machines, and so its stand-in has room for each connection.
pub const SERVICE: bramble::Service = bramble::Service::named("upstream-sim")
    .version(env!("CARGO_PKG_VERSION"))
    .defaults(|config| config.server.concurrency = config.server.max_connections)
    .open_to_all()
    .standalone();

/// Serves until the process is told to end.
///
/// # Errors
/// When it cannot listen.
pub async fn run(host: bramble::serve::Host, settings: Settings) -> Result<(), bramble::serve::Error> {
    host.serve(app(settings)).await
}
