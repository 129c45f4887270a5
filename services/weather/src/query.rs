//! Questions about the weather, parsed: strings become types here, once; a mistake is a sentence for the user.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::{ApiError, Code, Country};

/// Why a question cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The postal code is missing.
    #[error("Enter a postal code, for example 70569 or SW1A 1AA.")]
    ZipMissing,
    /// Longer than any postal code.
    #[error("A postal code has at most 12 characters.")]
    ZipTooLong,
    /// A character that no postal code has.
    #[error("A postal code has only letters, digits, spaces and dashes.")]
    ZipCharacters,
    /// Not two letters.
    #[error("A country is two letters, for example DE or GB.")]
    CountryShape,
    /// Two letters that ISO 3166 does not name.
    #[error("There is no country with this code; for example, Germany is DE and the United Kingdom is GB.")]
    CountryUnknown,
}

impl QueryError {
    /// `invalid_zip` or `invalid_country`.
    pub fn code(self) -> Code {
        match self {
            Self::ZipMissing | Self::ZipTooLong | Self::ZipCharacters => Code::InvalidZip,
            Self::CountryShape | Self::CountryUnknown => Code::InvalidCountry,
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// A postal code of any country: 1-12 of `A-Z`, `0-9`, space and dash, upper case, single spaces, none at the ends,
/// and at least one letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Zip(Box<str>);

impl Zip {
    /// Longest postal code that is accepted; the longest in use have 10 (`12345-6789`).
    pub const MAX_LEN: usize = 12;

    /// The code in its canonical form: `SW1A 1AA`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Zip {
    type Err = QueryError;

    fn from_str(typed: &str) -> Result<Self, QueryError> {
        let mut zip = String::with_capacity(Self::MAX_LEN);
        for word in typed.split_ascii_whitespace() {
            if !word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return Err(QueryError::ZipCharacters);
            }
            let gap = usize::from(!zip.is_empty());
            if zip.len() + gap + word.len() > Self::MAX_LEN {
                return Err(QueryError::ZipTooLong);
            }
            if gap == 1 {
                zip.push(' ');
            }
            zip.extend(word.chars().map(|c| c.to_ascii_uppercase()));
        }
        if zip.is_empty() {
            return Err(QueryError::ZipMissing);
        }
        if !zip.bytes().any(|b| b.is_ascii_alphanumeric()) {
            return Err(QueryError::ZipCharacters);
        }
        Ok(Self(zip.into()))
    }
}

impl Serialize for Zip {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl fmt::Display for Zip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place to ask about. As a query of an address it is `zip=SW1A+1AA&country=GB`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Query {
    /// Postal code of the place.
    pub zip: Zip,
    /// Country of the place; the United States unless the question names one, as the weather API has it.
    pub country: Country,
}

impl Query {
    /// Reads what was typed. An absent or empty country means the default.
    ///
    /// # Errors
    /// All that is wrong: at most one sentence for the postal code and one for the country.
    pub fn parse(zip: &str, country: Option<&str>) -> Result<Self, Vec<QueryError>> {
        let country = match country.map(str::trim) {
            None | Some("") => Ok(Country::default()),
            Some(code) => code.parse(),
        };
        match (zip.parse(), country) {
            (Ok(zip), Ok(country)) => Ok(Self { zip, country }),
            (zip, country) => Err(zip.err().into_iter().chain(country.err()).collect()),
        }
    }

    /// The question as a path for a producer: `/weather?zip=SW1A+1AA&country=GB`.
    pub fn to_path(&self) -> String {
        format!("/weather?zip={}&country={}", self.zip.as_str().replace(' ', "+"), self.country)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postal_codes_of_the_world_are_understood() {
        for (typed, canonical) in [
            ("70569", "70569"),
            ("sw1a 1aa", "SW1A 1AA"),
            ("  K1A   0B1 ", "K1A 0B1"),
            ("1010", "1010"),
            ("12345-6789", "12345-6789"),
            ("999 99", "999 99"),
        ] {
            assert_eq!(typed.parse::<Zip>().map(|zip| zip.to_string()).as_deref(), Ok(canonical), "{typed}");
        }
    }

    #[test]
    fn what_is_no_postal_code_is_refused_with_its_reason() {
        for (typed, error) in [
            ("", QueryError::ZipMissing),
            (" \t ", QueryError::ZipMissing),
            ("1234567890123", QueryError::ZipTooLong),
            ("--", QueryError::ZipCharacters),
            ("70569;", QueryError::ZipCharacters),
            ("<b>", QueryError::ZipCharacters),
            ("７０５６９", QueryError::ZipCharacters),
        ] {
            assert_eq!(typed.parse::<Zip>(), Err(error), "{typed}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let errors = Query::parse("", Some("Germany")).expect_err("both are wrong");
        assert_eq!(errors, [QueryError::ZipMissing, QueryError::CountryShape]);
    }

    #[test]
    fn without_a_country_it_is_the_united_states() {
        for country in [None, Some(""), Some("  ")] {
            assert_eq!(Query::parse("28105", country).expect("fine").country.as_str(), "US");
        }
    }

    #[test]
    fn a_path_needs_no_further_escaping_and_is_what_the_operation_sends() {
        let query = Query::parse("sw1a 1aa", Some("gb")).expect("fine");
        assert_eq!(query.to_path(), "/weather?zip=SW1A+1AA&country=GB");
        let sent = serde_urlencoded::to_string(&query).expect("names and values");
        assert_eq!(query.to_path(), format!("{}?{sent}", crate::WEATHER.path()));
    }
}
