//! Answers as bytes. What upstream says when it refuses is kept as it was captured, with its odd spaces and with `cod`
//! now a number, now a string: parsers trip over exactly that.

use std::borrow::Cow;

use serde::Serialize;
use tide::http::headers::{CONNECTION, CONTENT_TYPE};
use tide::{Response, StatusCode};

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html";

const BAD_KEY: &str =
    r#"{"cod":401, "message": "Invalid API key. Please see http://openweathermap.org/faq#error401 for more info."}"#;
const BLOCKED: &str = r#"{"cod":429, "message": "Your account is temporary blocked due to exceeding of requests limitation of your subscription type. Please choose the proper subscription https://openweathermap.org/price"}"#;
const GATEWAY_PAGE: &str = "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body>\r\n\
    <center><h1>504 Gateway Time-out</h1></center>\r\n<hr><center>openresty</center>\r\n</body>\r\n";

/// A status and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    content_type: &'static str,
    body: Cow<'static, str>,
    /// Whether the connection ends with it.
    close: bool,
}

impl Reply {
    fn fixed(status: u16, body: &'static str) -> Self {
        Self { status, content_type: JSON, body: body.into(), close: false }
    }

    pub(crate) fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_string(value).expect("own structs of numbers and texts are always JSON");
        Self { status, content_type: JSON, body: body.into(), close: false }
    }

    pub(crate) fn bad_key() -> Self {
        Self::fixed(401, BAD_KEY)
    }

    pub(crate) fn blocked() -> Self {
        Self::fixed(429, BLOCKED)
    }

    pub(crate) fn city_not_found() -> Self {
        Self::fixed(404, r#"{"cod":"404","message":"city not found"}"#)
    }

    pub(crate) fn zip_not_found() -> Self {
        Self::fixed(404, r#"{"cod":"404","message":"not found"}"#)
    }

    pub(crate) fn nothing_to_geocode() -> Self {
        Self::fixed(400, r#"{"cod":"400","message":"Nothing to geocode"}"#)
    }

    pub(crate) fn wrong_latitude() -> Self {
        Self::fixed(400, r#"{"cod":"400","message":"wrong latitude"}"#)
    }

    pub(crate) fn wrong_longitude() -> Self {
        Self::fixed(400, r#"{"cod":"400","message":"wrong longitude"}"#)
    }

    pub(crate) fn invalid_id() -> Self {
        Self::fixed(400, r#"{"cod":"400","message":"Invalid ID"}"#)
    }

    /// A gateway's page, under any status.
    pub(crate) fn gateway_page(status: u16) -> Self {
        Self { status, content_type: HTML, body: GATEWAY_PAGE.into(), close: false }
    }

    /// The body that goes with a status set by `/sim/faults`.
    pub(crate) fn fault(status: u16) -> Self {
        match status {
            400 => Self::nothing_to_geocode(),
            401 => Self::bad_key(),
            404 => Self::city_not_found(),
            429 => Self::blocked(),
            504 => Self::gateway_page(504),
            _ => Self::json(status, &Fault { cod: status, message: "Internal error" }),
        }
    }

    /// The same, with the connection closed after it.
    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }
}

#[derive(Serialize)]
struct Fault {
    cod: u16,
    message: &'static str,
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let status = StatusCode::try_from(reply.status).unwrap_or(StatusCode::InternalServerError);
        let body = match reply.body {
            Cow::Borrowed(text) => tide::Body::from(text),
            Cow::Owned(text) => tide::Body::from(text),
        };
        let mut response = Response::builder(status).body(body).build();
        // Not as a `Mime`: that would drop the space upstream sends.
        response.insert_header(CONTENT_TYPE, reply.content_type);
        if reply.close {
            response.insert_header(CONNECTION, "close");
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closing_reply_ends_the_connection() {
        let connection = |reply: Reply| {
            let response = Response::from(reply);
            (u16::from(response.status()), response.header(CONNECTION).map(|value| value.as_str().to_owned()))
        };
        assert_eq!(connection(Reply::gateway_page(504)), (504, None));
        assert_eq!(connection(Reply::gateway_page(504).closing()), (504, Some("close".into())));
    }
}
