//! How every page looks, and what every page's answer carries: one frame, one stylesheet, one set of headers.
//!
//! A service has one [`Site`]; [`Site::install`] adds to its routes what the pages are drawn with.

pub mod asset;
mod guard;
mod plain;
pub mod same_origin;

use maud::{DOCTYPE, Markup, html};
use tide::{Request, Response, StatusCode};

use asset::{FAVICON, STYLE};

/// Title, motto and links that the pages of one service share.
#[derive(Debug)]
pub struct Site {
    /// Purpose of the service, in a few words beside its name.
    pub motto: &'static str,
    /// Whether its pages use the whole width: tables need it, sentences are easier to read without.
    pub is_broad: bool,
    /// The words on the way back to its first page.
    pub back: &'static str,
    /// The last line of each page.
    pub footer: fn() -> Markup,
}

impl Site {
    /// A whole page. `title` says what the page says, in a few words; `main` has exactly one `h1`.
    pub fn page(&self, title: &str, main: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (title) " · Bramble" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="stylesheet" href=(STYLE.href());
                    link rel="icon" type="image/svg+xml" href=(FAVICON.href());
                }
                body.broad[self.is_broad] {
                    header.site {
                        a.brand href="/" { img src=(FAVICON.href()) alt="" width="32" height="32"; "Bramble" }
                        span.motto { (self.motto) }
                    }
                    main { (main) }
                    footer.site { p { ((self.footer)()) } }
                }
            }
        }
    }

    /// The answer with an error as a page: what happened, what to do, and a link to the first page.
    pub fn failure(&self, status: StatusCode, heading: &str, happened: &str, advice: &str) -> Response {
        answer(status, plain::page(self, heading, happened, advice, status.into()))
    }

    /// Adds the stylesheet and the icon to `app`, the security headers to each of its answers, those of routes added
    /// later too, and a page, or JSON under `/api/`, where the router has only a status.
    pub fn install<S: Clone + Send + Sync + 'static>(&'static self, app: &mut tide::Server<S>) {
        app.with(guard::Guard(self));
        for asset in [&STYLE, &FAVICON] {
            app.at(asset.path).get(move |request: Request<S>| async move { Ok(asset.answer(&request)) });
        }
    }
}

/// The answer that carries a page. Pages tell of this moment, so none is kept.
pub fn answer(status: StatusCode, page: Markup) -> Response {
    let response = Response::builder(status).body(page.into_string()).content_type(tide::http::mime::HTML);
    response.header(tide::http::headers::CACHE_CONTROL, "no-store").build()
}

#[cfg(test)]
mod tests;
