//! Requests to a service by name, built step by step.

use std::borrow::Cow;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http_types::url::Position;
use http_types::{Body, Method, Url};
use serde::Serialize;

use super::Client;
use super::answer::Answer;
use super::error::Error;
use super::prepared::{Prepared, Validator};
use super::trace::{TRACE, is_trace};
use crate::call::Repeat;
use crate::transport::client::{is_of_connection, method, read_payload};
use crate::transport::server::time_left;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request to an instance of a service, and to another one if that fails.
///
/// Where it may be sent again depends on its method: GET, HEAD, OPTIONS, PUT and DELETE to other instances; any other
/// one only while nothing of it was sent, unless it is [`idempotent`](Self::idempotent). A body that is a stream or
/// larger than 64 KiB is sent once. Copies of late requests are sent for GET and HEAD only.
///
/// ```
/// # use std::time::Duration;
/// # async fn learn(client: &bramble::Client, request: &tide::Request<()>) -> Result<(), bramble::client::Error> {
/// let name = [("name", "Ada")];
/// let answer = client.post("greeter", "/names").json(&name).under(request).within(Duration::from_secs(1)).send().await?;
/// assert_eq!(answer.status, 204);
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'a> {
    client: &'a Client,
    service: &'a str,
    method: Method,
    path: Cow<'a, str>,
    headers: HeaderMap,
    body: Body,
    /// When the answer must be there, as this caller says.
    deadline: Option<Instant>,
    /// The same, as the caller's own caller says.
    caller_deadline: Option<Instant>,
    home: Option<&'a str>,
    validator: Option<Validator<'a>>,
    is_idempotent: bool,
    /// The first part that cannot be sent, and why.
    mistake: Option<String>,
}

impl Client {
    /// A GET for `path`, with its query, to an instance of `service`.
    pub fn get<'a>(&'a self, service: &'a str, path: &'a str) -> Request<'a> {
        self.request(Method::Get, service, path)
    }

    /// A POST to `path` at an instance of `service`.
    pub fn post<'a>(&'a self, service: &'a str, path: &'a str) -> Request<'a> {
        self.request(Method::Post, service, path)
    }

    /// A request with any method to `path` at an instance of `service`.
    pub fn request<'a>(&'a self, method: Method, service: &'a str, path: &'a str) -> Request<'a> {
        Request {
            client: self,
            service,
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Body::empty(),
            deadline: None,
            caller_deadline: None,
            home: None,
            validator: None,
            is_idempotent: false,
            mistake: None,
        }
    }
}

impl<'a> Request<'a> {
    /// Adds the fields of `query` to the query of the path, percent-encoded.
    pub fn query(mut self, query: &impl Serialize) -> Self {
        match serde_urlencoded::to_string(query) {
            Ok(encoded) => {
                let path = self.path.to_mut();
                path.push(if path.contains('?') { '&' } else { '?' });
                path.push_str(&encoded);
                self
            }
            Err(error) => self.mistaken(format!("its query is not a list of names and values: {error}")),
        }
    }

