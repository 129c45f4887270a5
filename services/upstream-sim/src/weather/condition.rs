//! The weather API's condition codes: a number, a word, a sentence in some languages, and an icon that agree.
//!
//! Codes and icons are those of openweathermap.org/weather-conditions.

/// A language of [`Condition::description`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English, and whatever is not below.
    #[default]
    En,
    /// German.
    De,
    /// French.
    Fr,
    /// Spanish.
    Es,
}

impl Language {
    /// The language of a `lang` parameter. Unknown ones read as English, as upstream does.
    pub fn from_param(lang: &str) -> Self {
        match lang.to_ascii_lowercase().as_str() {
            "de" => Self::De,
            "fr" => Self::Fr,
            "es" | "sp" => Self::Es, // "sp" is upstream's other name for Spanish
            _ => Self::En,
        }
    }
}

/// A condition of the weather API.
#[derive(Debug, PartialEq, Eq)]
pub struct Condition {
    /// 200-804.
    pub id: u16,
    /// The group: "Rain".
    pub main: &'static str,
    /// Two digits, without `d` or `n`.
    icon: &'static str,
    /// English, German, French, Spanish.
    words: [&'static str; 4],
}

impl Condition {
    /// The icon's name: `10d`.
    pub fn icon(&self, day: bool) -> String {
        format!("{}{}", self.icon, if day { 'd' } else { 'n' })
    }

    /// The condition in words.
    pub fn description(&self, language: Language) -> &'static str {
        let [en, de, fr, es] = self.words;
        match language {
            Language::En => en,
            Language::De => de,
            Language::Fr => fr,
            Language::Es => es,
        }
    }

    /// Of dry air with this share of the sky covered, in percent.
    pub(super) fn of_clouds(percent: u8) -> &'static Self {
        match percent {
            0..=10 => &CLEAR,
            11..=25 => &FEW_CLOUDS,
            26..=50 => &SCATTERED_CLOUDS,
            51..=84 => &BROKEN_CLOUDS,
            _ => &OVERCAST,
        }
    }

    /// Of rain, in mm an hour. The steps are those of the American Meteorological Society's glossary.
    pub(super) fn of_rain(mm: f64) -> &'static Self {
        match mm {
            mm if mm < 0.3 => &DRIZZLE,
            mm if mm < 2.5 => &LIGHT_RAIN,
            mm if mm < 7.6 => &MODERATE_RAIN,
            _ => &HEAVY_RAIN,
        }
    }

    /// Of snow, in mm of water an hour.
    pub(super) fn of_snow(mm: f64) -> &'static Self {
        match mm {
            mm if mm < 1.0 => &LIGHT_SNOW,
            mm if mm < 2.5 => &SNOW,
            _ => &HEAVY_SNOW,
        }
    }

    /// Of a thunderstorm with rain, in mm an hour.
    pub(super) fn of_thunder(mm: f64) -> &'static Self {
        if mm < 2.5 { &THUNDER_LIGHT_RAIN } else { &THUNDER_RAIN }
    }
}

const fn row(id: u16, main: &'static str, icon: &'static str, words: [&'static str; 4]) -> Condition {
    Condition { id, main, icon, words }
}

static THUNDER_LIGHT_RAIN: Condition = row(
    200,
    "Thunderstorm",
    "11",
    [
        "thunderstorm with light rain",
        "Gewitter mit leichtem Regen",
        "orage et pluie fine",
        "tormenta con lluvia ligera",
    ],
);
static THUNDER_RAIN: Condition = row(
    201,
    "Thunderstorm",
    "11",
    ["thunderstorm with rain", "Gewitter mit Regen", "orage et pluie", "tormenta con lluvia"],
);
static DRIZZLE: Condition =
    row(300, "Drizzle", "09", ["light intensity drizzle", "leichtes Nieseln", "bruine légère", "llovizna ligera"]);
static LIGHT_RAIN: Condition =
    row(500, "Rain", "10", ["light rain", "leichter Regen", "légère pluie", "lluvia ligera"]);
static MODERATE_RAIN: Condition =
    row(501, "Rain", "10", ["moderate rain", "mäßiger Regen", "pluie modérée", "lluvia moderada"]);
static HEAVY_RAIN: Condition =
    row(502, "Rain", "10", ["heavy intensity rain", "sehr starker Regen", "forte pluie", "lluvia de gran intensidad"]);
static LIGHT_SNOW: Condition =
    row(600, "Snow", "13", ["light snow", "leichter Schnee", "légères chutes de neige", "nevada ligera"]);
static SNOW: Condition = row(601, "Snow", "13", ["snow", "Schnee", "neige", "nieve"]);
static HEAVY_SNOW: Condition =
    row(602, "Snow", "13", ["heavy snow", "heftiger Schneefall", "fortes chutes de neige", "nevada intensa"]);
pub(super) static MIST: Condition = row(701, "Mist", "50", ["mist", "trüb", "brume", "neblina"]);
pub(super) static FOG: Condition = row(741, "Fog", "50", ["fog", "Nebel", "brouillard", "niebla"]);
static CLEAR: Condition = row(800, "Clear", "01", ["clear sky", "klarer Himmel", "ciel dégagé", "cielo claro"]);
static FEW_CLOUDS: Condition =
    row(801, "Clouds", "02", ["few clouds", "ein paar Wolken", "peu nuageux", "algo de nubes"]);
static SCATTERED_CLOUDS: Condition =
    row(802, "Clouds", "03", ["scattered clouds", "mäßig bewölkt", "partiellement nuageux", "nubes dispersas"]);
static BROKEN_CLOUDS: Condition =
    row(803, "Clouds", "04", ["broken clouds", "überwiegend bewölkt", "nuageux", "muy nuboso"]);
static OVERCAST: Condition = row(804, "Clouds", "04", ["overcast clouds", "bedeckt", "couvert", "nubes"]);
