//! The schema that captured bodies imply: every key with its types, which are always there, and their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::Value;

/// Keys that a body may have, in the order in which all captured ones have them. `sys.type` and `sys.id` are the
/// station's, which a simulation has none of.
const ORDER: &str = "coord lon lat weather id main description icon base main temp feels_like temp_min temp_max \
    pressure humidity sea_level grnd_level visibility wind speed deg gust rain 1h snow 1h clouds all dt sys type id \
    country sunrise sunset timezone id name cod";

const CAPTURED: [&str; 7] = [
    include_str!("../fixtures/55-laguna-blanca-2020-base-model.json"),
    include_str!("../fixtures/61-karaganda-2020-minus7-snow1h.json"),
    include_str!("../fixtures/76-tokyo-2022-ja-rain.json"),
    include_str!("../fixtures/79-seoul-2022.json"),
    include_str!("../fixtures/82-machang-2022-grnd-561.json"),
    include_str!("../fixtures/91-tokyo-2024-ja-kelvin.json"),
    include_str!("../fixtures/94-globe-2026-kelvin.json"),
];

#[derive(Debug, Default)]
struct Schema {
    /// Path to the JSON types seen there.
    types: BTreeMap<String, BTreeSet<&'static str>>,
    /// Paths that every captured body has.
    required: BTreeSet<String>,
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = Schema::default();
        for (index, text) in CAPTURED.into_iter().enumerate() {
            in_order(text);
            let mut found = BTreeMap::new();
            walk("", &serde_json::from_str(text).expect("captured JSON"), &mut found);
            let paths = found.keys().cloned().collect();
            schema.required = if index == 0 { paths } else { &schema.required & &paths };
            for (path, kind) in found {
                schema.types.entry(path).or_default().insert(kind);
            }
        }
        schema
    })
}

/// Panics unless a body could be a captured one.
pub(crate) fn check(text: &str) {
    let schema = schema();
    in_order(text);
    let mut found = BTreeMap::new();
    walk("", &serde_json::from_str(text).expect("JSON"), &mut found);
    for (path, kind) in &found {
        let types = schema.types.get(path).unwrap_or_else(|| panic!("{path} is in no captured body: {text}"));
        // A number that happens to be whole is written without a point, in captured bodies too.
        let known = types.contains(kind) || (*kind == "integer" && types.contains("number"));
        assert!(known, "{path} is {kind}, captured {types:?}: {text}");
    }
    for path in &schema.required {
        assert!(found.contains_key(path), "{path} is missing: {text}");
    }
    assert!(compact(text), "{text}");
}

/// No float that is whole, at most four decimals, no space between tokens.
fn compact(text: &str) -> bool {
    let outside: String = text.split('"').step_by(2).collect();
    let decimals = outside.split('.').skip(1).map(|tail| tail.bytes().take_while(u8::is_ascii_digit).count());
    !outside.contains(' ') && !outside.contains(".0,") && !outside.contains(".0}") && decimals.max() <= Some(4)
}

fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    found.insert(path.to_owned(), kind);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(&format!("{path}[]"), item, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, item)| walk(&format!("{path}.{key}"), item, found)),
        _ => {}
    }
}

/// The keys of a body as they stand in its text; no string in it may hold a quote.
pub(crate) fn keys(text: &str) -> Vec<&str> {
    let parts: Vec<_> = text.split('"').collect();
    parts
        .windows(2)
        .skip(1)
        .step_by(2)
        .filter(|pair| pair[1].trim_start().starts_with(':'))
        .map(|pair| pair[0])
        .collect()
}

fn in_order(text: &str) {
    let mut order = ORDER.split_whitespace();
    for key in keys(text) {
        assert!(order.any(|known| known == key), "{key} is out of order in {text}");
    }
}
