//! The weather, drawn. Our own pictures for the weather service's icon codes: no outside asset, and colours that
//! follow the page's, light or dark. A picture never stands alone: the words are beside it, so it is hidden from
//! screen readers.

use bramble_weather::Source;
use maud::{Markup, PreEscaped, html};

const SUN: &str = r#"<g class="sun"><circle cx="32" cy="32" r="11.5"/><path d="M32 8v7M32 49v7M8 32h7M49 32h7M15 15l5 5M44 44l5 5M49 15l-5 5M20 44l-5 5"/></g>"#;
const MOON: &str = r#"<path class="moon" d="M36.5 10.5a22 22 0 1 0 17.8 30.4A18.5 18.5 0 0 1 36.5 10.5z"/><path class="star" d="M48 12l1.5 4 4 1.5-4 1.5-1.5 4-1.5-4-4-1.5 4-1.5zM55 27l.9 2.4 2.4.9-2.4.9-.9 2.4-.9-2.4-2.4-.9 2.4-.9z"/>"#;
/// Sun and moon where they look out from behind a cloud.
const SUN_BEHIND: &str = r#"<g class="sun"><circle cx="43" cy="21" r="10"/><path d="M43 2.5V6M60.5 21h1.5M56 8l-2.5 2.5M30 8l2.5 2.5M56 34l-2.5-2.5"/></g>"#;
const MOON_BEHIND: &str =
    r#"<path class="moon" d="M37 6.4a14 14 0 1 1 0 24.2 15 15 0 0 0 0-24.2z" transform="rotate(-28 44 18.5)"/>"#;
const CLOUD: &str =
    r#"<path class="cloud" d="M17 52a11 11 0 0 1-1.4-21.9 15.5 15.5 0 0 1 29.6-2.4A12.2 12.2 0 0 1 45.5 52z"/>"#;
/// The cloud, smaller, where sun or moon look out from behind it.
const CLOUD_SMALL: &str = r#"<path class="cloud" transform="translate(0 8.5) scale(.87)" d="M17 52a11 11 0 0 1-1.4-21.9 15.5 15.5 0 0 1 29.6-2.4A12.2 12.2 0 0 1 45.5 52z"/>"#;
/// The same, higher.
const CLOUD_SMALL_HIGH: &str = r#"<path class="cloud" transform="scale(.87)" d="M17 52a11 11 0 0 1-1.4-21.9 15.5 15.5 0 0 1 29.6-2.4A12.2 12.2 0 0 1 45.5 52z"/>"#;
/// The cloud, higher, where something falls from it.
const CLOUD_HIGH: &str =
    r#"<path class="cloud" d="M17 42a11 11 0 0 1-1.4-21.9 15.5 15.5 0 0 1 29.6-2.4A12.2 12.2 0 0 1 45.5 42z"/>"#;
const CLOUD_BEHIND: &str =
    r#"<path class="cloud dim" d="M34 34a9 9 0 0 1 .2-18 12 12 0 0 1 21.6 2A8 8 0 0 1 55 34z"/>"#;
const SHOWER: &str = r#"<path class="rain" d="M17 47l-2.5 6M26 47l-2.5 6M35 47l-2.5 6M44 47l-2.5 6M20 56l-1.5 4M29 56l-1.5 4M38 56l-1.5 4"/>"#;
const RAIN: &str = r#"<path class="rain" d="M17 50l-3.5 9M28 50l-3.5 9M39 50l-3.5 9"/>"#;
const BOLT: &str = r#"<path class="bolt" d="M33 36l-11 14h8l-4 11 13-15h-8l5-10z"/>"#;
const SNOW: &str = r#"<path class="snow" d="M19 46v8M15.5 48l7 4M22.5 48l-7 4M42 46v8M38.5 48l7 4M45.5 48l-7 4M30.5 53v8M27 55l7 4M34 55l-7 4"/>"#;
const MIST: &str = r#"<path class="mist" d="M14 18h30M22 27h32M10 36h36M20 45h32M16 54h24"/>"#;
/// For a code we do not know: a thermometer, which claims no weather.
const NEUTRAL: &str = r#"<g class="neutral"><path d="M32 8a6 6 0 0 0-6 6v23.5a11 11 0 1 0 12 0V14a6 6 0 0 0-6-6z"/><circle cx="32" cy="46" r="5"/><path d="M32 46V24"/></g>"#;

/// An icon code, read: its number and whether it is night.
fn read(code: &str) -> Option<(&str, bool)> {
    let (kind, night) = match code.strip_suffix('n') {
        Some(kind) => (kind, true),
        None => (code.strip_suffix('d')?, false),
    };
    matches!(kind, "01" | "02" | "03" | "04" | "09" | "10" | "11" | "13" | "50").then_some((kind, night))
}

