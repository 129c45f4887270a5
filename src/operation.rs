//! Typed operations: one constant that says what a service answers, shared by the service and its callers.
//!
//! ```
//! use bramble::operation::{Operation, Rejection};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//! #[derive(Serialize, Deserialize)]
//! struct Greeting {
//!     text: String,
//! }
//! const GREET: Operation<Greet, Greeting> = Operation::post("greeter", "/greeting").idempotent();
//!
//! // The greeter:
//! let mut app = tide::new();
//! GREET.route(&mut app, |_request, greet: Greet| async move {
//!     match greet.name.as_str() {
//!         "" => Err(Rejection::new(400, "invalid_name", "A name has one character at least.")),
//!         name => Ok(Greeting { text: format!("Hello, {name}!") }),
//!     }
//! });
//!
//! // A service that calls it:
//! async fn greet(client: &bramble::Client, name: &str) -> Greeting {
//!     let greet = Greet { name: name.to_owned() };
//!     client.call(&GREET, &greet).or(|error| Greeting { text: format!("No greeting today ({error})") }).await
//! }
//! ```

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http_types::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{self, Answer, Client, Request};
use crate::telemetry::Event;

/// What a service does when it is asked with an `In`: it answers with an `Out`, or rejects the input with a [`Rejection`].
///
/// The input of GET and DELETE is sent as the query of the path, that of other methods as JSON; the answer is JSON.
pub struct Operation<In, Out> {
    service: &'static str,
    method: Method,
    path: &'static str,
    is_idempotent: bool,
    types: PhantomData<fn(In) -> Out>,
}

impl<In, Out> Operation<In, Out> {
    /// GET: asks for something, and changes nothing.
    pub const fn get(service: &'static str, path: &'static str) -> Self {
        Self::new(Method::Get, service, path)
    }

    /// POST: does something, and once more if it is sent twice, unless it is [`idempotent`](Self::idempotent).
    pub const fn post(service: &'static str, path: &'static str) -> Self {
        Self::new(Method::Post, service, path)
    }

    /// PUT: replaces something.
    pub const fn put(service: &'static str, path: &'static str) -> Self {
        Self::new(Method::Put, service, path)
    }

    /// DELETE: removes something.
    pub const fn delete(service: &'static str, path: &'static str) -> Self {
        Self::new(Method::Delete, service, path)
    }

    const fn new(method: Method, service: &'static str, path: &'static str) -> Self {
        Self { service, method, path, is_idempotent: false, types: PhantomData }
    }

    /// Says that to do it twice is the same as to do it once, so that another instance may be asked after a failure.
    pub const fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    fn is_input_in_query(&self) -> bool {
        matches!(self.method, Method::Get | Method::Head | Method::Delete)
    }
}

impl<In, Out> fmt::Debug for Operation<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({} {} of {})", self.method, self.path, self.service)
    }
}

/// Why a service does not do what it was asked: `{"error":{"code":"...","message":"..."}}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct Rejection {
    /// The HTTP status: 400 to 599. 4xx says that the input is wrong, 5xx that the service failed.
    pub status: u16,
    /// A word for programs, such as `unknown_place`.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: Cow<'static, str>,
}

#[derive(Serialize, Deserialize)]
struct RejectionBody<'a> {
    error: RejectionError<'a>,
}

#[derive(Serialize, Deserialize)]
struct RejectionError<'a> {
    code: Cow<'a, str>,
    message: Cow<'a, str>,
}

impl Rejection {
    /// A rejection with `status`, which is 500 if it is none of an error.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let status = if (400..=599).contains(&status) { status } else { 500 };
        Self { status, code: code.into(), message: message.into() }
    }

    fn invalid_input(why: impl fmt::Display) -> Self {
        Self::new(400, "invalid_input", format!("The input is not understood: {why}."))
    }

    pub(crate) fn read(answer: &Answer) -> Option<Self> {
        let RejectionBody { error } = serde_json::from_slice(&answer.body).ok()?;
        Some(Self::new(answer.status, error.code.into_owned(), error.message.into_owned()))
    }

    fn response(&self) -> tide::Response {
        let (code, message) = (Cow::Borrowed(&*self.code), Cow::Borrowed(&*self.message));
        json_response(self.status, &RejectionBody { error: RejectionError { code, message } })
    }
}

// ---- The service ----------------------------------------------------------------------------------------------------

