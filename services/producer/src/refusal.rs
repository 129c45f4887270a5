//! Errors of the service when it has no report: a code, a sentence, and the time until asking again is of use.
//!
//! What the weather API did is 502, 504 or 404; 503 is for this service itself, which has no room or is not ready.

use std::time::Duration;

use bramble::cache::{CacheError, FetchFailure};
use bramble_weather::{ApiError, Code};

use crate::openweathermap::UpstreamError;

/// A place that the weather API does not know is not asked for again so soon; a new postal code can wait a minute.
const REMEMBER_UNKNOWN: Duration = Duration::from_secs(60);

/// After a failure a place is asked for once a second at most. Longer, and a recovery would show late.
const REMEMBER_FAILURE: Duration = Duration::from_secs(1);

/// Told with "too many places at once": about as long as the weather API takes for one of them.
const UNTIL_THERE_IS_ROOM: Duration = Duration::from_millis(250);

impl FetchFailure for UpstreamError {
    fn stale_may_stand_in(&self) -> bool {
        !matches!(self, Self::NotFound | Self::BadQuestion)
    }

    fn remember_for(&self) -> Duration {
        match self {
            Self::NotFound | Self::BadQuestion => REMEMBER_UNKNOWN,
            // These concern all places, and what stands before the weather API remembers them.
            Self::BadKey | Self::RateLimited { .. } | Self::CircuitOpen { .. } | Self::ClockUnset => Duration::ZERO,
            _ => REMEMBER_FAILURE,
        }
    }
}

/// Error for a caller without a report. `opens_in`: how long the circuit before the weather API refuses calls still.
pub(crate) fn error(missed: &CacheError<UpstreamError>, opens_in: Option<Duration>) -> ApiError {
    use UpstreamError::{CircuitOpen, RateLimited};
    let (code, message) = sentence(missed);
    let retry_after = match (missed, code) {
        (CacheError::Failed(RateLimited { retry_after } | CircuitOpen { retry_after }), _) if retry_after.is_some() => {
            *retry_after
        }
        (_, Code::UpstreamUnavailable | Code::UpstreamTimeout) => {
            Some(opens_in.unwrap_or_default().max(REMEMBER_FAILURE))
        }
        (_, Code::Overloaded) => Some(UNTIL_THERE_IS_ROOM),
        (_, Code::RateLimited | Code::Starting) => Some(REMEMBER_FAILURE),
        _ => None,
    };
    ApiError::new(code, message).with_retry_after(retry_after)
}

/// Code and sentence for a caller. The sentences are for a person in front of a form, so they name no inner matter.
fn sentence(missed: &CacheError<UpstreamError>) -> (Code, &'static str) {
    let CacheError::Failed(error) = missed else {
        return match missed {
            CacheError::Busy => {
                (Code::Overloaded, "Too many places are being asked for at once; try again in a moment.")
            }
            CacheError::Lost => {
                (Code::UpstreamUnavailable, "The question to the weather service broke off; try again.")
            }
            CacheError::Late => (
                Code::UpstreamTimeout,
                "The weather service has not answered yet. Its answer is kept here when it comes; try again in a moment.",
            ),
            _ => (Code::UpstreamTimeout, "The weather service did not answer in time; try again."),
        };
    };
    match error {
        UpstreamError::NotFound => {
            (Code::UnknownPlace, "The weather service knows no place with this postal code in this country.")
        }
        UpstreamError::BadQuestion => (Code::InvalidZip, "The weather service does not understand this postal code."),
        UpstreamError::BadKey => (
            Code::UpstreamRejected,
            "The weather service refuses our key; the operator must set a valid one ([producer] api_key_file).",
        ),
        UpstreamError::RateLimited { .. } => {
            (Code::RateLimited, "The weather service has been asked too often; try again later.")
        }
        UpstreamError::TimedOut => (Code::UpstreamTimeout, "The weather service did not answer in time; try again."),
        UpstreamError::ClockUnset => (
            Code::Starting,
            "We are waiting for the time: until a time server has answered, the weather service cannot be asked.",
        ),
        UpstreamError::CircuitOpen { .. } => {
            (Code::UpstreamUnavailable, "The weather service has failed lately; it is asked again in a moment.")
        }
        UpstreamError::Unreachable => {
            (Code::UpstreamUnavailable, "The weather service cannot be reached at the moment.")
        }
        UpstreamError::Failed { .. } | UpstreamError::Unusable { .. } => {
            (Code::UpstreamUnavailable, "The weather service fails at the moment.")
        }
    }
}