/// The picture for an icon code; a neutral one for a code that is absent or unknown.
pub fn draw(code: Option<&str>) -> Markup {
    let parts: &[&str] = match code.and_then(read) {
        Some(("01", false)) => &[SUN],
        Some(("01", true)) => &[MOON],
        Some(("02", false)) => &[SUN_BEHIND, CLOUD_SMALL],
        Some(("02", true)) => &[MOON_BEHIND, CLOUD_SMALL],
        Some(("03", _)) => &[CLOUD],
        Some(("04", _)) => &[CLOUD_BEHIND, CLOUD],
        Some(("09", _)) => &[CLOUD_HIGH, SHOWER],
        Some(("10", false)) => &[SUN_BEHIND, CLOUD_SMALL_HIGH, RAIN],
        Some(("10", true)) => &[MOON_BEHIND, CLOUD_SMALL_HIGH, RAIN],
        Some(("11", _)) => &[CLOUD_HIGH, BOLT],
        Some(("13", _)) => &[CLOUD_HIGH, SNOW],
        Some(("50", _)) => &[MIST],
        _ => &[NEUTRAL],
    };
    html! {
        svg.icon viewBox="0 0 64 64" aria-hidden="true" focusable="false" {
            @for part in parts { (PreEscaped(part)) }
        }
    }
}

/// Meaning of an icon code, in words.
pub fn words(code: &str) -> Option<&'static str> {
    Some(match read(code)?.0 {
        "01" => "clear sky",
        "02" => "few clouds",
        "03" => "scattered clouds",
        "04" => "overcast",
        "09" => "showers",
        "10" => "rain",
        "11" => "thunderstorm",
        "13" => "snow",
        _ => "mist",
    })
}

/// The class of the sky behind the picture.
pub(super) fn sky(code: Option<&str>) -> &'static str {
    match code.and_then(read) {
        Some((_, true)) => "night",
        Some(("01" | "02", _)) => "clear",
        Some(("09" | "10" | "11", _)) => "wet",
        Some(("13", _)) => "white",
        Some(_) => "grey",
        None => "plain",
    }
}

/// How new a report is, as a shape: a disc, a ring, a triangle, a crossed-out ring.
pub(super) fn shape(source: Source) -> Markup {
    small(match source {
        Source::Live => r#"<circle cx="8" cy="8" r="6"/>"#,
        Source::Cache => r#"<circle class="line thick" cx="8" cy="8" r="5"/>"#,
        Source::Stale => r#"<path fill-rule="evenodd" d="M8 1l7.5 14H.5zM7 6v4.5h2V6zM7 11.5v2h2v-2z"/>"#,
        Source::Empty => r#"<g class="line"><circle cx="8" cy="8" r="5.5"/><path d="M4 12l8-8"/></g>"#,
    })
}

/// Icon of a failure.
pub(super) fn cross() -> Markup {
    small(r#"<path fill-rule="evenodd" d="M5 1h6l4 4v6l-4 4H5l-4-4V5zM7 4v5h2V4zM7 10v2h2v-2z"/>"#)
}

/// No weather: an empty cloud.
pub(super) fn no_weather() -> Markup {
    html! {
        svg.icon viewBox="0 0 64 64" aria-hidden="true" focusable="false" {
            (PreEscaped(r#"<path class="outline" d="M17 52a11 11 0 0 1-1.4-21.9 15.5 15.5 0 0 1 29.6-2.4A12.2 12.2 0 0 1 45.5 52z"/>"#))
        }
    }
}

fn small(inner: &str) -> Markup {
    html! { svg.shape viewBox="0 0 16 16" aria-hidden="true" focusable="false" { (PreEscaped(inner)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_picture_words_and_a_sky() {
        let neutral = draw(None).into_string();
        for kind in ["01", "02", "03", "04", "09", "10", "11", "13", "50"] {
            for time in ["d", "n"] {
                let code = format!("{kind}{time}");
                assert_ne!(draw(Some(&code)).into_string(), neutral, "{code}");
                assert!(words(&code).is_some(), "{code}");
                assert_ne!(sky(Some(&code)), "plain", "{code}");
            }
        }
    }

    #[test]
    fn what_looks_different_is_drawn_differently() {
        let codes = ["01d", "01n", "02d", "02n", "03d", "04d", "09d", "10d", "10n", "11d", "13d", "50d"];
        let drawn: std::collections::HashSet<_> = codes.iter().map(|code| draw(Some(code)).into_string()).collect();
        assert_eq!(drawn.len(), codes.len());
    }

    #[test]
    fn an_unknown_code_is_neutral() {
        let neutral = draw(None).into_string();
        for code in ["", "d", "n", "01", "99d", "01x", "1d", "é", "01dn", "<b>"] {
            assert_eq!(draw(Some(code)).into_string(), neutral, "{code}");
            assert_eq!((words(code), sky(Some(code))), (None, "plain"), "{code}");
        }
    }
}
