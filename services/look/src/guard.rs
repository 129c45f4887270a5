//! Middleware for every answer: security headers and caching, in one place, so that no page can forget them.

use maud::Markup;
use tide::http::headers::{ALLOW, CACHE_CONTROL};
use tide::http::mime;
use tide::{Middleware, Next, Request, Response, StatusCode};

use crate::{Site, plain};

/// Sent with every answer. Pages have no inline script and no inline style, so the strictest policy costs nothing. An
/// address holds a place, so no other site learns it; `no-referrer` would hide it from the site itself too, and
/// browsers then send `Origin: null` with its forms (Fetch, 3.2).
const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Adds the security headers, and a page or JSON where the router has only a status.
pub(crate) struct Guard(pub(crate) &'static Site);

#[async_trait::async_trait]
impl<S: Clone + Send + Sync + 'static> Middleware<S> for Guard {
    async fn handle(&self, request: Request<S>, next: Next<'_, S>) -> tide::Result {
        let is_for_programs = is_for_programs(request.url().path());
        let mut response = next.run(request).await;
        if response.is_empty() == Some(true) {
            speak(self.0, is_for_programs, &mut response);
        }
        for (name, value) in HEADERS {
            response.insert_header(name, value);
        }
        Ok(response)
    }
}

/// Paths for programs besides `/api/`: see `bramble::serve`.
const MACHINE_PATHS: [&str; 7] =
    ["/healthz", "/readyz", "/metrics", "/circuits", "/hystrix.stream", "/instances", "/events"];

/// Whether errors of this path are JSON, as the contract has it.
fn is_for_programs(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/") || MACHINE_PATHS.contains(&path)
}

/// Gives a bare error status its page, or its JSON.
fn speak(site: &Site, is_for_programs: bool, response: &mut Response) {
    let (code, message, page): (_, _, fn(&Site) -> Markup) = match response.status() {
        StatusCode::NotFound => ("not_found", "There is nothing at this path.", plain::no_such_page),
        StatusCode::MethodNotAllowed => {
            response.insert_header(ALLOW, "GET, HEAD");
            ("method_not_allowed", "Only GET is answered here.", plain::wrong_method)
        }
        StatusCode::InternalServerError => ("internal", "It failed; its log says why.", plain::broken),
        _ => return,
    };
    if is_for_programs {
        response.set_body(format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#));
        response.set_content_type(mime::JSON);
    } else {
        response.set_body(page(site).into_string());
        response.set_content_type(mime::HTML);
    }
    response.insert_header(CACHE_CONTROL, "no-store");
}
