use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// Temperature, feels like, humidity, pressure, wind.
type Numbers = [Option<f64>; 5];

/// File, place, first condition, its icon, numbers, and when; units are those of the capture.
type ExpectedWeather = (&'static str, Option<&'static str>, &'static str, &'static str, Numbers, u64);

#[rustfmt::skip]
const UNDERSTOOD: [ExpectedWeather; 32] = [
    ("ok/01-york-2013-global-stations.json", Some("York"), "light rain", "10n", [Some(9.98), None, Some(91.0), Some(1010.0), Some(5.65)], 1381694298),
    ("ok/04-new-york-2013-gdps.json", Some("New York"), "scattered clouds", "03n", [Some(294.19), None, Some(86.0), Some(980.9), Some(1.6)], 1377828463),
    ("ok/07-minsk-2013-gdps-snow3h.json", Some("Minsk"), "broken clouds", "04d", [Some(273.15), None, Some(86.0), Some(1009.0), Some(6.68)], 1385890221),
    ("ok/10-wakefield-2014-gdps-snow3h.json", Some("Wakefield"), "light snow", "13d", [Some(262.66), None, Some(86.0), Some(1028.374), Some(1.0)], 1389364571),
    ("ok/13-noginsk-2016-cmc-gust.json", Some("Noginsk"), "broken clouds", "04n", [Some(280.03), None, Some(83.0), Some(1006.0), Some(3.08)], 1465156452),
    ("ok/16-tokyo-2014-cmc.json", Some("Tokyo"), "overcast clouds", "04n", [Some(287.15), None, Some(82.0), Some(1029.0), Some(2.1)], 1415447880),
    ("ok/19-boulder-2014-empty-name-imperial.json", None, "Sky is Clear", "01d", [Some(53.22), None, Some(16.0), Some(1015.0), Some(5.55)], 1395782415),
    ("ok/22-changping-2016-empty-rain.json", Some("Changping"), "clear sky", "01n", [Some(302.04), None, Some(42.0), Some(997.0), Some(0.76)], 1465998776),
    ("ok/25-berlin-koepenick-2015-pyrepr.json", Some("Berlin Koepenick"), "Sky is Clear", "01n", [Some(283.39), None, Some(70.0), Some(1004.0), Some(3.6)], 1427327222),
    ("ok/28-finn-hill-2017-visibility-16093.json", Some("Inglewood-Finn Hill"), "overcast clouds", "04d", [Some(289.27), None, Some(87.0), Some(1015.0), Some(2.6)], 1498490280),
    ("ok/31-langli-2017-integer-temps.json", Some("Langli"), "overcast clouds", "04d", [Some(21.0), None, Some(77.0), Some(1010.0), Some(10.0)], 1495519200),
    ("ok/34-brixton-2018-two-conditions-no-deg.json", Some("Brixton"), "mist", "50n", [Some(13.87), None, Some(93.0), Some(1014.0), Some(1.5)], 1539629400),
    ("ok/37-saint-petersburg-2018-ru-integer.json", Some("Saint Petersburg"), "пасмурно", "04d", [Some(10.0), None, Some(81.0), Some(1018.0), Some(6.0)], 1541250000),
    ("ok/40-indian-ocean-2018-empty-name.json", None, "overcast clouds", "04d", [Some(300.269), None, Some(100.0), Some(1024.22), Some(6.25)], 1541328238),
    ("ok/43-kherson-2019-temp7.json", Some("Kherson"), "broken clouds", "04d", [Some(7.0), None, Some(75.0), Some(1007.0), Some(5.0)], 1549956600),
    ("ok/46-palermo-co-2019-no-deg-integer.json", Some("Palermo"), "few clouds", "02n", [Some(34.0), None, Some(38.0), Some(1007.0), Some(1.5)], 1570490083),
    ("ok/49-berlin-2019-empty-rain-metric.json", Some("Berlin"), "broken clouds", "04n", [Some(6.65), None, Some(93.0), Some(1008.0), Some(3.6)], 1573317480),
    ("ok/52-franklin-2019-zip-id0-rain1h.json", Some("Franklin"), "light rain", "10d", [Some(286.68), None, Some(33.0), Some(1019.0), Some(5.7)], 1574883051),
    ("ok/55-laguna-blanca-2020-base-model.json", Some("Laguna Blanca"), "overcast clouds", "04d", [Some(295.18), Some(295.06), Some(79.0), Some(1009.0), Some(4.29)], 1579785089),
    ("ok/58-wawa-2020-no-visibility.json", Some("Wawa"), "broken clouds", "04d", [Some(306.22), Some(308.26), Some(43.0), Some(1012.0), Some(1.57)], 1590744022),
    ("ok/61-karaganda-2020-minus7-snow1h.json", Some("Karaganda"), "shower snow", "13n", [Some(-7.0), Some(-16.43), Some(73.0), Some(1012.0), Some(9.0)], 1608401435),
    ("ok/64-kyiv-2021-snow-under-clouds.json", Some("Kyiv"), "broken clouds", "04n", [Some(268.15), Some(261.24), Some(93.0), Some(1007.0), Some(6.0)], 1612202015),
    ("ok/67-gulf-of-guinea-2021-empty-name.json", None, "clear sky", "01d", [Some(301.01), Some(303.67), Some(71.0), Some(1011.0), Some(3.5)], 1620744849),
    ("ok/70-kharkiv-2022-uk-fog-snow.json", Some("Kharkiv"), "туман", "50n", [Some(-0.01), Some(-4.3), Some(100.0), Some(1005.0), Some(4.0)], 1641353924),
    ("ok/73-corvallis-2022-calm-imperial.json", Some("Corvallis"), "overcast clouds", "04n", [Some(45.77), Some(43.84), Some(88.0), Some(1026.0), Some(0.0)], 1642217300),
    ("ok/76-tokyo-2022-ja-rain.json", Some("東京都"), "適度な雨", "10d", [Some(20.4), Some(20.01), Some(58.0), Some(1020.0), Some(3.09)], 1650511541),
    ("ok/79-seoul-2022.json", Some("Seoul"), "overcast clouds", "04d", [Some(270.81), Some(267.4), Some(18.0), Some(1031.0), Some(2.46)], 1670206443),
    ("ok/82-machang-2022-grnd-561.json", Some("Machang"), "overcast clouds", "04n", [Some(6.64), Some(-2.22), Some(21.0), Some(1016.0), Some(4.65)], 1671477417),
    ("ok/85-labrador-sea-2023-empty-name.json", None, "overcast clouds", "04d", [Some(277.02), Some(277.02), Some(75.0), Some(1020.0), Some(0.72)], 1696015048),
    ("ok/88-antarctica-2024-empty-name.json", None, "scattered clouds", "03d", [Some(258.96), Some(251.96), Some(77.0), Some(986.0), Some(4.98)], 1706959295),
    ("ok/91-tokyo-2024-ja-kelvin.json", Some("東京都"), "雲", "03d", [Some(298.68), Some(298.91), Some(62.0), Some(1013.0), Some(9.77)], 1727074026),
    ("ok/94-globe-2026-kelvin.json", Some("Globe"), "overcast clouds", "04d", [Some(300.24), Some(302.43), Some(73.0), Some(1010.0), Some(2.91)], 1768396543),
];

