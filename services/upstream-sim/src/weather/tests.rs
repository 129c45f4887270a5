use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use super::*;
use crate::places::Places;

fn places() -> &'static Places {
    static PLACES: OnceLock<Places> = OnceLock::new();
    PLACES.get_or_init(Places::embedded)
}

fn place(zip: &str, country: &str) -> &'static Place {
    let index = places().by_zip(zip, country).expect("in the table");
    places().all().get(index).expect("its own index")
}

/// 15 January, 15 April, 15 July and 15 October 2025, 00:00 UTC.
const SEASONS: [u64; 4] = [1_736_899_200, 1_744_675_200, 1_752_537_600, 1_760_486_400];

fn unix(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn hours(season: u64) -> impl Iterator<Item = SystemTime> {
    (0..24).map(move |hour| unix(season + hour * 3_600))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    assert!(count > 0.0, "a mean of nothing");
    sum / count
}

/// Mean temperature of the places chosen, over the first days of a month, so that no single front decides.
fn mean_temp(season: u64, chosen: impl Fn(&Place) -> bool) -> f64 {
    let days = (0..24).map(|step| unix(season + step * 30 * 3_600));
    let chosen: Vec<_> = places().all().iter().filter(|place| chosen(place)).collect();
    mean(days.flat_map(|at| chosen.iter().map(move |place| weather_at(place, at).temp)))
}

#[test]
fn the_same_ten_minutes_have_the_same_weather_and_dt_is_their_start() {
    let stuttgart = place("70173", "DE");
    let first = weather_at(stuttgart, unix(1_760_486_400));
    assert_eq!(first.dt, 1_760_486_400);
    assert_eq!(weather_at(stuttgart, unix(1_760_486_999)), first);
    assert_ne!(weather_at(stuttgart, unix(1_760_487_000)), first);
    assert_eq!(weather_at(&stuttgart.clone(), unix(1_760_486_400)), first);
}

#[test]
fn every_place_has_plausible_weather_in_every_season_and_hour() {
    for season in SEASONS {
        for at in hours(season) {
            for place in places().all() {
                check(place, &weather_at(place, at));
            }
        }
    }
}

fn check(place: &Place, weather: &Weather) {
    let at = || format!("{place:?} {weather:?}");
    assert!((-60.0..=55.0).contains(&weather.temp), "{}", at());
    assert!((-75.0..=65.0).contains(&weather.feels_like), "{}", at());
    assert!(weather.temp_min <= weather.temp && weather.temp <= weather.temp_max, "{}", at());
    assert!((980..=1040).contains(&weather.pressure), "{}", at());
    assert!((900..=weather.pressure).contains(&weather.ground_pressure), "{}", at());
    assert!(weather.humidity <= 100 && weather.clouds <= 100, "{}", at());
    assert!((0.0..=40.0).contains(&weather.wind) && weather.bearing < 360, "{}", at());
    assert!(weather.gust.is_none_or(|gust| gust > weather.wind), "{}", at());
    assert!((50..=10_000).contains(&weather.visibility), "{}", at());
    assert!((-43_200..=50_400).contains(&weather.timezone), "{}", at());

    let wet = weather.rain.or(weather.snow);
    assert!(wet.is_none_or(|mm| (0.1..=60.0).contains(&mm)), "{}", at());
    assert!(wet.is_none_or(|_| weather.clouds > 60 && weather.humidity >= 70), "{}", at());
    match weather.condition.id {
        200..=299 => assert!(weather.rain.is_some() && weather.temp >= 18.0, "{}", at()),
        300..=599 => assert!(weather.rain.is_some() && weather.snow.is_none() && weather.temp >= 1.0, "{}", at()),
        600..=699 => assert!(weather.snow.is_some() && weather.rain.is_none() && weather.temp < 1.0, "{}", at()),
        741 => assert!(weather.visibility < 1_000 && weather.humidity >= 94 && weather.wind < 2.0, "{}", at()),
        701 => assert!((1_000..5_000).contains(&weather.visibility) && weather.humidity >= 91, "{}", at()),
        800 => assert!(wet.is_none() && weather.clouds <= 10, "{}", at()),
        801..=804 => assert!(wet.is_none() && weather.clouds > 10, "{}", at()),
        other => panic!("unknown condition {other}"),
    }
}

#[test]
fn every_kind_of_weather_happens_and_storms_are_rare() {
    let (mut seen, mut storms, mut wet, mut all) = (BTreeSet::new(), 0, 0, 0);
    for at in (0..60).map(|step| unix(SEASONS[0] + step * 146 * 3_600 + step * 3_600)) {
        for place in places().all() {
            let weather = weather_at(place, at);
            seen.insert(weather.condition.id);
            all += 1;
            storms += u32::from(weather.condition.id < 300);
            wet += u32::from(weather.rain.or(weather.snow).is_some());
        }
    }
    let expected = [200, 201, 300, 500, 501, 502, 600, 601, 602, 701, 741, 800, 801, 802, 803, 804];
    assert_eq!(seen, BTreeSet::from(expected));
    assert!(storms * 50 < all, "{storms} of {all}");
    assert!(wet * 4 < all && wet * 20 > all, "{wet} of {all}");
}

#[test]
fn the_tropics_are_warmer_than_the_north() {
    for season in SEASONS {
        let tropics = mean_temp(season, |place| place.lat().abs() < 23.0);
        let north = mean_temp(season, |place| place.lat() > 55.0);
        assert!(tropics > north + 5.0, "{tropics} {north}");
    }
}

#[test]
fn july_is_summer_in_the_north_and_winter_in_the_south() {
    let [january, _, july, _] = SEASONS;
    assert!(mean_temp(july, |place| place.lat() > 30.0) > mean_temp(january, |place| place.lat() > 30.0) + 8.0);
    assert!(mean_temp(january, |place| place.lat() < -25.0) > mean_temp(july, |place| place.lat() < -25.0) + 3.0);
}

#[test]
fn months_are_about_as_warm_as_they_are_where_people_measured() {
    // January and July means, °C, rounded to halves; published tables differ by a degree or two with their period.
    for (zip, country, january, july) in [
        ("70173", "DE", 1.5, 19.5),
        ("11120", "SE", -1.5, 18.5),
        ("R3H", "CA", -16.5, 20.0),
        ("C1002", "AR", 25.0, 11.5),
        ("018956", "SG", 26.5, 28.0),
        ("100-0001", "JP", 5.5, 26.0),
    ] {
        let mean_of = |season| mean_temp(season, |place| (place.zip(), place.country()) == (zip, country));
        let found = (mean_of(SEASONS[0]), mean_of(SEASONS[2]));
        assert!((found.0 - january).abs() < 6.0 && (found.1 - july).abs() < 6.0, "{zip},{country}: {found:?}");
    }
}

#[test]
fn afternoons_are_warmer_than_nights_by_the_suns_clock() {
    let at_hour = |season: u64, hour: f64| {
        mean(places().all().iter().map(move |place| {
            let noon_utc = 86_400.0 - place.lon() * 240.0 + (hour - 12.0) * 3_600.0;
            weather_at(place, unix(season + 43_200 + noon_utc as u64 - 86_400)).temp
        }))
    };
    for season in SEASONS.map(|season| season + 10 * 86_400) {
        let (night, day) = (at_hour(season, 4.0), at_hour(season, 15.0));
        assert!(day > night + 2.0, "{day} {night}");
    }
}

#[test]
fn neighbours_share_their_weather() {
    let at = unix(SEASONS[1] + 7 * 3_600);
    let (stuttgart, tuebingen) = (weather_at(place("70173", "DE"), at), weather_at(place("72074", "DE"), at));
    assert!((stuttgart.temp - tuebingen.temp).abs() < 3.0);
    assert!(stuttgart.pressure.abs_diff(tuebingen.pressure) < 4);
}

#[test]
fn the_icon_follows_the_sun() {
    let berlin = place("10115", "DE");
    let noon = weather_at(berlin, unix(SEASONS[2] + 11 * 3_600));
    let midnight = weather_at(berlin, unix(SEASONS[2] + 23 * 3_600));
    assert!(noon.is_day() && !midnight.is_day());
    assert!(noon.condition.icon(noon.is_day()).ends_with('d'));
    assert!(midnight.condition.icon(midnight.is_day()).ends_with('n'));
}

#[test]
fn what_it_feels_like_agrees_with_published_tables() {
    // Environment Canada's wind chill table: -20 °C and 40 km/h feel like -34, 0 °C and 20 km/h like -5.
    assert!((feels_like(-20.0, 50.0, 40.0 / 3.6) + 34.0).abs() < 0.5);
    assert!((feels_like(0.0, 50.0, 20.0 / 3.6) + 5.0).abs() < 0.5);
    // The Bureau of Meteorology's formula at 30 °C, 60 %, 2 m/s: 42.43 hPa saturated, 25.5 hPa of vapour.
    assert!((feels_like(30.0, 60.0, 2.0) - 33.0).abs() < 0.2, "{}", feels_like(30.0, 60.0, 2.0));
    assert!((feels_like(10.0, 80.0, 4.0) - feels_like(10.001, 80.0, 4.0)).abs() < 0.01);
    assert!((feels_like(20.0, 80.0, 4.0) - feels_like(19.999, 80.0, 4.0)).abs() < 0.01);
}

#[test]
fn any_clock_gets_an_answer() {
    let berlin = place("10115", "DE");
    let far = Duration::from_secs(i64::MAX as u64);
    for at in [UNIX_EPOCH, UNIX_EPOCH - Duration::from_secs(12_345)].into_iter().chain(UNIX_EPOCH.checked_add(far)) {
        let weather = weather_at(berlin, at);
        assert_eq!(weather.dt.rem_euclid(600), 0);
        assert!(weather.temp.is_finite());
    }
}