    /// Adds a header. Those of the connection (`host`, `content-length`, `connection` and others) are set by the
    /// client.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let Ok(parsed) = name.parse::<HeaderName>() else {
            return self.mistaken(format!("{name:?} is not a name of a header"));
        };
        if is_of_connection(parsed.as_str()) {
            return self.mistaken(format!("the header {parsed} is set by the client"));
        }
        match value.parse() {
            Ok(value) => {
                self.headers.append(parsed, value);
                self
            }
            Err(_) => self.mistaken(format!("the value of the header {parsed} has a line break or the like in it")),
        }
    }

    /// Sends `body` as JSON.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(json) => {
                self.body = Body::from_bytes(json);
                self.body.set_mime(http_types::mime::JSON);
                self
            }
            Err(error) => self.mistaken(format!("its body cannot be written as JSON: {error}")),
        }
    }

    /// Sends `body`, with its media type as the content type.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits at most `time` from now for the answer, all attempts together. Without it: `[call] timeout`.
    ///
    /// Each attempt at an instance has `[call] attempt_timeout` of it, 2 s by default: a service whose answers take
    /// longer needs a longer one (`[call.NAME] attempt_timeout`).
    pub fn within(mut self, time: Duration) -> Self {
        self.deadline = Instant::now().checked_add(time);
        self
    }

    /// Makes the request a part of the work on `request`: it has the time that is left of it, and its trace.
    pub fn under<S>(mut self, request: &tide::Request<S>) -> Self {
        let request: &http_types::Request = request.as_ref();
        self.caller_deadline = time_left(request).and_then(|left| Instant::now().checked_add(left));
        match request.header(TRACE) {
            Some(trace) => self.trace(trace.last().as_str()),
            None => self,
        }
    }

    /// Makes the request a part of a trace, which is a W3C `traceparent`; any other text is left out. The request has
    /// an id of its own in it.
    pub fn trace(mut self, traceparent: &str) -> Self {
        if is_trace(traceparent) {
            let (trace, flags) = (&traceparent[..36], &traceparent[52..]);
            let child = format!("{trace}{:016x}{flags}", fastrand::u64(1..));
            self.headers.extend(HeaderValue::try_from(child).map(|child| (HeaderName::from_static(TRACE), child)));
        }
        self
    }

    /// Says that to do twice what is asked is the same as to do it once, so that it may be sent to other instances
    /// whatever its method. All attempts have the same `Idempotency-Key`.
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Asks the same instance for all requests with an equal `key` while it is well, so that its cache has the answer.
    pub fn home(mut self, key: &'a str) -> Self {
        self.home = Some(key);
        self
    }

    /// Takes an answer that `validator` does not accept as that of another server: another instance is asked.
    pub fn valid_if(mut self, validator: &'a (dyn Fn(&Answer) -> bool + Sync)) -> Self {
        self.validator = Some(validator);
        self
    }

    /// Asks an instance, and others if it does not answer, until the time is over or asking on would do harm.
    ///
    /// # Errors
    /// When there is no answer. A status that tells of a failure (500) is an answer, if no other instance had a better.
    pub async fn send(self) -> Result<Answer, Error> {
        let (client, service) = (self.client, self.service);
        let prepared = self.prepare().await;
        client.send(service, prepared).await
    }

    fn mistaken(mut self, why: String) -> Self {
        self.mistake.get_or_insert(why);
        self
    }

    async fn prepare(self) -> Result<Prepared<'a>, Error> {
        if let Some(why) = self.mistake {
            return Err(Error::InvalidRequest(why));
        }
        let path = path_and_query(&self.path);
        let path = path.ok_or_else(|| Error::InvalidRequest("its path does not begin with one slash".to_owned()))?;
        let (mut headers, body) = (self.headers, self.body);
        if !body.is_empty().is_some_and(|is_empty| is_empty) && !headers.contains_key(header::CONTENT_TYPE) {
            let mime = HeaderValue::try_from(body.mime().to_string());
            headers.extend(mime.map(|mime| (header::CONTENT_TYPE, mime)));
        }
        let payload = read_payload(body).await.map_err(|error| Error::InvalidRequest(error.to_string()))?;
        let is_safe = matches!(self.method, Method::Get | Method::Head);
        let is_idempotent =
            self.is_idempotent || is_safe || matches!(self.method, Method::Options | Method::Put | Method::Delete);
        if self.is_idempotent && !headers.contains_key(IDEMPOTENCY_KEY) {
            let key = HeaderValue::try_from(format!("\"{:032x}\"", fastrand::u128(..)));
            headers.extend(key.map(|key| (IDEMPOTENCY_KEY, key)));
        }
        let repeat = match payload.again() {
            None => Repeat::Never,
            Some(_) if is_idempotent => Repeat::Always,
            Some(_) => Repeat::Unsent,
        };
        let now = Instant::now();
        let deadline = self.deadline.unwrap_or_else(|| now + self.client.timeout(self.service));
        Ok(Prepared {
            method: method(self.method),
            path,
            headers,
            deadline: self.caller_deadline.map_or(deadline, |caller| caller.min(deadline)),
            home: self.home,
            validator: self.validator,
            may_hedge: is_safe && repeat == Repeat::Always,
            repeat,
            payload: Mutex::new(payload),
        })
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Request");
        shown.field("service", &self.service).field("method", &self.method).field("path", &self.path);
        shown.finish_non_exhaustive()
    }
}

/// Encodes `path` for the request line: the text itself where each character stands for itself, else as a browser would
/// encode it.
fn path_and_query(path: &str) -> Option<PathAndQuery> {
    if !path.starts_with('/') || path.starts_with("//") {
        return None;
    }
    let stands_for_itself = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&()*+,;=:@/?".contains(&byte);
    if path.bytes().all(stands_for_itself) && !path.contains("/.") && !path.contains("/%") {
        return PathAndQuery::try_from(path).ok();
    }
    let url = Url::parse(&format!("http://localhost{path}")).ok()?;
    PathAndQuery::try_from(&url[Position::BeforePath..Position::AfterQuery]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_sent_as_it_is_or_as_a_browser_would_encode_it() {
        let sent = |path| path_and_query(path).map(|sent| sent.to_string());
        for plain in ["/", "/weather?zip=70569&country=DE", "/a%20b/c?d=1,2&e=(f)"] {
            assert_eq!(sent(plain).as_deref(), Some(plain));
        }
        for (path, encoded) in [
            ("/town/Büsnau?q=a b", "/town/B%C3%BCsnau?q=a%20b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a#fragment", "/a"),
            ("/a\r\nx: y", "/ax:%20y"),
        ] {
            assert_eq!(sent(path).as_deref(), Some(encoded), "{path:?}");
        }
        for elsewhere in ["", "weather", "//example.org/", "http://example.org/"] {
            assert_eq!(sent(elsewhere), None, "{elsewhere:?}");
        }
    }
}
