//! Answers `GET /weather` from OpenWeatherMap: one question upstream for many equal ones, a cache that outlives the
//! API's bad hours, and never longer than the caller waits.
//!
//! A request comes in by [`routes`], becomes a `Query`, and goes to [`Weather`], which looks into the cache and asks
//! [`upstream`] if it must; what that answers, [`openweathermap`] understands.

pub mod key;
pub mod openweathermap;
pub mod routes;
pub mod upstream;
pub mod weather;

pub use routes::app;
pub use weather::Weather;

#[cfg(test)]
mod tests;
