//! hyper's requests and answers as http-types has them; what a handler must never see ends here.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, Version};
use http_body::Body as _;
use http_types::Url;
use http_types::headers as known;
use hyper::body::Incoming;

use super::body::{RequestBody, ResponseBody};
use super::progress::Progress;
use super::refusal::{self, Refusal};
use crate::limit;
use crate::transport::RETRY_AFTER_MS;

/// Longer targets are 414: twice what any browser or proxy passes on.
pub(super) const MAX_TARGET: usize = 8 << 10;

/// Data that the requests of one connection share.
#[derive(Debug)]
pub(super) struct Peer {
    peer: String,
    local: String,
    /// The Host that was named last and what it means: a connection's requests rarely name two.
    /// A copy, for a `HeaderValue` would keep hyper's whole read buffer.
    host: Mutex<Option<(Box<[u8]>, Url)>>,
}

impl Peer {
    pub(super) fn new(peer: std::net::SocketAddr, local: Option<std::net::SocketAddr>) -> Self {
        let local = local.map_or_else(|| "localhost".into(), |addr| addr.to_string());
        Self { peer: peer.to_string(), local, host: Mutex::new(None) }
    }

    /// `http://HOST` + `path`, without parsing the host anew each time.
    fn url(&self, host: &HeaderValue, path: &str) -> Result<Url, &'static Refusal> {
        let mut last = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(known, _)| **known != *host.as_bytes()) {
            *last = Some((host.as_bytes().into(), base(host).ok_or(&refusal::BAD_HOST)?));
        }
        let (_, base) = last.as_ref().expect("it was set above");
        // "//name" would be taken for a host.
        let url = if path[1..].starts_with(['/', '\\']) {
            Url::parse(&format!("{}{}", base.as_str().trim_end_matches('/'), path))
        } else {
            Url::options().base_url(Some(base)).parse(path)
        };
        url.map_err(|_| &refusal::BAD_TARGET)
    }
}

/// The URL of a Host, if it is one: a name or address, perhaps a port, nothing else (RFC 9110, 7.2).
fn base(host: &HeaderValue) -> Option<Url> {
    let name = host.to_str().ok()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) {
        return None;
    }
    Url::parse(&format!("http://{name}/")).ok()
}

/// The request for tide, or why there is none.
pub(super) fn request(
    request: http::Request<Incoming>,
    peer: &Peer,
    max_body: usize,
    progress: &Arc<Progress>,
) -> Result<http_types::Request, &'static Refusal> {
    let (mut head, incoming) = request.into_parts();
    let method = method(&head.method)?;
    let url = url(&head, peer)?;
    check_framing(&head)?;
    let length = incoming.size_hint().exact().map(|len| usize::try_from(len).unwrap_or(usize::MAX));
    if length.is_some_and(|length| length > max_body) {
        return Err(&refusal::BODY_TOO_LARGE);
    }

    let mut out = http_types::Request::new(method, url);
    out.set_version(Some(if head.version == Version::HTTP_10 {
        http_types::Version::Http1_0
    } else {
        http_types::Version::Http1_1
    }));
    out.set_peer_addr(Some(peer.peer.as_str()));
    out.set_local_addr(Some(peer.local.as_str()));
    take_headers(&mut head.headers, &mut out);
    if !incoming.is_end_stream() {
        let body = RequestBody::new(incoming, max_body, Arc::clone(progress));
        out.set_body(http_types::Body::from_reader(body, length));
    }
    Ok(out)
}

fn method(method: &Method) -> Result<http_types::Method, &'static Refusal> {
    Ok(match *method {
        Method::GET => http_types::Method::Get,
        Method::HEAD => http_types::Method::Head,
        Method::POST => http_types::Method::Post,
        Method::PUT => http_types::Method::Put,
        Method::DELETE => http_types::Method::Delete,
        Method::OPTIONS => http_types::Method::Options,
        Method::PATCH => http_types::Method::Patch,
        // A tunnel is for proxies; a method in lower case is another one, which http-types would not see.
        _ => return Err(&refusal::METHOD),
    })
}

