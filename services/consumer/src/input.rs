//! Input of the form, kept as typed until it is right: a form that forgets makes people type twice.

use std::borrow::Cow;

use bramble_weather::{Query, QueryError};
use tide::http::Url;

/// The two fields of the form, as they came; `None` is a field that was not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    /// Postal code.
    pub zip: Option<String>,
    /// Country.
    pub country: Option<String>,
}

/// Longest text that is shown again; a mistake is still seen in it, and no page grows with its question.
const SHOWN: usize = 100;

impl Typed {
    /// Reads the query of an address. Of a field sent twice the first counts; bytes that are not UTF-8 become U+FFFD,
    /// which no postal code has.
    pub fn of(url: &Url) -> Self {
        let mut typed = Self::default();
        for (name, value) in url.query_pairs() {
            let field = match &*name {
                "zip" => &mut typed.zip,
                "country" => &mut typed.country,
                _ => continue,
            };
            if field.is_none() {
                *field = Some(value.into_owned());
            }
        }
        typed
    }

    /// The question, once it is one.
    ///
    /// # Errors
    /// All that is wrong, as [`Query::parse`] has it.
    pub fn parse(&self) -> Result<Query, Vec<QueryError>> {
        Query::parse(self.zip.as_deref().unwrap_or_default(), self.country.as_deref())
    }

    /// The postal code to show again.
    pub fn shown_zip(&self) -> Cow<'_, str> {
        shown(self.zip.as_deref())
    }

    /// The country to show again.
    pub fn shown_country(&self) -> Cow<'_, str> {
        shown(self.country.as_deref())
    }
}

/// The first characters of a text, without control characters: NUL and its like are errors in HTML.
fn shown(text: Option<&str>) -> Cow<'_, str> {
    let text = text.unwrap_or_default();
    let end = text.char_indices().nth(SHOWN).map_or(text.len(), |(at, _)| at);
    let text = text.get(..end).unwrap_or_default();
    if text.contains(char::is_control) { text.replace(char::is_control, " ").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(query: &str) -> Typed {
        Typed::of(&format!("http://host/?{query}").parse().expect("an address"))
    }

    #[test]
    fn of_a_field_sent_twice_the_first_counts() {
        let typed = typed("zip=70569&zip=1010&country=DE&country=AT&other=1");
        assert_eq!((typed.zip.as_deref(), typed.country.as_deref()), (Some("70569"), Some("DE")));
    }

    #[test]
    fn broken_escapes_are_text_like_any_other() {
        for (query, zip) in
            [("zip=%zz", "%zz"), ("zip=%", "%"), ("zip=%ff", "\u{fffd}"), ("zip", ""), ("zip=a=b", "a=b")]
        {
            assert_eq!(typed(query).zip.as_deref(), Some(zip), "{query}");
        }
        assert_eq!(typed("&&=&%3d").zip, None);
    }

    #[test]
    fn what_is_shown_again_is_bounded_and_without_control_characters() {
        let typed = Typed { zip: Some("ä".repeat(5000)), country: Some("D\0\nE".into()) };
        assert_eq!(typed.shown_zip().chars().count(), SHOWN);
        assert_eq!(typed.shown_country(), "D  E");
    }
}
