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

mod call;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use http_types::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::rejection::Rejection;
pub use call::{CallError, OperationCall, Reply};

/// The code of a rejection of input that cannot be read.
const INVALID_INPUT: &str = "invalid_input";

/// Operation of a service, from an input `In` to an output `Out` or a [`Rejection`].
///
/// The input of GET and DELETE is sent as the query of the path, that of other methods as JSON; the answer is JSON.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use bramble::Operation;
///
/// /// The names that begin with the `prefix` of the query.
/// const NAMES: Operation<BTreeMap<String, String>, Vec<String>> =
///     Operation::get("greeter", "/names").codes(&["invalid_prefix"]);
///
/// assert_eq!((NAMES.service(), NAMES.path()), ("greeter", "/names"));
/// ```
pub struct Operation<In, Out> {
    service: &'static str,
    method: Method,
    path: &'static str,
    is_idempotent: bool,
    /// Codes of its rejections; empty: any.
    codes: &'static [&'static str],
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
        Self { service, method, path, is_idempotent: false, codes: &[], types: PhantomData }
    }

    /// Says that to do it twice is the same as to do it once, so that another instance may be asked after a failure.
    pub const fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Says which codes its rejections have. A caller takes what is neither an `Out` nor a rejection with one of them
    /// as the answer of another server, and asks another instance. Without it any code is one; `invalid_input`, which
    /// [`route`](Self::route) sends, always is.
    pub const fn codes(mut self, codes: &'static [&'static str]) -> Self {
        self.codes = codes;
        self
    }

    /// The name of the service.
    pub const fn service(&self) -> &'static str {
        self.service
    }

    /// The path, without a query.
    pub const fn path(&self) -> &'static str {
        self.path
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

impl<In, Out> Operation<In, Out>
where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + 'static,
{
    /// Adds the operation to `app`: reads the input, has `handler` work on it, and writes what it returns. Input that
    /// cannot be read is answered 400 `invalid_input`, another method of the path 405 with an `Allow`.
    ///
    /// When the caller has left, the work is dropped at its next `await`, since its answer has no reader; work that
    /// must go on all the same is spawned as a task.
    pub fn route<State, Handler, Work>(&self, app: &mut tide::Server<State>, handler: Handler)
    where
        State: Clone + Send + Sync + 'static,
        Handler: Fn(tide::Request<State>, In) -> Work + Send + Sync + 'static,
        Work: Future<Output = Result<Out, Rejection>> + Send + 'static,
    {
        let (handler, is_in_query) = (Arc::new(handler), self.is_input_in_query());
        let endpoint = move |mut request: tide::Request<State>| {
            let handler = Arc::clone(&handler);
            async move {
                let input = match is_in_query {
                    true => {
                        serde_urlencoded::from_str(request.url().query().unwrap_or_default()).map_err(invalid_input)
                    }
                    false => {
                        let body = request.body_bytes().await?;
                        serde_json::from_slice(&body).map_err(invalid_input)
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
        };
        let mut route = app.at(self.path);
        if self.method == Method::Get {
            route.method(Method::Head, endpoint.clone()); // the endpoint for all other methods would come before this one's GET
        }
        route.method(self.method, endpoint);
        allow(self.path, self.method);
        let path = self.path;
        route.all(move |_| async move { Ok(method_not_allowed(path)) });
    }
}

/// Methods of the paths of all operations that this process serves: tide does not tell which ones a path has.
static ALLOWED: RwLock<BTreeMap<&str, Vec<Method>>> = RwLock::new(BTreeMap::new());

fn allow(path: &'static str, method: Method) {
    let mut allowed = ALLOWED.write().unwrap_or_else(PoisonError::into_inner);
    let methods = allowed.entry(path).or_default();
    let also = (method == Method::Get).then_some(Method::Head);
    for method in [method].into_iter().chain(also) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
}

fn method_not_allowed(path: &str) -> tide::Response {
    let allowed = ALLOWED.read().unwrap_or_else(PoisonError::into_inner);
    let mut methods: Vec<&str> = allowed.get(path).into_iter().flatten().map(AsRef::as_ref).collect();
    methods.sort_unstable();
    Rejection::not_allowed(&methods.join(", "))
}

fn invalid_input(why: impl fmt::Display) -> Rejection {
    Rejection::new(400, INVALID_INPUT, format!("The input is not understood: {why}."))
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
