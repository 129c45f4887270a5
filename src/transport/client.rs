//! The HTTP client: under surf for any URL, and by itself for calls to instances. The engines that surf comes with hand
//! the late answer of one request to the next caller; here an exchange owns its connection until the last byte, and
//! only a connection whose exchange has ended well is used again.
//!
//! hyper speaks the protocol, driven by the task that waits for the answer: no task, no thread, no timer of its own a
//! call.

mod answer;
mod connect;
mod connection;
mod convert;
mod error;
mod payload;
mod pool;
mod socket;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_io::Timer;
use async_trait::async_trait;
use http::HeaderValue;
use http::uri::PathAndQuery;
use http_client::{Config, HttpClient};
use http_types::url::Position;
use http_types::{Body, Request, Response, Url};
use hyper::body::Incoming;

pub use self::error::{Error, Phase};

use self::answer::Exchange;
use self::connection::Failure;
pub(crate) use self::convert::{is_of_connection, method};
pub(crate) use self::payload::Payload;
use self::pool::{Limits, Pool};
use super::tls::{self, Tls};
use crate::discovery::MAX_INSTANCES;
use crate::resolve::Resolver;

/// When the whole exchange must be over: address, connection, request, answer. Put it into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// Limits and timeouts of a [`HttpTransport`].
#[derive(Debug, Clone)]
pub struct HttpTransportSettings {
    /// How long one address may take to accept, and then the TLS handshake.
    pub connect_timeout: Duration,
    /// How long a connection may rest; shorter than servers close theirs.
    pub idle_timeout: Duration,
    /// Idle connections kept to one endpoint.
    pub max_idle_per_endpoint: usize,
    /// Idle connections kept to all endpoints together. Beyond it, those idle longest are closed, an eighth at a time;
    /// the next call to their endpoints opens a new one. The default is [`max_idle`].
    pub max_idle: usize,
    /// The largest body of an answer, in bytes.
    pub max_answer: usize,
    /// How long an exchange without a [`Deadline`] may take.
    pub timeout: Duration,
    /// The only certificate authorities to trust. None: the system's.
    pub ca_file: Option<PathBuf>,
    /// Where names become addresses.
    pub resolver: Resolver,
}

impl Default for HttpTransportSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(20),
            max_idle_per_endpoint: 16,
            max_idle: max_idle(),
            max_answer: 1 << 20,
            timeout: Duration::from_secs(10),
            ca_file: None,
            resolver: Resolver::from_system(),
        }
    }
}

/// A third of the files that this process may have open (`RLIMIT_NOFILE`), at most 1024: one connection to each
/// instance that discovery remembers.
///
/// With the usual limit of 1024 files these are 341. The rest is for the connections of callers (`[server]
/// max_connections`, 512), calls in flight (`[call] max_concurrent`, 64 for each service) and files.
pub fn max_idle() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    files.and_then(|files| usize::try_from(files / 3).ok()).map_or(MAX_INSTANCES, |third| third.min(MAX_INSTANCES))
}

/// Sends requests; a clone shares the connections.
#[derive(Clone)]
pub struct HttpTransport(Arc<Inner>);

struct Inner {
    settings: HttpTransportSettings,
    pool: Arc<Pool>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing is encrypted"))]
    tls: Tls,
    /// Only there because the trait can be asked for it.
    config: Config,
}

/// Server of a request.
#[derive(Clone, Copy)]
struct Target<'a> {
    https: bool,
    /// `host:port`, without the port if it is the scheme's own.
    key: &'a str,
    /// Without brackets.
    host: &'a str,
    port: u16,
}

impl<'a> Target<'a> {
    fn of(url: &'a Url) -> Result<Self, Error> {
        let refuse = |why| Error::Url { url: url[..Position::AfterPath].to_owned(), why };
        let https = match url.scheme() {
            "http" => false,
            "https" if cfg!(feature = "tls") => true,
            "https" => return Err(refuse("this program was built without the cargo feature `tls` of bramble")),
            _ => return Err(refuse("only http and https are spoken")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| refuse("it has no host"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = url.port_or_known_default().ok_or_else(|| refuse("it has no port"))?;
        Ok(Self { https, key: &url[Position::BeforeHost..Position::AfterPort], host, port })
    }
}

/// A request to a [`Server`].
pub(crate) struct Message<'a> {
    pub(crate) method: &'a http::Method,
    pub(crate) path: &'a PathAndQuery,
    pub(crate) payload: Payload,
    /// Whether it may be sent again where a kept connection turns out to be closed.
    pub(crate) is_idempotent: bool,
}

/// The address of an instance, with what is derived from it for each request.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    /// `IP:PORT`.
    key: Box<str>,
    /// The same as a value of the header `Host`.
    header: HeaderValue,
    /// The IP address without brackets.
    host: Box<str>,
}

impl Server {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let key = address.to_string();
        let header = HeaderValue::from_str(&key).expect("an address has visible ASCII characters only");
        Self { port: address.port(), key: key.into(), header, host: address.ip().to_string().into() }
    }

    fn target(&self) -> Target<'_> {
        Target { https: false, key: &self.key, host: &self.host, port: self.port }
    }
}

impl Default for HttpTransport {
    /// With the default settings, and so the system's certificate authorities.
    fn default() -> Self {
        Self::with(HttpTransportSettings::default(), Tls::default())
    }
}

