//! Calls of an operation.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{INVALID_INPUT, Operation, Rejection};
use crate::client::{self, Answer, Client, Request};
use crate::telemetry::Event;

/// Why a call of an [`Operation`] has no output.
///
/// ```
/// use std::time::Instant;
///
/// use bramble::operation::CallError;
///
/// /// What to tell a person.
/// fn sentence(error: &CallError) -> String {
///     match error.rejection() {
///         Some(rejection) if rejection.code == "invalid_name" => "Please enter a name.".into(),
///         _ => match error.retry_after(Instant::now()) {
///             Some(wait) => format!("{} Try again in {} s.", error.message(), wait.as_secs()),
///             None => error.message(),
///         },
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No instance answered.
    #[error(transparent)]
    Unanswered(#[from] client::Error),
    /// An instance rejected the input, or failed.
    #[error("{instance}: {rejection}")]
    Rejected {
        /// The id of the instance that answered.
        instance: Arc<str>,
        /// Rejection by the service.
        rejection: Rejection,
    },
}

impl CallError {
    /// Rejection by the service, if an instance answered.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected { rejection, .. } => Some(rejection),
            Self::Unanswered(_) => None,
        }
    }

    /// How long to wait from `now` on until asking again is worth it, where that is known.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Rejected { rejection, .. } => rejection.retry_after,
            Self::Unanswered(error) => error.retry_after(now),
        }
    }

    /// A sentence for people: that of the service, else why it did not answer. Addresses, instances and settings are
    /// for the log: `Display` has them.
    pub fn message(&self) -> String {
        match self {
            Self::Rejected { rejection, .. } => rejection.message.clone().into_owned(),
            Self::Unanswered(error) => error.message(),
        }
    }
}

/// The output of an [`Operation`] with the answer that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply<Out> {
    /// Output that the service returned.
    pub output: Out,
    /// Status and headers, and which instance answered ([`served_by`](Answer::served_by)).
    pub answer: Answer,
}

type OutputValidator<'a, Out> = &'a (dyn Fn(&Out) -> bool + Sync);

/// A call of an [`Operation`], built step by step. It does nothing until one of [`send`](Self::send),
/// [`reply`](Self::reply), [`or`](Self::or) and [`or_else`](Self::or_else) is awaited.
#[must_use = "a call does nothing until it is sent"]
pub struct OperationCall<'a, Out> {
    client: &'a Client,
    service: &'static str,
    request: Request<'a>,
    codes: &'static [&'static str],
    validator: Option<OutputValidator<'a, Out>>,
}

impl Client {
    /// A call of `operation` with `input`.
    pub fn call<'a, In: Serialize, Out>(
        &'a self,
        operation: &Operation<In, Out>,
        input: &In,
    ) -> OperationCall<'a, Out> {
        let Operation { service, method, path, is_idempotent, codes, .. } = *operation;
        let request = self.request(method, service, path);
        let request = if operation.is_input_in_query() { request.query(input) } else { request.json(input) };
        let request = if is_idempotent { request.idempotent() } else { request };
        OperationCall { client: self, service, request, codes, validator: None }
    }
}

impl<'a, Out: DeserializeOwned> OperationCall<'a, Out> {
    /// Waits at most `time` from now: see [`Request::within`].
    pub fn within(mut self, time: Duration) -> Self {
        self.request = self.request.within(time);
        self
    }

    /// Makes the call a part of the work on `request`: see [`Request::under`].
    pub fn under<State>(mut self, request: &tide::Request<State>) -> Self {
        self.request = self.request.under(request);
        self
    }

    /// Asks the same instance for all calls with an equal `key`: see [`Request::home`].
    pub fn home(mut self, key: &'a str) -> Self {
        self.request = self.request.home(key);
        self
    }

    /// Makes the call a part of a trace: see [`Request::trace`].
    pub fn trace(mut self, traceparent: &str) -> Self {
        self.request = self.request.trace(traceparent);
        self
    }

    /// Takes an output that `validator` does not accept as that of another server, and what is neither an output nor a
    /// rejection as well: another instance is asked.
    pub fn valid_if(mut self, validator: OutputValidator<'a, Out>) -> Self {
        self.validator = Some(validator);
        self
    }

    /// Asks for the output.
    ///
    /// # Errors
    /// No instance answered, one rejected the input, or what it answered is not an `Out`
    /// ([`Unreadable`](client::Error::Unreadable)): then the two sides do not mean the same operation.
    pub async fn send(self) -> Result<Out, CallError> {
        self.reply().await.map(|reply| reply.output)
    }

    /// Asks for the output, and gives it with the answer that it came in: its headers, and which instance answered.
    ///
    /// # Errors
    /// As of [`send`](Self::send).
    pub async fn reply(self) -> Result<Reply<Out>, CallError> {
        let Self { request, codes, validator, .. } = self;
        let is_answer = |answer: &Answer| is_answer(answer, codes, validator);
        let answer = match (codes, validator) {
            ([], None) => request.send().await?,
            _ => request.valid_if(&is_answer).send().await?,
        };
        if answer.is_forbidden() {
            return Err(client::Error::Forbidden { instance: answer.from }.into());
        }
        match answer.rejection() {
            Some(rejection) => Err(CallError::Rejected { instance: answer.served_by().into(), rejection }),
            None => Ok(Reply { output: answer.json()?, answer }),
        }
    }

    /// Asks for the output, and gives `value` in its place if there is none.
    pub async fn or(self, value: impl FnOnce(&CallError) -> Out) -> Out {
        let (client, service) = (self.client, self.service);
        match self.send().await {
            Ok(output) => output,
            Err(error) => {
                client.fell_back(service, Event::FallbackSuccess);
                value(&error)
            }
        }
    }

    /// Asks for the output, and does what `fallback` says if there is none. At most `[call] max_concurrent` fallbacks
    /// of a service run at a time; beyond that the error is given, as it is where the fallback fails.
    ///
    /// # Errors
    /// There is no output, and none from the fallback.
    pub async fn or_else<Fallback, Work>(self, fallback: Fallback) -> Result<Out, CallError>
    where
        Fallback: FnOnce(CallError) -> Work,
        Work: Future<Output = Result<Out, CallError>>,
    {
        let (client, service) = (self.client, self.service);
        match self.send().await {
            Ok(output) => Ok(output),
            Err(error) => client.fall_back(service, error, fallback).await,
        }
    }
}

/// Whether an answer is one of the service: an output that `validator` accepts, or a rejection with one of `codes`.
fn is_answer<Out: DeserializeOwned>(
    answer: &Answer,
    codes: &[&str],
    validator: Option<OutputValidator<'_, Out>>,
) -> bool {
    match answer.rejection() {
        Some(rejection) => codes.is_empty() || [INVALID_INPUT].iter().chain(codes).any(|code| rejection.code == *code),
        None if answer.status < 300 => {
            answer.json().is_ok_and(|output| validator.is_none_or(|is_valid| is_valid(&output)))
        }
        None => false,
    }
}

impl<Out> fmt::Debug for OperationCall<'_, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationCall").field("request", &self.request).finish_non_exhaustive()
    }
}
