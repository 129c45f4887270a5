//! The pages. Each is a pure function of what was typed, what was answered and `now`.

pub mod failure;
pub mod form;
mod format;
pub mod icon;
pub mod result;

use bramble_look::Site;
use maud::html;

/// The frame of every page here.
pub const SITE: Site = Site {
    motto: "Weather by postal code",
    is_broad: false,
    back: "New search",
    footer: || {
        html! {
            "Found, asked and answered on the local network. Weather data by "
            a href="https://openweathermap.org/" { "OpenWeather" } "; simulated in the demo."
        }
    },
};
