//! The outcome of a fetch, as the circuit breaker before the weather API counts it.

use std::time::Duration;

use bramble::breaker::Outcome;

use super::NoAnswer;
use crate::openweathermap::{Observation, UpstreamError};

/// Outcome of a fetch for the circuit. "No such place" and a refused key are answers. A slow answer is a success: it
/// is of use for as long as the fetch may take, and no other API could be asked instead.
pub(super) fn outcome(answer: &Result<Result<Observation, UpstreamError>, NoAnswer>) -> Outcome {
    const ANSWERED: Outcome = Outcome::Success { latency: Duration::ZERO };
    let error = match answer {
        Ok(Ok(_)) => return ANSWERED,
        Err(NoAnswer { refused: true, .. }) => return Outcome::Refused,
        Ok(Err(error)) | Err(NoAnswer { error, .. }) => error,
    };
    match error {
        UpstreamError::NotFound | UpstreamError::BadQuestion | UpstreamError::BadKey => ANSWERED,
        UpstreamError::RateLimited { retry_after } => Outcome::Rejected { retry_after: *retry_after },
        UpstreamError::TimedOut => Outcome::Timeout,
        UpstreamError::CircuitOpen { .. } | UpstreamError::ClockUnset => Outcome::Ignored,
        UpstreamError::Failed { .. } | UpstreamError::Unusable { .. } | UpstreamError::Unreachable => Outcome::Failure,
    }
}
