//! Heads between the types of tide and surf and those of the HTTP engine.
//!
//! On the way of every call, so: no text is built that exists already, and names known to both sides are not copied.

use http::header::{self, HeaderMap};
use http_types::headers as names;
use http_types::headers::{HeaderName, HeaderValue};
use http_types::url::Position;
use http_types::{Method, Request, Response, StatusCode, Version};

use super::error::Error;
use super::payload::Payload;

/// Header fields that belong to a connection, not to a message, and the framing, which the engine writes itself. One
/// that came with another request must not be passed on (RFC 9110, 7.6.1).
const OURS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Places for headers in a request: the most that fit into eight places of the map; eight would take sixteen, 1.2 KB.
pub(super) const HEADERS: usize = 6;

/// `request` as the engine sends it, with `payload` as its body and exactly one Host.
pub(super) fn request(request: &Request, payload: Payload) -> Result<http::Request<Payload>, Error> {
    let url = request.url();
    let invalid = |what: &str| Error::Request(format!("{what} is not valid in HTTP"));
    let mut head = http::Request::new(payload);
    *head.method_mut() = method(request.method());
    *head.uri_mut() = url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| invalid("its URL"))?;
    let headers = head.headers_mut();
    headers.reserve(HEADERS);
    let given = request.header(&names::HOST).map(|values| values.last().as_str());
    let host = given.unwrap_or(&url[Position::BeforeHost..Position::AfterPort]);
    headers.insert(header::HOST, host.parse().map_err(|_| invalid("its Host"))?);
    for (name, values) in request.iter() {
        let name = name.as_str();
        if is_of_connection(name) {
            continue;
        }
        let parsed = header::HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a header's name"))?;
        for value in values {
            let value = header::HeaderValue::from_bytes(value.as_str().as_bytes());
            let value = value.map_err(|_| Error::Request(format!("the header {name} has a line break in it")))?;
            headers.append(parsed.clone(), value);
        }
    }
    Ok(head)
}

/// Whether the header called `name` belongs to the connection, and not to the message.
pub(crate) fn is_of_connection(name: &str) -> bool {
    OURS.contains(&name)
}

/// The engine's name for `method`.
pub(crate) fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Delete => http::Method::DELETE,
        Method::Options => http::Method::OPTIONS,
        Method::Patch => http::Method::PATCH,
        Method::Trace => http::Method::TRACE,
        Method::Connect => http::Method::CONNECT,
        other => http::Method::from_bytes(other.as_ref().as_bytes()).expect("http-types knows only valid methods"),
    }
}

/// Whether a request may be sent twice (RFC 9110, 9.2.2).
pub(super) fn is_idempotent(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace)
}

/// An answer with this status and these headers, and no body yet.
pub(super) fn response(status: http::StatusCode, headers: HeaderMap) -> Response {
    let mut response = Response::new(known(status));
    response.set_version(Some(Version::Http1_1));
    let mut last = None;
    for (name, value) in headers {
        let first_of_name = name.is_some();
        if let Some(name) = name {
            last = known_name(&name);
        }
        let Some(name) = &last else { continue };
        let value = ascii(value.as_bytes());
        if first_of_name {
            response.insert_header(name.clone(), value);
        } else {
            response.append_header(name.clone(), value);
        }
    }
    response
}

/// A status that http-types has no name for counts as the first of its class (RFC 9110, 15).
fn known(status: http::StatusCode) -> StatusCode {
    let code = status.as_u16();
    StatusCode::try_from(code).unwrap_or(match code / 100 {
        2 => StatusCode::Ok,
        3 => StatusCode::MultipleChoice,
        4 => StatusCode::BadRequest,
        _ => StatusCode::InternalServerError,
    })
}

/// The same name in http-types, without a copy if it is a frequent one. None for what belonged to the connection.
fn known_name(name: &header::HeaderName) -> Option<HeaderName> {
    Some(match *name {
        header::CONTENT_TYPE => names::CONTENT_TYPE,
        header::CONTENT_LENGTH => names::CONTENT_LENGTH,
        header::DATE => names::DATE,
        header::SERVER => names::SERVER,
        header::CACHE_CONTROL => names::CACHE_CONTROL,
        header::AGE => names::AGE,
        header::ETAG => names::ETAG,
        header::VARY => names::VARY,
        header::CONNECTION | header::TRANSFER_ENCODING => return None,
        _ => name.as_str().parse().ok()?,
    })
}

/// http-types holds ASCII only; any other byte becomes a question mark.
fn ascii(bytes: &[u8]) -> HeaderValue {
    let bytes = if bytes.is_ascii() {
        bytes.to_vec()
    } else {
        bytes.iter().map(|&byte| if byte.is_ascii() { byte } else { b'?' }).collect()
    };
    HeaderValue::from_bytes(bytes).expect("only ASCII is left")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(request: &Request) -> http::Request<Payload> {
        super::request(request, Payload::Empty).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_request_has_exactly_one_host_and_no_framing_of_a_former_hop() {
        let mut request = Request::get("http://127.0.0.1:8080/a%20b?c=d#e");
        for (name, value) in
            [("host", "one"), ("Content-Length", "7"), ("Connection", "x"), ("Transfer-Encoding", "gzip")]
        {
            request.append_header(name, value);
        }
        request.append_header("host", "two");
        request.append_header("x-kept", "yes");
        let head = converted(&request);
        assert_eq!(head.uri(), "/a%20b?c=d");
        let mut names: Vec<_> = head.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        names.sort_unstable();
        assert_eq!(names, [("host", &b"two"[..]), ("x-kept", b"yes")]);
    }

    #[test]
    fn the_host_is_that_of_the_url_with_its_port_unless_given() {
        assert_eq!(converted(&Request::get("http://[::1]:81/")).headers()["host"], "[::1]:81");
        assert_eq!(converted(&Request::get("https://user:pass@example.org/")).headers()["host"], "example.org");
    }

    #[test]
    fn a_line_break_in_a_header_is_an_error_and_not_a_second_header() {
        let mut request = Request::get("http://127.0.0.1/");
        request.insert_header("x-a", "1\r\nx-b: 2");
        assert!(matches!(super::request(&request, Payload::Empty), Err(Error::Request(_))));
    }

    #[test]
    fn bytes_beyond_ascii_in_an_answer_become_question_marks() {
        let mut headers = HeaderMap::new();
        headers.append("x-city", header::HeaderValue::from_bytes("Büsnau".as_bytes()).expect("obs-text is allowed"));
        headers.append("x-twice", header::HeaderValue::from_static("1"));
        headers.append("x-twice", header::HeaderValue::from_static("2"));
        let response = response(http::StatusCode::OK, headers);
        assert_eq!(response["x-city"], "B??snau");
        assert_eq!(response["x-twice"], ["1", "2"][..]);
    }

    #[test]
    fn an_unknown_status_counts_as_the_first_of_its_class() {
        for (code, expected) in [(299, 200), (399, 300), (499, 400), (520, 500), (999, 500), (418, 418)] {
            let code = http::StatusCode::from_u16(code).expect("three digits");
            assert_eq!(known(code) as u16, expected);
        }
    }
}