impl HttpTransport {
    /// A wire without connections.
    ///
    /// # Errors
    ///
    /// The CA file cannot be read or holds no certificate.
    pub fn new(settings: HttpTransportSettings) -> Result<Self, tls::Error> {
        let tls = Tls::new(settings.ca_file.as_deref())?;
        Ok(Self::with(settings, tls))
    }

    fn with(settings: HttpTransportSettings, tls: Tls) -> Self {
        let limits = Limits {
            idle_timeout: settings.idle_timeout,
            per_endpoint: settings.max_idle_per_endpoint,
            total: settings.max_idle,
        };
        Self(Arc::new(Inner { settings, pool: Arc::new(Pool::new(limits)), tls, config: Config::new() }))
    }

    /// surf's client over this wire.
    pub fn into_surf(self) -> surf::Client {
        surf::Client::with_http_client(self)
    }

    /// How many connections are open without an exchange.
    pub fn idle_connections(&self) -> usize {
        self.0.pool.len()
    }

    /// Closes idle connections that are too old or were closed by their server; returns how many are left.
    pub fn sweep(&self) -> usize {
        self.0.pool.sweep(Instant::now())
    }

    /// Sweeps for ever; the owner spawns it once. It sleeps without a timer while no connection is idle.
    pub async fn close_idle(self) {
        let pause = (self.0.settings.idle_timeout / 2).max(Duration::from_millis(10));
        loop {
            self.0.pool.filled().await;
            Timer::after(pause).await;
            self.sweep();
        }
    }

    /// Sends `message` to `server`, with the headers that `add_headers` adds, and reads the whole answer until
    /// `deadline`.
    pub(crate) async fn send(
        &self,
        server: &Server,
        message: Message<'_>,
        add_headers: impl Fn(&mut http::HeaderMap) + Sync,
        deadline: Instant,
    ) -> Result<http::Response<Vec<u8>>, Error> {
        let Message { method, path, payload, is_idempotent } = message;
        let message = |payload| {
            let mut message = http::Request::new(payload);
            *message.method_mut() = method.clone();
            *message.uri_mut() = path.clone().into();
            let headers = message.headers_mut();
            headers.reserve(convert::HEADERS);
            headers.insert(http::header::HOST, server.header.clone());
            add_headers(headers);
            Ok(message)
        };
        let (head, exchange) = self.exchange(&server.target(), payload, is_idempotent, message, deadline).await?;
        answer::read(head, exchange).await
    }

    async fn send_request(&self, mut request: Request) -> Result<Response, Error> {
        let deadline = request.ext().get::<Deadline>().map(|deadline| deadline.0);
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.0.settings.timeout);
        let payload = match request.len() {
            Some(0) => Payload::Empty, // taking the body would add a content type
            _ => read_payload(request.take_body()).await.map_err(|error| Error::Request(error.to_string()))?,
        };
        let target = Target::of(request.url())?;
        let message = |payload| convert::request(&request, payload);
        let is_idempotent = convert::is_idempotent(request.method());
        let (head, exchange) = self.exchange(&target, payload, is_idempotent, message, deadline).await?;
        answer::receive(head, exchange)
    }

    /// Sends the message that `message` makes of `payload`, on a kept connection if there is one, and waits for the
    /// head of the answer. A kept connection that its server has closed meanwhile is replaced, if the message may be
    /// sent twice.
    async fn exchange(
        &self,
        target: &Target<'_>,
        payload: Payload,
        is_idempotent: bool,
        message: impl Fn(Payload) -> Result<http::Request<Payload>, Error>,
        deadline: Instant,
    ) -> Result<(http::Response<Incoming>, Exchange), Error> {
        let wire = &*self.0;
        let now = Instant::now();
        if deadline <= now {
            return Err(Error::TimedOut { host: target.key.to_owned(), phase: Phase::Connect });
        }
        let mut spare = payload.again().filter(|_| is_idempotent);
        let mut unsent = message(payload)?;
        loop {
            let mut connection = match wire.pool.take(target.key, target.https, now) {
                Some(connection) => connection,
                None => Box::pin(connect::open(wire, target, deadline)).await?,
            };
            match connection.send(unsent, deadline).await {
                Ok(head) => {
                    let (pool, limit) = (Arc::clone(&wire.pool), wire.settings.max_answer as u64);
                    return Ok((head, Exchange { connection, pool, deadline, limit }));
                }
                Err(Failure::Unsent(back)) if connection.reused => unsent = *back,
                Err(Failure::Unsent(_)) => return Err(Error::Closed { host: target.key.to_owned() }),
                Err(Failure::Lost(error)) => {
                    let again = connection.reused && error.is_closed() && !connection.has_heard();
                    let Some(payload) = spare.take().filter(|_| again) else { return Err(error) };
                    log::debug!("{} closed a kept connection while it was used; once more on a new one", target.key);
                    wire.pool.forget(target.key, target.https);
                    unsent = message(payload)?;
                }
            }
        }
    }
}

/// The payload for `body`: read now, if it is small and there already.
pub(crate) async fn read_payload(body: Body) -> io::Result<Payload> {
    let mut body = Some(body);
    poll_fn(|cx| Poll::Ready(Payload::new(body.take().unwrap_or_else(Body::empty), cx))).await
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for HttpTransport {
    async fn send(&self, request: Request) -> Result<Response, http_types::Error> {
        self.send_request(request).await.map_err(|error| http_types::Error::new(error.status(), error))
    }

    fn set_config(&mut self, _: Config) -> http_types::Result<()> {
        Err(http_types::Error::from_str(500, "this client is configured by transport::client::Settings"))
    }

    fn config(&self) -> &Config {
        &self.0.config
    }
}