const LIMITED: UpstreamError = UpstreamError::RateLimited { retry_after: None };

/// File, status it came under, and the error it is.
const REFUSED: [(&str, u16, UpstreamError); 18] = [
    ("errors/01-401-invalid-key-http-link.txt", 401, UpstreamError::BadKey),
    ("errors/03-401-invalid-key-pretty.txt", 401, UpstreamError::BadKey),
    ("errors/03-401-invalid-key-pretty.txt", 200, UpstreamError::BadKey),
    ("errors/05-404-city-not-found.txt", 404, UpstreamError::NotFound),
    ("errors/07-404-old-error-not-found-city-message-first.txt", 404, UpstreamError::NotFound),
    ("errors/07-404-old-error-not-found-city-message-first.txt", 200, UpstreamError::NotFound),
    ("errors/09-200-cod502-not-found-city.txt", 200, UpstreamError::NotFound),
    ("errors/11-400-nothing-to-geocode.txt", 400, UpstreamError::BadQuestion),
    ("errors/13-400-wrong-longitude.txt", 400, UpstreamError::BadQuestion),
    ("errors/15-400-invalid-id.txt", 400, UpstreamError::BadQuestion),
    ("errors/17-429-blocked-https.txt", 429, LIMITED),
    ("errors/19-429-blocked-pretty.txt", 429, LIMITED),
    ("errors/21-000-empty-body.txt", 200, UpstreamError::Unusable { status: 200, what: Unusable::Empty }),
    ("errors/21-000-empty-body.txt", 500, UpstreamError::Failed { status: 500 }),
    ("errors/23-504-openresty-html-NOT-OWM.txt", 504, UpstreamError::Failed { status: 504 }),
    ("geo/01-zip-28105-county-name.json", 200, UpstreamError::Unusable { status: 200, what: Unusable::NoWeather }),
    ("geo/03-zip-90210-beverly-hills.json", 200, UpstreamError::Unusable { status: 200, what: Unusable::NoWeather }),
    ("geo/05-zip-404-not-found.json", 404, UpstreamError::NotFound),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn body(file: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(file)).expect("a captured body")
}