impl<In, Out> Operation<In, Out>
where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + 'static,
{
    /// Adds the operation to `app`: reads the input, has `handler` work on it, and writes what it returns. Input that cannot
    /// be read is answered 400 `invalid_input`.
    ///
    /// When the caller has left, the work is dropped at its next `await`, since nobody waits for the answer; what must be done
    /// to its end all the same is spawned as a task.
    pub fn route<State, Handler, Work>(&self, app: &mut tide::Server<State>, handler: Handler)
    where
        State: Clone + Send + Sync + 'static,
        Handler: Fn(tide::Request<State>, In) -> Work + Send + Sync + 'static,
        Work: Future<Output = Result<Out, Rejection>> + Send + 'static,
    {
        let (handler, is_in_query) = (Arc::new(handler), self.is_input_in_query());
        app.at(self.path).method(self.method, move |mut request: tide::Request<State>| {
            let handler = Arc::clone(&handler);
            async move {
                let input = match is_in_query {
                    true => serde_urlencoded::from_str(request.url().query().unwrap_or_default())
                        .map_err(Rejection::invalid_input),
                    false => {
                        let body = request.body_bytes().await?;
                        serde_json::from_slice(&body).map_err(Rejection::invalid_input)
                    }
                };
                let result = match input {
                    Ok(input) => handler(request, input).await,
                    Err(rejection) => Err(rejection),
                };
                Ok(match result {
                    Ok(output) => json_response(200, &output),
                    Err(rejection) => rejection.response(),
                })
            }
        });
    }
}

fn json_response(status: u16, body: &impl Serialize) -> tide::Response {
    match serde_json::to_string(body) {
        Ok(json) => tide::Response::builder(status).content_type(tide::http::mime::JSON).body(json).build(),
        Err(error) => {
            log::error!("answer not sent, since it cannot be written as JSON: {error}");
            tide::Response::new(500)
        }
    }
}

// ---- Its callers ----------------------------------------------------------------------------------------------------

/// Why a call of an [`Operation`] has no output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No instance answered.
    #[error(transparent)]
    Unanswered(#[from] client::Error),
    /// An instance rejected the input, or failed.
    #[error("{instance}: {rejection}")]
    Rejected {
        /// The instance that answered.
        instance: Arc<str>,
        /// What it said.
        rejection: Rejection,
    },
}

type OutputValidator<'a, Out> = &'a (dyn Fn(&Out) -> bool + Sync);

/// A call of an [`Operation`], built step by step. It does nothing until one of [`send`](Self::send), [`or`](Self::or) and
/// [`or_else`](Self::or_else) is awaited.
#[must_use = "a call does nothing until it is sent"]
pub struct OperationCall<'a, Out> {
    client: &'a Client,
    service: &'static str,
    request: Request<'a>,
    validator: Option<OutputValidator<'a, Out>>,
}

impl Client {
    /// A call of `operation` with `input`.
    pub fn call<'a, In: Serialize, Out>(
        &'a self,
        operation: &Operation<In, Out>,
        input: &In,
    ) -> OperationCall<'a, Out> {
        let Operation { service, method, path, is_idempotent, .. } = *operation;
        let request = self.request(method, service, path);
        let request = if operation.is_input_in_query() { request.query(input) } else { request.json(input) };
        let request = if is_idempotent { request.idempotent() } else { request };
        OperationCall { client: self, service, request, validator: None }
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

    /// Takes an output that `validator` does not accept as that of another server: another instance is asked.
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
        let Self { request, validator, .. } = self;
        let is_answer = |answer: &Answer| match (validator, answer.json::<Out>()) {
            (Some(is_valid), Ok(output)) if answer.status < 300 => is_valid(&output),
            _ => true,
        };
        let answer = match validator {
            Some(_) => request.valid_if(&is_answer).send().await?,
            None => request.send().await?,
        };
        if client::is_forbidden(&answer) {
            return Err(client::Error::Forbidden { instance: answer.from }.into());
        }
        match Rejection::read(&answer).filter(|_| !(200..300).contains(&answer.status)) {
            Some(rejection) => Err(CallError::Rejected { instance: answer.from, rejection }),
            None => Ok(answer.json()?),
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

    /// Asks for the output, and does what `fallback` says if there is none. At most `[call] max_concurrent` fallbacks of a
    /// service run at a time; beyond that the error is given, as it is where the fallback fails.
    ///
    /// # Errors
    /// There is no output, and none from the fallback.
    pub async fn or_else<Fallback, Work>(self, fallback: Fallback) -> Result<Out, CallError>
    where
        Fallback: FnOnce(CallError) -> Work,
        Work: Future<Output = Result<Out, CallError>>,
    {
        let (client, service) = (self.client, self.service);
        let error = match self.send().await {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        let Ok(_seat) = client.enter_fallback(service) else {
            client.fell_back(service, Event::FallbackRejection);
            return Err(error);
        };
        let result = fallback(error).await;
        let event = if result.is_ok() { Event::FallbackSuccess } else { Event::FallbackFailure };
        client.fell_back(service, event);
        result
    }
}

impl<Out> fmt::Debug for OperationCall<'_, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationCall").field("request", &self.request).finish_non_exhaustive()
    }
}
