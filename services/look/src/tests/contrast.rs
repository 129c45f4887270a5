//! Ink on ground, computed as WCAG 2.2 has it, from the stylesheet itself.

use crate::asset;

const CSS: &str = include_str!("../style.css");

/// Foreground, background and least contrast; text needs 4.5:1, the edge of a field 3:1.
const PAIRS: [(&str, &str, f64); 19] = [
    ("ink", "ground", 4.5),
    ("ink", "card", 4.5),
    ("ink", "none-ground", 4.5),
    ("soft", "ground", 4.5),
    ("soft", "card", 4.5),
    ("accent", "ground", 4.5),
    ("accent", "card", 4.5),
    ("accent-deep", "ground", 4.5),
    ("accent-ink", "accent", 4.5),
    ("accent-ink", "accent-deep", 4.5),
    ("live", "live-ground", 4.5),
    ("cached", "cached-ground", 4.5),
    ("stale", "stale-ground", 4.5),
    ("error", "error-ground", 4.5),
    ("error", "card", 4.5),
    ("none", "none-ground", 4.5),
    ("field", "card", 3.0),
    ("field", "ground", 3.0),
    ("error", "ground", 3.0),
];

/// Relative luminance of `#abc` or `#aabbcc`.
fn luminance(hex: &str) -> f64 {
    let digits: Vec<f64> = hex
        .trim()
        .trim_start_matches('#')
        .chars()
        .map(|digit| f64::from(digit.to_digit(16).unwrap_or_else(|| panic!("no colour: {hex}"))))
        .collect();
    let channels: Vec<f64> = match digits.len() {
        3 => digits.iter().map(|digit| digit * 17.0).collect(),
        6 => digits.chunks(2).map(|pair| pair[0] * 16.0 + pair[1]).collect(),
        _ => panic!("no colour: {hex}"),
    };
    let linear = |value: f64| {
        let value = value / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(channels[0]) + 0.7152 * linear(channels[1]) + 0.0722 * linear(channels[2])
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// The value of a variable in a part of the stylesheet.
fn variable<'a>(css: &'a str, name: &str) -> &'a str {
    let (_, rest) = css.split_once(&format!("--{name}: ")).unwrap_or_else(|| panic!("no --{name}"));
    rest.split_once(';').expect("a declaration ends").0
}

#[test]
fn text_stands_out_in_light_and_dark() {
    assert!((contrast("#fff", "#000000") - 21.0).abs() < 1e-9);
    let (light, rest) = CSS.split_once("@media (prefers-color-scheme: dark)").expect("a dark scheme");
    let (dark, _) = rest.split_once("\n}\n").expect("its end");
    for (scheme, css) in [("light", light), ("dark", dark)] {
        for (ink, ground, least) in PAIRS {
            let ratio = contrast(variable(css, ink), variable(css, ground));
            assert!(ratio >= least, "{scheme}: {ink} on {ground} is {ratio:.2}:1");
        }
    }
}

#[test]
fn text_stands_out_on_every_sky() {
    let (light, dark) = CSS.rsplit_once("@media (prefers-color-scheme: dark)").expect("skies of the dark");
    let mut skies = 0;
    for (scheme, css) in [("light", light), ("dark", dark)] {
        let day = variable(css, "sky-ink");
        let (_, night) = light.split_once(".sky.night").expect("a night");
        for (at, _) in css.match_indices("linear-gradient(160deg, ") {
            let ink =
                if css[..at].trim_end().ends_with("night {\n  background:") { variable(night, "sky-ink") } else { day };
            for colour in css[at..].split([' ', ',', ')']).filter(|word| word.starts_with('#')).take(2) {
                let ratio = contrast(ink, colour);
                assert!(ratio >= 4.5, "{scheme}: {ink} on {colour} is {ratio:.2}:1");
                skies += 1;
            }
        }
    }
    assert_eq!(skies, 2 * (5 + 4), "each gradient has two ends");
}

#[test]
fn the_stylesheet_is_small() {
    assert!(CSS.len() <= 16_000, "{} bytes at {}", CSS.len(), asset::STYLE.path);
}
