//! The bodies of answers: a parser of upstream's answers must not see a difference, down to the order of keys and to
//! numbers that are integers when they can be.

use serde::{Serialize, Serializer};

use crate::places::Place;
use crate::weather::{Language, Weather};

/// Units of measure by the parameter `units`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Units {
    /// Kelvin and m/s.
    #[default]
    Standard,
    /// °C and m/s.
    Metric,
    /// °F and miles an hour.
    Imperial,
}

impl Units {
    /// Upstream takes what it does not know for `standard`.
    pub(crate) fn from_param(units: &str) -> Self {
        match units.to_ascii_lowercase().as_str() {
            "metric" => Self::Metric,
            "imperial" => Self::Imperial,
            _ => Self::Standard,
        }
    }

    fn degrees(self, celsius: f64) -> Decimal<2> {
        Decimal(match self {
            Self::Standard => celsius + 273.15,
            Self::Metric => celsius,
            Self::Imperial => celsius * 1.8 + 32.0,
        })
    }

    fn speed(self, mps: f64) -> Decimal<2> {
        const MPH_IN_MPS: f64 = 0.447_04; // exact: 1609.344 m / 3600 s
        Decimal(if self == Self::Imperial { mps / MPH_IN_MPS } else { mps })
    }
}

/// A number with at most `N` decimals, written as an integer where it is one, and never `-0`.
#[derive(Debug, Clone, Copy)]
struct Decimal<const N: i32>(f64);

impl<const N: i32> Serialize for Decimal<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scale = 10_f64.powi(N);
        let rounded = (self.0 * scale).round() / scale;
        if rounded.fract() == 0.0 {
            serializer.serialize_i64(rounded as i64)
        } else {
            serializer.serialize_f64(rounded)
        }
    }
}

/// `GET /data/2.5/weather`.
#[derive(Debug, Serialize)]
pub(crate) struct Current<'a> {
    coord: Coord,
    weather: [ConditionBody; 1],
    base: &'static str,
    main: Main,
    visibility: u16,
    wind: Wind,
    #[serde(skip_serializing_if = "Option::is_none")]
    rain: Option<LastHour>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snow: Option<LastHour>,
    clouds: Clouds,
    dt: i64,
    sys: Sys<'a>,
    timezone: i32,
    id: u32,
    name: &'a str,
    cod: u16,
}

#[derive(Debug, Serialize)]
struct Coord {
    lon: Decimal<4>,
    lat: Decimal<4>,
}

#[derive(Debug, Serialize)]
struct ConditionBody {
    id: u16,
    main: &'static str,
    description: &'static str,
    icon: String,
}

#[derive(Debug, Serialize)]
struct Main {
    temp: Decimal<2>,
    feels_like: Decimal<2>,
    temp_min: Decimal<2>,
    temp_max: Decimal<2>,
    pressure: u16,
    humidity: u8,
    sea_level: u16,
    grnd_level: u16,
}

#[derive(Debug, Serialize)]
struct Wind {
    speed: Decimal<2>,
    deg: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    gust: Option<Decimal<2>>,
}

#[derive(Debug, Serialize)]
struct LastHour {
    #[serde(rename = "1h")]
    mm: Decimal<2>,
}

#[derive(Debug, Serialize)]
struct Clouds {
    all: u8,
}

#[derive(Debug, Serialize)]
struct Sys<'a> {
    country: &'a str,
    sunrise: i64,
    sunset: i64,
}

impl<'a> Current<'a> {
    pub(crate) fn new(place: &'a Place, weather: &Weather, units: Units, language: Language) -> Self {
        let (sunrise, sunset) = weather.sun.as_sent();
        let last_hour = |mm: f64| LastHour { mm: Decimal(mm) };
        Self {
            coord: Coord { lon: Decimal(place.lon()), lat: Decimal(place.lat()) },
            weather: [ConditionBody {
                id: weather.condition.id,
                main: weather.condition.main,
                description: weather.condition.description(language),
                icon: weather.condition.icon(weather.is_day()),
            }],
            base: "simulated",
            main: Main {
                temp: units.degrees(weather.temp),
                feels_like: units.degrees(weather.feels_like),
                temp_min: units.degrees(weather.temp_min),
                temp_max: units.degrees(weather.temp_max),
                pressure: weather.pressure,
                humidity: weather.humidity,
                sea_level: weather.pressure,
                grnd_level: weather.ground_pressure,
            },
            visibility: weather.visibility,
            wind: Wind {
                speed: units.speed(weather.wind),
                deg: weather.bearing,
                gust: weather.gust.map(|gust| units.speed(gust)),
            },
            rain: weather.rain.map(last_hour),
            snow: weather.snow.map(last_hour),
            clouds: Clouds { all: weather.clouds },
            dt: weather.dt,
            sys: Sys { country: place.country(), sunrise, sunset },
            timezone: weather.timezone,
            id: 0, // as upstream for postal codes it has no city for
            name: place.name(),
            cod: 200,
        }
    }
}

/// `GET /geo/1.0/zip`.
#[derive(Debug, Serialize)]
pub(crate) struct GeoBody<'a> {
    zip: &'a str,
    name: &'a str,
    lat: Decimal<4>,
    lon: Decimal<4>,
    country: &'a str,
}

impl<'a> GeoBody<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        Self {
            zip: place.zip(),
            name: place.name(),
            lat: Decimal(place.lat()),
            lon: Decimal(place.lon()),
            country: place.country(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<const N: i32>(value: f64) -> String {
        serde_json::to_string(&Decimal::<N>(value)).expect("a number")
    }

    #[test]
    fn numbers_have_two_decimals_and_integers_none() {
        let written = [21.0, 3.374_9, 0.1 + 0.2, -0.001, -7.5, -12.345_6].map(json::<2>);
        assert_eq!(written, ["21", "3.37", "0.3", "0", "-7.5", "-12.35"]);
        assert_eq!(json::<4>(-118.406_5), "-118.4065");
    }

    #[test]
    fn units_convert_as_upstream_does() {
        let written =
            |units: Units| (serde_json::to_string(&units.degrees(-40.0)), serde_json::to_string(&units.speed(10.0)));
        let text = |units| {
            let (degrees, speed) = written(units);
            (degrees.expect("a number"), speed.expect("a number"))
        };
        assert_eq!(text(Units::from_param("METRIC")), ("-40".into(), "10".into()));
        assert_eq!(text(Units::from_param("imperial")), ("-40".into(), "22.37".into()));
        assert_eq!(text(Units::from_param("parsec")), ("233.15".into(), "10".into()));
    }
}