/// The first column of INDEX.tsv, and the second where it is a number.
fn index() -> Vec<(String, Option<u16>)> {
    let index = std::fs::read_to_string(fixtures().join("INDEX.tsv")).expect("the index");
    let row = |line: &str| {
        let mut columns = line.split('\t');
        let file = columns.next().expect("a file").to_owned();
        let status = columns.next().and_then(|status| status.split(' ').next()).and_then(|status| status.parse().ok());
        (file, status)
    };
    index.lines().skip(1).map(row).collect()
}

#[test]
fn every_captured_answer_is_understood() {
    for (file, city, description, icon, numbers, dt) in UNDERSTOOD {
        let [temperature_c, feels_like_c, humidity_pct, pressure_hpa, wind_mps] = numbers;
        let expected = Observation {
            city: city.map(Into::into),
            description: Some(description.into()),
            icon: Some(icon.into()),
            temperature_c,
            feels_like_c,
            humidity_pct,
            pressure_hpa,
            wind_mps,
            observed_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(dt)),
        };
        assert_eq!(parse(200, &body(file)), Ok(expected), "{file}");
    }
}

#[test]
fn every_captured_error_is_named() {
    for (file, status, error) in REFUSED {
        assert_eq!(parse(status, &body(file)), Err(error), "{file} under {status}");
    }
}

#[test]
fn no_captured_body_is_left_out() {
    let index = index();
    assert_eq!(index.len(), 47);
    let asserted: BTreeSet<_> = UNDERSTOOD
        .iter()
        .map(|row| (row.0, 200))
        .chain(REFUSED.iter().map(|(file, status, _)| (*file, *status)))
        .collect();
    for (file, status) in &index {
        let known = match status {
            Some(status) => asserted.contains(&(file.as_str(), *status)),
            None => asserted.iter().any(|(known, _)| known == file),
        };
        assert!(known, "{file} under {status:?}");
    }
    let listed: BTreeSet<_> = index.into_iter().map(|(file, _)| file).collect();
    let on_disk: BTreeSet<_> = ["ok", "errors", "geo"]
        .iter()
        .flat_map(|folder| {
            let files = std::fs::read_dir(fixtures().join(folder)).expect("a folder");
            files.map(move |file| format!("{folder}/{}", file.expect("a file").file_name().to_string_lossy()))
        })
        .collect();
    assert_eq!(listed, on_disk);
}

