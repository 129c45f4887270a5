//! One page for each way to fail: what happened, what to do, and never a word that sounds like success.

use std::time::Duration;

use bramble_weather::{ApiError, Code, Query};
use maud::{Markup, html};

use super::{SITE, form, icon, result};
use crate::input::Typed;

/// Longest sentence of another service that is repeated; more is not meant for a person.
const REPEATED: usize = 300;

/// How long to wait before asking again; `None` where time alone changes nothing.
pub fn retry_after(code: Code) -> Option<Duration> {
    match code {
        Code::RateLimited => Some(Duration::from_secs(60)), // OpenWeatherMap counts by the minute
        Code::Unavailable => Some(Duration::from_secs(5)),  // a circuit's first `open_for`
        _ => None,
    }
}

/// What a page of failure says.
struct Words {
    heading: &'static str,
    happened: Markup,
    advice: Markup,
}

/// The page for a question that could not be answered.
pub fn page(typed: &Typed, query: &Query, error: &ApiError) -> Markup {
    let Words { heading, happened, advice } = words(query, error.code);
    let said = error.message.trim();
    let end = said.char_indices().nth(REPEATED).map_or(said.len(), |(at, _)| at);
    SITE.page(
        &format!("Error: {}", heading.to_lowercase()),
        &html! {
            section.card.failure {
                (icon::no_weather())
                h1 { (heading) }
                p.happened { (happened) }
                p { (advice) }
                @if error.code != Code::UnknownPlace {
                    p.actions {
                        @if error.code != Code::UpstreamRejected {
                            a.button href=(result::address(query)) { "Try again" }
                        }
                        a.button.quiet href="/" { "New search" }
                    }
                }
                @if !said.is_empty() { p.fine { "The answer was: " q dir="auto" { (said.get(..end).unwrap_or_default()) } } }
                p.fine { "Status " (error.code.status()) }
            }
            @if error.code == Code::UnknownPlace { (form::fields(typed, &[])) }
        },
    )
}

fn words(query: &Query, code: Code) -> Words {
    let place = result::name_of(query);
    match code {
        Code::UnknownPlace => Words {
            heading: "No such place",
            happened: html! { "The weather service knows no place " strong { (place) } "." },
            advice: html! { "Check the postal code, and whether the country is the right one. Then search again." },
        },
        Code::RateLimited => Words {
            heading: "Too many questions",
            happened: html! { "The weather service takes only so many questions a minute, and has had them." },
            advice: html! { "Wait a minute, then try again. Nothing is wrong with what you typed." },
        },
        Code::UpstreamRejected => Words {
            heading: "The weather service refused us",
            happened: html! { "It does not accept the key of this cluster, so there is no weather for " (place) "." },
            advice: html! {
                "Trying again does not help. Whoever runs this cluster has to give its producers a valid key ("
                code { "api_key_file" } ")."
            },
        },
        Code::DeadlineExceeded => Words {
            heading: "No answer in time",
            happened: html! { "We asked for the weather in " (place) ", but the answer took too long." },
            advice: html! { "Try again: another node may be faster." },
        },
        Code::Unavailable | Code::Forbidden | Code::InvalidZip | Code::InvalidCountry => Words {
            heading: "No weather available now",
            happened: html! { "Nobody could tell the weather in " (place) "." },
            advice: html! {
                "Either no producer is running on this network, or none can reach the weather service. "
                "Try again in a few seconds: a producer that comes back is found by itself."
            },
        },
    }
}