fn url(head: &http::request::Parts, peer: &Peer) -> Result<Url, &'static Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() || (host.is_none() && head.version != Version::HTTP_10) {
        return Err(&refusal::BAD_HOST);
    }
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() > MAX_TARGET {
        return Err(&refusal::TARGET_TOO_LONG);
    }
    let none; // before Host was invented: the address that was called
    let host = match host {
        Some(host) => host,
        None => {
            none = HeaderValue::from_str(&peer.local).map_err(|_| &refusal::BAD_HOST)?;
            &none
        }
    };
    match head.uri.scheme() {
        // The absolute form wins over Host, which must be valid all the same (RFC 9112, 3.2.2).
        Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {
            peer.url(host, "/")?;
            Url::parse(&head.uri.to_string()).map_err(|_| &refusal::BAD_TARGET)
        }
        None if path.starts_with('/') => peer.url(host, path),
        None if path == "*" && head.method == Method::OPTIONS => peer.url(host, "/*"),
        _ => Err(&refusal::BAD_TARGET),
    }
}

/// hyper takes any list of encodings that ends in `chunked`, and any expectation.
fn check_framing(head: &http::request::Parts) -> Result<(), &'static Refusal> {
    let mut encodings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        if encodings.next().is_some() || !encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(&refusal::ENCODING);
        }
    }
    let expects_more = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.version != Version::HTTP_10 && head.headers.get_all(header::EXPECT).iter().any(expects_more) {
        return Err(&refusal::EXPECTATION);
    }
    Ok(())
}

/// Header values that are not ASCII are left out: http-types cannot hold them.
fn take_headers(from: &mut HeaderMap, to: &mut http_types::Request) {
    let mut last = None;
    for (name, value) in from.drain() {
        let first = name.is_some();
        last = name.or(last);
        let (Some(name), Ok(value)) = (&last, known::HeaderValue::from_bytes(value.as_bytes().to_vec())) else {
            log::debug!("request header {} left out: not ASCII", last.as_ref().map_or("?", HeaderName::as_str));
            continue;
        };
        if first {
            to.insert_header(header_name(name), value);
        } else {
            to.append_header(header_name(name), value);
        }
    }
}

/// The names most requests carry need no copy.
fn header_name(name: &HeaderName) -> known::HeaderName {
    match *name {
        header::HOST => known::HOST,
        header::USER_AGENT => known::USER_AGENT,
        header::ACCEPT => known::ACCEPT,
        header::ACCEPT_ENCODING => known::ACCEPT_ENCODING,
        header::CONTENT_LENGTH => known::CONTENT_LENGTH,
        header::CONTENT_TYPE => known::CONTENT_TYPE,
        _ => known::HeaderName::from(name.as_str()),
    }
}

/// The answer for hyper, which knows best how long it is and what follows from that.
pub(super) fn response(mut from: http_types::Response, progress: Arc<Progress>) -> http::Response<ResponseBody> {
    let mut headers = HeaderMap::with_capacity(from.header_names().count() + 2);
    for (name, values) in from.iter() {
        let Ok(name) = HeaderName::from_bytes(name.as_str().as_bytes()) else {
            log::error!("answer header {name} left out: not a valid name");
            continue;
        };
        if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
            continue;
        }
        for value in values {
            match HeaderValue::from_str(value.as_str()) {
                Ok(value) => drop(headers.append(name.clone(), value)),
                Err(_) => log::error!("answer header {name} left out: it holds a line break or the like"),
            }
        }
    }
    let status = http::StatusCode::from_u16(from.status().into()).expect("http-types knows valid ones only");
    let mut out = http::Response::new(ResponseBody::new(from.take_body(), progress));
    *out.status_mut() = status;
    *out.headers_mut() = headers;
    out
}

/// The server's own answer; the connection ends with it, whatever the peer still sends.
pub(super) fn refused(refusal: &Refusal, progress: Arc<Progress>) -> http::Response<ResponseBody> {
    progress.leave_unread();
    let mut out = http::Response::new(ResponseBody::text(refusal.body(), progress));
    *out.status_mut() = refusal.status;
    let headers = out.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    out
}

/// The answer to a request that the limiter refuses. The connection stays open: the peer is welcome, only not now.
pub(super) fn overloaded(refusal: &limit::RequestRefusal, progress: Arc<Progress>) -> http::Response<ResponseBody> {
    let mut out = http::Response::new(ResponseBody::fixed(refusal::overloaded(refusal.reason), progress));
    *out.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    let headers = out.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let millis = u64::try_from(refusal.retry_after.as_millis()).unwrap_or(u64::MAX);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
    headers.insert(HeaderName::from_static(RETRY_AFTER_MS), HeaderValue::from(millis));
    out
}
