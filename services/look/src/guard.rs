//! What holds for every answer is said in one place, so that no page can forget it.

use tide::http::headers::{ALLOW, CACHE_CONTROL};
use tide::http::mime;
use tide::{Middleware, Next, Request, Response, StatusCode};

use crate::{Site, plain};

/// Sent with every answer. Pages have no inline script and no inline style, so the strictest policy costs nothing. An address
/// holds a place, so no other site learns it; `no-referrer` would hide it from the site itself too, and browsers then
/// send `Origin: null` with its forms (Fetch, 3.2).
const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Adds the security headers, and a page where the router has only a status.
pub(crate) struct Guard(pub(crate) &'static Site);

#[async_trait::async_trait]
impl<S: Clone + Send + Sync + 'static> Middleware<S> for Guard {
    async fn handle(&self, request: Request<S>, next: Next<'_, S>) -> tide::Result {
        let mut response = next.run(request).await;
        if response.is_empty() == Some(true) {
            speak(self.0, &mut response);
        }
        for (name, value) in HEADERS {
            response.insert_header(name, value);
        }
        Ok(response)
    }
}

/// Gives a bare error status its page.
fn speak(site: &Site, response: &mut Response) {
    let page = match response.status() {
        StatusCode::NotFound => plain::no_such_page(site),
        StatusCode::MethodNotAllowed => {
            response.insert_header(ALLOW, "GET, HEAD");
            plain::wrong_method(site)
        }
        StatusCode::InternalServerError => plain::broken(site),
        _ => return,
    };
    response.set_body(page.into_string());
    response.set_content_type(mime::HTML);
    response.insert_header(CACHE_CONTROL, "no-store");
}
