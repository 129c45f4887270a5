//! Real postal codes, because a stand-in that knows only one city proves nothing about the other shapes: letters,
//! spaces, dashes, leading zeros, names in any script.
//!
//! The table is part of the program: it is parsed once, and a row borrows its texts from the file's.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The table itself; where it comes from stands in `places.README.md`.
const CSV: &str = include_str!("../places.csv");
const HEADER: &str = "country,zip,name,lat,lon";
/// Coordinates are kept in steps of 1/10000 degree (11 m), as the weather API prints them.
const STEPS: f64 = 10_000.0;

/// A postal code and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Two ASCII capitals.
    country: [u8; 2],
    zip: Cow<'static, str>,
    name: Cow<'static, str>,
    /// In `STEPS` of a degree, within ±90 degrees.
    lat: i32,
    /// In `STEPS` of a degree, within ±180 degrees.
    lon: i32,
}

impl Place {
    /// ISO 3166 code, capitals.
    pub fn country(&self) -> &str {
        std::str::from_utf8(&self.country).expect("a country is two ASCII capitals")
    }

    /// The postal code as its country writes it: `SW1A 1AA`.
    pub fn zip(&self) -> &str {
        &self.zip
    }

    /// The place's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Degrees north, -90 to 90.
    pub fn lat(&self) -> f64 {
        f64::from(self.lat) / STEPS
    }

    /// Degrees east, -180 to 180.
    pub fn lon(&self) -> f64 {
        f64::from(self.lon) / STEPS
    }

    fn order(&self, country: [u8; 2], zip: &str) -> Ordering {
        self.country.cmp(&country).then_with(|| canonical(&self.zip).cmp(canonical(zip)))
    }
}

/// Why a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacesError {
    /// Counted from 1, the header included.
    pub line: usize,
    /// Mistake in the line.
    pub what: &'static str,
}

impl fmt::Display for PlacesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "places, line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for PlacesError {}

/// All places the stand-in knows.
#[derive(Debug)]
pub struct Places {
    /// Sorted by country, then canonical postal code; no two are equal in both.
    rows: Vec<Place>,
}

impl Places {
    /// The table that comes with the program.
    pub fn embedded() -> Self {
        Self::parse(CSV).expect("a test parses the same places.csv")
    }

    /// Reads RFC 4180 CSV with the header `country,zip,name,lat,lon`; no field spans lines.
    ///
    /// # Errors
    ///
    /// The first line that is not a row, or that names a postal code a second time.
    pub fn parse(csv: &'static str) -> Result<Self, PlacesError> {
        let mut lines = csv.lines().zip(1..);
        if lines.next().map(|(header, _)| header) != Some(HEADER) {
            return Err(PlacesError { line: 1, what: "the header must be country,zip,name,lat,lon" });
        }
        let mut rows = Vec::new();
        for (text, line) in lines.filter(|(text, _)| !text.is_empty()) {
            rows.push((parse_row(text).map_err(|what| PlacesError { line, what })?, line));
        }
        rows.sort_by(|(a, _), (b, _)| a.order(b.country, &b.zip));
        let twice = rows.windows(2).find_map(|pair| match pair {
            [(a, _), (b, line)] if a.order(b.country, &b.zip).is_eq() => Some(*line),
            _ => None,
        });
        if let Some(line) = twice {
            return Err(PlacesError { line, what: "this postal code stands there twice" });
        }
        let mut rows: Vec<_> = rows.into_iter().map(|(row, _)| row).collect();
        rows.shrink_to_fit();
        Ok(Self { rows })
    }

    /// Every place, by country and postal code; its position is its index.
    pub fn all(&self) -> &[Place] {
        &self.rows
    }

    /// The index of a postal code. Case and spaces do not matter.
    pub fn by_zip(&self, zip: &str, country: &str) -> Option<usize> {
        let country = parse_country(country)?;
        self.rows.binary_search_by(|row| row.order(country, zip)).ok()
    }

    /// The index of the first place with this name, in this country if one is given. Case does not matter.
    pub fn by_name(&self, name: &str, country: Option<&str>) -> Option<usize> {
        let country = country.map(parse_country);
        self.rows.iter().position(|row| country.is_none_or(|c| c == Some(row.country)) && same_name(&row.name, name))
    }

