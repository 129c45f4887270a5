//! Simulated weather, plausible at any place and time: tests must meet snow and heat, night and fog, and two questions
//! at one time must get one answer.
//!
//! [`weather_at`] is pure. Latitude and season give the climate, the height of the sun the hour, and slowly drifting
//! noise the fronts, so that neighbours share their weather and tomorrow resembles today. Cloud, rain, wind and
//! humidity follow from one another before a [`Condition`] is chosen, so that a body never contradicts itself.

mod condition;
mod noise;
mod sun;
mod zone;

use std::f64::consts::TAU;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::places::Place;
pub use condition::{Condition, Language};
use noise::{Field, hashed, smooth};
pub use sun::Sun;
pub use zone::offset_s;

/// Upstream's stations report every ten minutes.
const REPORT_EVERY_S: i64 = 600;
const DAY_S: f64 = 86_400.0;
const YEAR_DAYS: f64 = 365.2425;
/// Below this, in °C, it snows instead of raining.
const SNOW_BELOW_C: f64 = 1.0;

/// Weather as a station would report it. Temperatures in °C, speeds in m/s.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// Unix seconds, a multiple of ten minutes.
    pub dt: i64,
    /// Air temperature.
    pub temp: f64,
    /// How warm it feels.
    pub feels_like: f64,
    /// Lowest in the area at the moment, at most `temp`.
    pub temp_min: f64,
    /// Highest in the area at the moment, at least `temp`.
    pub temp_max: f64,
    /// At sea level, hPa, 980-1040.
    pub pressure: u16,
    /// At the ground, hPa, at most `pressure`.
    pub ground_pressure: u16,
    /// Percent.
    pub humidity: u8,
    /// Metres, at most 10,000.
    pub visibility: u16,
    /// Wind speed.
    pub wind: f64,
    /// Where the wind comes from, degrees, 0-359.
    pub bearing: u16,
    /// Gusts, where there are any; above `wind`.
    pub gust: Option<f64>,
    /// Percent of the sky.
    pub clouds: u8,
    /// mm in an hour, where it rains.
    pub rain: Option<f64>,
    /// mm of water in an hour, where it snows.
    pub snow: Option<f64>,
    /// All of the above in a word.
    pub condition: &'static Condition,
    /// Sunrise and sunset of the day.
    pub sun: Sun,
    /// Seconds east of UTC.
    pub timezone: i32,
}

impl Weather {
    /// Whether the icon shows the day.
    pub fn is_day(&self) -> bool {
        self.sun.is_up(self.dt)
    }
}

/// The weather at a place and time. The same ten minutes always give the same answer.
pub fn weather_at(place: &Place, now: SystemTime) -> Weather {
    let spot = Spot::new(place, now);
    let air = Air::over(&spot);
    let (rain, snow) = match air.fall {
        Some(mm) if air.temp < SNOW_BELOW_C => (None, Some(mm)),
        fall => (fall, None),
    };
    let (condition, visibility) = air.condition(&spot, rain, snow);
    let spread = 0.2 + 1.6 * hashed(Field::Front, spot.lat, spot.lon);
    let gusty = 1.25 + 0.5 * hashed(Field::Wind, spot.lat, spot.lon);
    let height_m = 450.0 * (smooth(Field::Height, spot.lat, spot.lon, 0.0) + 1.0) / 2.0;
    Weather {
        dt: spot.dt,
        temp: air.temp,
        feels_like: feels_like(air.temp, air.humidity, air.wind),
        temp_min: air.temp - spread,
        temp_max: air.temp + spread * 0.8,
        pressure: air.pressure.round() as u16,
        // Barometric formula with a scale height of 8.4 km.
        ground_pressure: (air.pressure * (-height_m / 8_400.0).exp()).round() as u16,
        humidity: air.humidity.round() as u8,
        visibility,
        wind: air.wind,
        bearing: if air.wind < 0.05 { 0 } else { air.bearing },
        gust: (air.wind >= 4.0).then_some(air.wind * gusty),
        clouds: air.clouds,
        rain,
        snow,
        condition,
        sun: Sun::over(spot.lat, spot.lon, spot.dt),
        timezone: offset_s(place.country(), spot.lon),
    }
}

/// Where and when, in the units the model thinks in.
struct Spot {
    lat: f64,
    lon: f64,
    /// Unix seconds, rounded down to a report.
    dt: i64,
    /// Since 1970.
    days: f64,
    /// 0-24, 12 when the sun is in the south (north).
    hour: f64,
    /// -1 in the middle of winter, 1 in the middle of summer.
    season: f64,
}

impl Spot {
    fn new(place: &Place, now: SystemTime) -> Self {
        let (lat, lon) = (place.lat(), place.lon());
        let since = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let unix = now.duration_since(UNIX_EPOCH).map_or_else(|before| -since(before.duration()), since);
        let dt = (unix.div_euclid(REPORT_EVERY_S)).saturating_mul(REPORT_EVERY_S);
        let days = dt as f64 / DAY_S;
        // Land is coldest about a month after the solstice.
        let north = -((days - 20.0).rem_euclid(YEAR_DAYS) / YEAR_DAYS * TAU).cos();
        Self {
            lat,
            lon,
            dt,
            days,
            hour: (days + lon / 360.0).rem_euclid(1.0) * 24.0,
            season: if lat < 0.0 { -north } else { north },
        }
    }

    fn draw(&self, field: Field) -> f64 {
        smooth(field, self.lat, self.lon, self.days)
    }
}

