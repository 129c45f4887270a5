//! What all pages have in common: one frame, one heading, and a title that tells the state of the page.

use maud::{DOCTYPE, Markup, html};

use crate::asset::{FAVICON, STYLE};

/// A whole page. `title` says what the page says, in a few words; `main` has exactly one `h1`.
pub fn page(title: &str, main: &Markup) -> Markup {
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
            body {
                header.site {
                    a.brand href="/" { img src=(FAVICON.href()) alt="" width="32" height="32"; "Bramble" }
                    span.motto { "Weather by postal code" }
                }
                main { (main) }
                footer.site {
                    p { "Found, asked and answered on the local network. Weather data by "
                        a href="https://openweathermap.org/" { "OpenWeather" } "." }
                }
            }
        }
    }
}