    /// The index of the place nearest to a position in degrees.
    pub fn nearest(&self, lat: f64, lon: f64) -> Option<usize> {
        let away = |row: &Place| {
            // Half the squared chord (haversine) orders like the distance and needs no square root.
            let (north, east) = ((row.lat() - lat).to_radians(), (row.lon() - lon).to_radians());
            (north / 2.0).sin().powi(2)
                + row.lat().to_radians().cos() * lat.to_radians().cos() * (east / 2.0).sin().powi(2)
        };
        let distances = self.rows.iter().map(away).enumerate();
        distances.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
    }
}

/// A postal code without what writers differ in.
fn canonical(zip: &str) -> impl Iterator<Item = char> + '_ {
    zip.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase())
}

fn same_name(a: &str, b: &str) -> bool {
    let fold = |s: &str| s.trim().chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    // Lengths first: most names differ in it, and nothing is allocated for them. Folding changes few of them.
    a.chars().count().abs_diff(b.trim().chars().count()) <= 2 && fold(a) == fold(b)
}

fn parse_country(text: &str) -> Option<[u8; 2]> {
    let code: [u8; 2] = text.trim().as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_alphabetic).then(|| code.map(|byte| byte.to_ascii_uppercase()))
}

fn parse_row(line: &'static str) -> Result<Place, &'static str> {
    let (country, rest) = field(Some(line))?;
    let (zip, rest) = field(rest)?;
    let (name, rest) = field(rest)?;
    let (lat, rest) = field(rest)?;
    let (lon, rest) = field(rest)?;
    if rest.is_some() {
        return Err("more than five fields");
    }
    if canonical(&zip).next().is_none() || name.is_empty() {
        return Err("postal code or name is empty");
    }
    Ok(Place {
        country: parse_country(&country).ok_or("the country is not two letters")?,
        zip,
        name,
        lat: degrees(&lat, 90.0).ok_or("the latitude is not a number within 90 degrees")?,
        lon: degrees(&lon, 180.0).ok_or("the longitude is not a number within 180 degrees")?,
    })
}

fn degrees(text: &str, limit: f64) -> Option<i32> {
    let value = text.parse::<f64>().ok().filter(|value| value.abs() <= limit)?;
    Some((value * STEPS).round() as i32)
}

/// The first field of what is left of a line, and what is left after it.
fn field(rest: Option<&'static str>) -> Result<(Cow<'static, str>, Option<&'static str>), &'static str> {
    let rest = rest.ok_or("fewer than five fields")?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let (text, rest) = rest.split_once(',').map_or((rest, None), |(text, rest)| (text, Some(rest)));
        return if text.contains('"') { Err("a quote inside an unquoted field") } else { Ok((text.into(), rest)) };
    };
    let mut from = 0;
    loop {
        let end = from + quoted[from..].find('"').ok_or("a quoted field does not end")?;
        let after = &quoted[end + 1..];
        if after.starts_with('"') {
            from = end + 2;
            continue;
        }
        let text = &quoted[..end];
        let text = if text.contains('"') { text.replace("\"\"", "\"").into() } else { text.into() };
        return match after.strip_prefix(',') {
            Some(rest) => Ok((text, Some(rest))),
            None if after.is_empty() => Ok((text, None)),
            None => Err("text after a closing quote"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &'static str) -> Result<Place, &'static str> {
        parse_row(line)
    }

    #[test]
    fn every_line_of_the_table_becomes_a_place() {
        let places = Places::embedded();
        let lines = CSV.lines().skip(1).filter(|line| !line.is_empty()).count();
        assert!(lines > 2000, "{lines}");
        assert_eq!(places.all().len(), lines);
        let countries: std::collections::BTreeSet<_> = places.all().iter().map(Place::country).collect();
        assert_eq!(countries.len(), 36);
    }

    #[test]
    fn every_place_is_found_by_its_own_code_in_any_case_and_spacing() {
        let places = Places::embedded();
        for (index, place) in places.all().iter().enumerate() {
            let odd = format!(" {} ", place.zip().to_lowercase().replace(' ', "   "));
            assert_eq!(places.by_zip(&odd, &place.country().to_lowercase()), Some(index), "{place:?}");
        }
        let palace = places.by_zip("sw1a1aa", "gb").and_then(|index| places.all().get(index));
        assert_eq!(palace.map(Place::zip), Some("SW1A 1AA"));
    }

    #[test]
    fn quoted_fields_keep_commas_and_quotes() {
        let place = row(r#"DE,"01 ""a""","Here, there",1.5,-2.25"#).expect("a row");
        assert_eq!((place.zip(), place.name()), (r#"01 "a""#, "Here, there"));
        assert_eq!((place.lat(), place.lon()), (1.5, -2.25));
        assert_eq!(row(r#"DE,1,"",1,2"#), Err("postal code or name is empty"));
    }

    #[test]
    fn what_is_not_a_row_is_refused() {
        for (line, what) in [
            ("DE,1,Here,1", "fewer than five fields"),
            ("DE,1,Here,1,2,3", "more than five fields"),
            ("DEU,1,Here,1,2", "the country is not two letters"),
            ("DE, ,Here,1,2", "postal code or name is empty"),
            ("DE,1,Here,91,2", "the latitude is not a number within 90 degrees"),
            ("DE,1,Here,1,NaN", "the longitude is not a number within 180 degrees"),
            (r#"DE,1,"Here,1,2"#, "a quoted field does not end"),
            (r#"DE,1,"Here"x,1,2"#, "text after a closing quote"),
            (r#"DE,1,He"re,1,2"#, "a quote inside an unquoted field"),
        ] {
            assert_eq!(row(line), Err(what), "{line}");
        }
        assert_eq!(Places::parse("zip,country\n").map(|_| ()).map_err(|e| e.line), Err(1));
        assert_eq!(Places::parse("country,zip,name,lat,lon\nDE,1,a,1,1\nDE\n").map(|_| ()).map_err(|e| e.line), Err(3));
    }

    #[test]
    fn a_code_that_stands_there_twice_is_refused_whatever_its_spelling() {
        let twice = "country,zip,name,lat,lon\nGB,SW1A 1AA,a,1,1\nDE,1,b,1,1\ngb,sw1a1aa,c,1,1\n";
        let error = Places::parse(twice).map(|_| ()).expect_err("a duplicate");
        assert_eq!(error.to_string(), "places, line 4: this postal code stands there twice");
        let other_country = "country,zip,name,lat,lon\nDE,1010,a,1,1\nAT,1010,b,1,1\n";
        assert_eq!(Places::parse(other_country).map(|places| places.all().len()), Ok(2));
    }

    #[test]
    fn a_name_is_found_whatever_its_case_and_only_in_its_country() {
        let places = Places::embedded();
        let name = |index: Option<usize>| index.and_then(|i| places.all().get(i)).map(|p| (p.zip(), p.country()));
        assert_eq!(name(places.by_name("BÜSNAU", Some("de"))), Some(("70569", "DE")));
        assert_eq!(name(places.by_name("Büsnau", None)), Some(("70569", "DE")));
        assert_eq!(name(places.by_name("Büsnau", Some("FR"))), None);
        assert_eq!(name(places.by_name("Büsnau", Some("Germany"))), None);
    }

    #[test]
    fn the_nearest_place_is_found_across_the_date_line() {
        let csv = "country,zip,name,lat,lon\nNZ,1,east,-40,-179\nNZ,2,west,-40,170\nNZ,3,pole,-89,0\n";
        let places = Places::parse(csv).expect("three rows");
        assert_eq!(places.nearest(-40.0, 179.0), Some(0));
        assert_eq!(places.nearest(-40.0, 172.0), Some(1));
        assert_eq!(places.nearest(-90.0, 180.0), Some(2));
        let all = Places::embedded();
        for place in all.all() {
            let found = all.nearest(place.lat(), place.lon()).and_then(|i| all.all().get(i)).expect("one is nearest");
            assert_eq!((found.lat(), found.lon()), (place.lat(), place.lon()));
        }
    }
}
