//! A question as upstream reads it: which of its parameters count, in which order, and what is said when none helps.

use std::borrow::Cow;

use tide::http::Url;

use crate::faults::split_zip;
use crate::places::Places;
use crate::reply::Reply;

/// The parameters of a call; of repeated ones the first.
#[derive(Debug, Default)]
pub(crate) struct Ask<'a> {
    zip: Option<Cow<'a, str>>,
    lat: Option<Cow<'a, str>>,
    lon: Option<Cow<'a, str>>,
    q: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    pub(crate) units: Option<Cow<'a, str>>,
    pub(crate) lang: Option<Cow<'a, str>>,
    pub(crate) appid: Option<Cow<'a, str>>,
}

impl<'a> Ask<'a> {
    pub(crate) fn of(url: &'a Url) -> Self {
        let mut ask = Self::default();
        for (key, value) in url.query_pairs() {
            let slot = match &*key {
                "zip" => &mut ask.zip,
                "lat" => &mut ask.lat,
                "lon" => &mut ask.lon,
                "q" => &mut ask.q,
                "id" => &mut ask.id,
                "units" => &mut ask.units,
                "lang" => &mut ask.lang,
                "appid" | "APPID" => &mut ask.appid,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        ask
    }

    /// The index of the place `/data/2.5/weather` is asked for, or what is answered instead.
    pub(crate) fn place(&self, places: &Places) -> Result<usize, Reply> {
        if let Some(zip) = given(&self.zip) {
            return by_zip(places, zip).ok_or_else(Reply::city_not_found);
        }
        if let (Some(lat), Some(lon)) = (given(&self.lat), given(&self.lon)) {
            let lat = degrees(lat, 90.0).ok_or_else(Reply::wrong_latitude)?;
            let lon = degrees(lon, 180.0).ok_or_else(Reply::wrong_longitude)?;
            return places.nearest(lat, lon).ok_or_else(Reply::city_not_found);
        }
        if let Some(q) = given(&self.q) {
            return by_name(places, q).ok_or_else(Reply::city_not_found);
        }
        match given(&self.id).map(str::parse::<u64>) {
            // Places here have no number of their own (`id` is 0 in every body).
            Some(Ok(_)) => Err(Reply::city_not_found()),
            Some(Err(_)) => Err(Reply::invalid_id()),
            None => Err(Reply::nothing_to_geocode()),
        }
    }

    /// The same for `/geo/1.0/zip`, which reads nothing but `zip`.
    pub(crate) fn located(&self, places: &Places) -> Result<usize, Reply> {
        let zip = given(&self.zip).ok_or_else(Reply::nothing_to_geocode)?;
        by_zip(places, zip).ok_or_else(Reply::zip_not_found)
    }
}

fn given<'a>(value: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    value.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn by_zip(places: &Places, text: &str) -> Option<usize> {
    let (zip, country) = split_zip(text);
    places.by_zip(zip, country)
}

/// `City`, `City,CC` or `City,State,CC`; the table has no states, so that one is passed over.
fn by_name(places: &Places, text: &str) -> Option<usize> {
    let mut parts = text.split(',');
    places.by_name(parts.next()?, parts.next_back())
}

fn degrees(text: &str, limit: f64) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.abs() <= limit)
}