/// The quantities everything else follows from.
struct Air {
    temp: f64,
    pressure: f64,
    humidity: f64,
    wind: f64,
    bearing: u16,
    clouds: u8,
    /// mm of water in an hour, two decimals, where anything falls.
    fall: Option<f64>,
}

impl Air {
    fn over(spot: &Spot) -> Self {
        let polewards = (spot.lat.abs() / 45.0).min(1.0);
        let high = spot.draw(Field::Pressure);
        let pressure = (1013.0 + 20.0 * high * (0.3 + 0.7 * polewards)).clamp(980.0, 1040.0);
        let cloud = (0.5 - 0.45 * high + 0.65 * spot.draw(Field::Cloud)).clamp(0.0, 1.0);

        let fall = fall(cloud, spot.draw(Field::Rain));
        let afternoon = ((spot.hour - 15.0) / 24.0 * TAU).cos();
        let temp = climate(spot)
            + spot.draw(Field::Front) * (2.0 + 4.5 * polewards)
            + afternoon * (1.5 + 4.5 * (1.0 - cloud)) * spot.lat.to_radians().cos()
            + hashed(Field::Local, spot.lat, spot.lon)
            - 0.5;
        let damp = 66.0 + 30.0 * (cloud - 0.5) - 13.0 * afternoon + 18.0 * spot.draw(Field::Moisture);
        let driest = fall.map_or(8.0, |mm| 72.0 + 4.0 * mm.min(6.0));
        let wind = 3.4 + 4.0 * spot.draw(Field::Wind) - 2.5 * high + 0.6 * afternoon;
        Self {
            temp,
            pressure,
            humidity: damp.clamp(driest, 100.0),
            wind: wind.max(0.0),
            bearing: (180.0 * (1.0 + spot.draw(Field::Bearing))) as u16 % 360,
            clouds: (cloud * 100.0).round() as u8,
            fall,
        }
    }

    /// The condition, and how far one sees in it, in metres.
    fn condition(&self, spot: &Spot, rain: Option<f64>, snow: Option<f64>) -> (&'static Condition, u16) {
        let afternoon = (12.0..22.0).contains(&spot.hour);
        match (rain, snow) {
            (Some(mm), _) if self.temp >= 18.0 && mm >= 1.5 && afternoon => (Condition::of_thunder(mm), 7_000),
            (Some(mm), _) => (Condition::of_rain(mm), if mm < 2.5 { 10_000 } else { 6_000 }),
            (_, Some(mm)) => (Condition::of_snow(mm), (5_000.0 / (0.4 + mm)).clamp(600.0, 9_000.0) as u16),
            // Below 1 km it is fog, below 5 km mist (METAR's FG and BR).
            _ if self.humidity >= 94.0 && self.wind < 2.0 => (&condition::FOG, 150 + (400.0 * self.wind) as u16),
            _ if self.humidity >= 91.0 && self.wind < 3.5 => (&condition::MIST, 1_200 + (1_000.0 * self.wind) as u16),
            _ => (Condition::of_clouds(self.clouds), 10_000),
        }
    }
}

/// Mean temperature of latitude and season, °C: 28 at the equator, 9 at 50 degrees, summers further from winters on
/// land towards the poles and less so in the south, where there is more sea. Fitted by hand to the
/// January and July means of Stuttgart, Stockholm, New York and Winnipeg.
fn climate(spot: &Spot) -> f64 {
    let bump = |centre: f64, width: f64| (-((spot.lon - centre) / width).powi(2)).exp();
    // The warm current off Europe, and the inside of North America and Asia.
    let current = bump(5.0, 25.0) * ((spot.lat - 42.0) / 16.0).clamp(0.0, 1.5);
    let inland = (bump(-97.0, 22.0) + bump(75.0, 35.0)) * ((spot.lat - 30.0) / 20.0).clamp(0.0, 1.5);
    let sea = if spot.lat < 0.0 { 0.65 } else { 1.0 };
    let mean = 28.0 - 32.0 * spot.lat.to_radians().sin().powi(2) + 4.0 * current - 5.0 * inland;
    let swing = (1.0 + 0.18 * spot.lat.abs()) * (1.0 + 0.7 * inland - 0.2 * current) * sea;
    mean + spot.season * swing
}

/// mm an hour out of a cover of cloud; only a thick one gives any.
fn fall(cloud: f64, wet: f64) -> Option<f64> {
    let force = ((wet - 0.1) / 0.9).max(0.0);
    let mm = ((cloud - 0.68) / 0.32).clamp(0.0, 1.0).sqrt() * 9.0 * force * force;
    (mm >= 0.1).then(|| (mm * 100.0).round() / 100.0)
}

/// How warm it feels: at 10 °C and below the wind chill of the US and Canadian weather services (2001), at 20 °C and
/// above R. Steadman's apparent temperature as the Australian Bureau of Meteorology uses it (1994), in between both by
/// share, so that there is no step. `wind` in m/s.
fn feels_like(temp: f64, humidity: f64, wind: f64) -> f64 {
    let kmh = wind * 3.6;
    let chill = if kmh > 4.8 {
        let push = kmh.powf(0.16);
        (13.12 + 0.6215 * temp - 11.37 * push + 0.3965 * temp * push).min(temp)
    } else {
        temp
    };
    let vapour_hpa = humidity / 100.0 * 6.105 * (17.27 * temp / (237.7 + temp)).exp();
    let apparent = temp + 0.33 * vapour_hpa - 0.70 * wind - 4.0;
    let share = ((temp - 10.0) / 10.0).clamp(0.0, 1.0);
    chill + (apparent - chill) * share
}

#[cfg(test)]
mod tests;