#[test]
fn a_404_about_the_path_is_no_unknown_place() {
    let what = Unusable::Status;
    let wrong_path = br#"{"cod":"404","message":"Internal error"}"#;
    assert_eq!(parse(404, wrong_path), Err(UpstreamError::Unusable { status: 404, what }));
    let gateway = br#"{"message":"Not Found","status":404}"#;
    assert_eq!(parse(404, gateway), Err(UpstreamError::Unusable { status: 404, what }));
    assert_eq!(parse(400, br#"{"error":"x"}"#), Err(UpstreamError::Unusable { status: 400, what }));
    let page = b"<html><h1>404 Not Found</h1></html>";
    assert_eq!(parse(404, page), Err(UpstreamError::Unusable { status: 404, what: Unusable::NotJson }));
}

#[test]
fn a_status_counts_without_a_readable_body() {
    for body in [&b""[..], b"<html>", b"null", b"[]", br#"{"cod":"#] {
        assert_eq!(parse(401, body), Err(UpstreamError::BadKey));
        assert_eq!(parse(429, body), Err(LIMITED));
        assert_eq!(parse(503, body), Err(UpstreamError::Failed { status: 503 }));
        assert!(matches!(parse(200, body), Err(UpstreamError::Unusable { status: 200, .. })), "{body:?}");
    }
    assert_eq!(parse(503, &body("ok/79-seoul-2022.json")), Err(UpstreamError::Failed { status: 503 }));
    assert_eq!(parse(200, br#"{"cod":500,"message":"x"}"#), Err(UpstreamError::Failed { status: 500 }));
}

#[test]
fn what_is_absurd_is_unknown_and_the_rest_counts() {
    let main = |main: &str| {
        let body = format!(r#"{{"weather":[{{"description":"mist","icon":"50d"}}],"main":{main},"cod":"200"}}"#);
        parse(200, body.as_bytes())
    };
    let nothing = Observation { description: Some("mist".into()), icon: Some("50d".into()), ..Default::default() };
    for absurd in [
        r#"{"temp":"7","humidity":-1,"pressure":1e300}"#,
        r#"{"temp":1e20,"humidity":101,"pressure":0}"#,
        r#"{"temp":null,"humidity":[81],"pressure":true}"#,
        "{}",
        "[]",
        "7",
    ] {
        assert_eq!(main(absurd), Ok(nothing.clone()), "{absurd}");
    }
    assert!(main(r#"{"temp":1e999}"#).is_err(), "no number of JSON's reader");
    assert!(main(r#"{"temp":NaN}"#).is_err());
    let whole = main(r#"{"temp":"7","humidity":81}"#).expect("humidity is fine");
    assert_eq!((whole.temperature_c, whole.humidity_pct), (None, Some(81.0)));
}

#[test]
fn zero_has_no_sign() {
    let zero = parse(200, br#"{"main":{"temp":-0.0}}"#).expect("a temperature").temperature_c.expect("zero");
    assert!(zero.is_sign_positive());
}

#[test]
fn texts_are_bounded_and_plain() {
    let body = |name: &str| format!(r#"{{"name":"{name}","main":{{"temp":1}},"dt":-5}}"#);
    let city = |name: &str| parse(200, body(name).as_bytes()).expect("a temperature").city;
    assert_eq!(city(&"ü".repeat(5000)), Some("ü".repeat(100)));
    assert_eq!(city("  a\\u0000b\\u001b[31m\\n "), Some("ab[31m".into()));
    assert_eq!(city("   "), None);
    assert_eq!(parse(200, body("x").as_bytes()).expect("a temperature").observed_at, None);
}

#[test]
fn an_answer_without_weather_is_refused() {
    for body in [&b"{}"[..], br#"{"cod":200,"name":"Here"}"#, br#"{"main":{},"weather":[]}"#] {
        assert_eq!(parse(200, body), Err(UpstreamError::Unusable { status: 200, what: Unusable::NoWeather }));
    }
    let huge = vec![b' '; MAX_BODY + 1];
    assert_eq!(parse(200, &huge), Err(UpstreamError::Unusable { status: 200, what: Unusable::TooLarge }));
}

#[test]
fn every_observation_reads_back_from_its_json_as_it_was() {
    for (file, ..) in UNDERSTOOD {
        let observation = parse(200, &body(file)).expect("an observation");
        let json = serde_json::to_string(&observation).expect("JSON");
        assert!(json.len() < 1024, "{json}");
        assert_eq!(serde_json::from_str::<Observation>(&json).expect("the same"), observation, "{file}");
    }
}

#[test]
fn json_of_another_hand_is_read_as_carefully_as_an_answer() {
    let read = |json: &str| serde_json::from_str::<Observation>(json);
    for nothing in ["{}", "[]", "7", "null", r#"{"city":"Nowhere"}"#, r#"{"temperature_c":1e9}"#, r#"{"wind_mps":"5"}"#]
    {
        assert!(read(nothing).is_err(), "{nothing}");
    }
    let long = "x".repeat(10_000);
    let json = format!(r#"{{"temperature_c":1.5,"humidity_pct":101,"icon":"<b>","city":"{long}","observed_at":-1}}"#);
    let observation = read(&json).expect("a temperature");
    assert_eq!(observation.city.as_ref().map(String::len), Some(MAX_TEXT));
    let expected = Observation { temperature_c: Some(1.5), city: observation.city.clone(), ..Observation::default() };
    assert_eq!(observation, expected);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(status, &body);
    }

    #[test]
    fn no_damage_to_a_captured_body_makes_it_panic_or_lie(
        which in 0..47_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = body(&index()[which].0);
        for (at, byte, kind) in damage {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
        if let Ok(observation) = parse(200, &bytes) {
            prop_assert!(!observation.is_empty());
            prop_assert!(observation.humidity_pct.is_none_or(|humidity| (0.0..=100.0).contains(&humidity)));
            prop_assert!(observation.city.is_none_or(|city| city.len() <= MAX_TEXT));
        }
    }

    #[test]
    fn no_number_becomes_anything_but_itself_or_unknown(temp in any::<f64>()) {
        let body = format!(r#"{{"main":{{"temp":{temp:e},"humidity":5}}}}"#);
        if let Ok(observation) = parse(200, body.as_bytes()) {
            // The reader may be off in the last bits, and takes the very small for zero.
            let near = |read: f64| (read - temp).abs() <= 1e-12 * temp.abs() + 1e-300;
            let same = |read: f64| near(read) && (-150.0..=400.0).contains(&read);
            prop_assert!(observation.temperature_c.is_none_or(same));
        }
    }
}
