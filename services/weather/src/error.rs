//! What a service says instead of a report: a short sentence for a person, a code for a program.

use serde::{Deserialize, Serialize};

/// Why there is no report. The names are the contract of `{"error":{"code":...}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The postal code is not one.
    InvalidZip,
    /// The country is not one.
    InvalidCountry,
    /// The question is not signed with the cluster's key.
    Forbidden,
    /// The weather API knows no such place.
    UnknownPlace,
    /// The weather API asks for patience.
    RateLimited,
    /// The weather API refused the key.
    UpstreamRejected,
    /// Nobody can answer now.
    Unavailable,
    /// Nobody answered in time.
    DeadlineExceeded,
}

impl Code {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidZip | Self::InvalidCountry => 400,
            Self::Forbidden => 403,
            Self::UnknownPlace => 404,
            Self::RateLimited => 429,
            Self::UpstreamRejected => 502,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }
}

/// The body of every answer that is not a report: `{"error":{"code":"unknown_place","message":"..."}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(from = "Envelope", into = "Envelope")]
#[error("{message}")]
pub struct ApiError {
    /// For a program.
    pub code: Code,
    /// For a person: what happened and what to do.
    pub message: String,
}

impl ApiError {
    /// An error with this code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The shape on the wire.
#[derive(Serialize, Deserialize)]
struct Envelope {
    error: Inner,
}

#[derive(Serialize, Deserialize)]
struct Inner {
    code: Code,
    message: String,
}

impl From<Envelope> for ApiError {
    fn from(Envelope { error: Inner { code, message } }: Envelope) -> Self {
        Self { code, message }
    }
}

impl From<ApiError> for Envelope {
    fn from(ApiError { code, message }: ApiError) -> Self {
        Self { error: Inner { code, message } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_contract_says() {
        let error = ApiError::new(Code::UnknownPlace, "no such place");
        let json = serde_json::to_string(&error).expect("an error is always JSON");
        assert_eq!(json, r#"{"error":{"code":"unknown_place","message":"no such place"}}"#);
        assert_eq!(serde_json::from_str::<ApiError>(&json).expect("own JSON"), error);
    }
}
