//! JSON answers of this service.

use tide::{Body, Response, StatusCode};

/// An answer that is not to be stored.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = Response::new(status);
    response.set_body(Body::from_string(value.to_string()));
    response.set_content_type(tide::http::mime::JSON);
    response.insert_header("cache-control", "no-store");
    response
}
