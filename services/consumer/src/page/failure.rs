//! Pages of failures: what failed, the weather service or the producers here, and when to try again.

use bramble_weather::{ApiError, Code, Query};
use maud::{Markup, html};

use super::{SITE, form, icon, result};
use crate::input::Typed;

/// Longest sentence of another service that is repeated; more is not meant for a person.
const REPEATED: usize = 300;

/// Texts of a page of failure.
struct Words {
    heading: &'static str,
    happened: Markup,
    advice: Markup,
}

/// The page for a question that could not be answered.
pub fn page(typed: &Typed, query: &Query, error: &ApiError) -> Markup {
    let Words { heading, happened, advice } = words(query, error);
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
                @if !said.is_empty() { p.fine { "In detail: " q dir="auto" { (said.get(..end).unwrap_or_default()) } } }
                p.fine { "Status " (error.code.status()) }
            }
            @if error.code == Code::UnknownPlace { (form::fields(typed, &[])) }
        },
    )
}

fn words(query: &Query, error: &ApiError) -> Words {
    let place = result::name_of(query);
    let again = again(error);
    match error.code {
        Code::UnknownPlace => Words {
            heading: "No such place",
            happened: html! { "The weather service knows no place " strong { (place) } "." },
            advice: html! { "Check the postal code, and whether the country is the right one. Then search again." },
        },
        Code::RateLimited => Words {
            heading: "Too many questions",
            happened: html! { "The weather service allows a limited number of questions, and they have been asked." },
            advice: html! { (again) ". Nothing is wrong with what you typed." },
        },
        Code::UpstreamRejected => Words {
            heading: "The weather service refused us",
            happened: html! { "It does not accept the key of this cluster, so there is no weather for " (place) "." },
            advice: html! {
                "Trying again does not help. The operator of this cluster has to give its producers a valid key ("
                code { "api_key_file" } ")."
            },
        },
        Code::UpstreamUnavailable => Words {
            heading: "The weather service is down",
            happened: html! { "It gives no weather for " (place) " at the moment. The producers on this network are running." },
            advice: html! { (again) ". Places that were asked for in the last minutes are still answered." },
        },
        Code::UpstreamTimeout => Words {
            heading: "The weather service is slow",
            happened: html! { "It has not sent the weather for " (place) " in time." },
            advice: html! { (again) ". If its answer has arrived by then, you get it at once." },
        },
        Code::Overloaded => Words {
            heading: "Busy at the moment",
            happened: html! { "The producers on this network have no room for another question." },
            advice: html! { (again) ". Nothing is wrong with what you typed." },
        },
        Code::Starting => Words {
            heading: "Not ready yet",
            happened: html! { "The producers on this network have just started and cannot ask the weather service yet." },
            advice: html! { (again) "." },
        },
        Code::Unavailable | Code::Forbidden | Code::InvalidZip | Code::InvalidCountry | Code::NotCached => Words {
            heading: "No weather available now",
            happened: html! { "No producer on this network answered, so there is no weather for " (place) "." },
            advice: html! { (again) ". A producer that comes back is found by itself." },
        },
    }
}

/// "Try again in 3 seconds", with the time that is left; without one, "Try again later".
fn again(error: &ApiError) -> String {
    match error.retry_after_s() {
        Some(1) => "Try again in 1 second".into(),
        Some(seconds @ ..120) => format!("Try again in {seconds} seconds"),
        Some(seconds) => format!("Try again in {} minutes", seconds.div_ceil(60)),
        None => "Try again later".into(),
    }
}
