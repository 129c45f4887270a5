//! Contract between producer and consumer: questions, reports and errors about the weather.
//!
//! A [`Query`] is parsed once, at the edge; after that a postal code is a [`Zip`] and a country a [`Country`], and
//! nothing downstream checks again. A [`Report`] is the answer as JSON; what the weather API left out is `None`, never
//! zero. An [`ApiError`] is what is said instead. [`WEATHER`] is the operation that both sides share.

mod country;
mod error;
mod operation;
mod query;
pub mod range;
mod report;

pub use country::{COUNTRIES, Country};
pub use error::{ApiError, Code};
pub use operation::WEATHER;
pub use query::{Query, QueryError, Zip};
pub use report::{Report, Source};
