//! The form. It works without a script, says all that is wrong at once, and keeps what was typed.

use std::borrow::Cow;

use bramble_weather::{ApiError, COUNTRIES, Code, QueryError};
use maud::{Markup, html};

use super::{SITE, icon};
use crate::input::Typed;

/// A field of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Postal code.
    Zip,
    /// Country.
    Country,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Country => "country",
        }
    }

    fn of(code: Code) -> Self {
        match code {
            Code::InvalidCountry => Self::Country,
            _ => Self::Zip,
        }
    }
}

/// A field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake<'a> {
    /// Where to put it right.
    pub field: Field,
    /// The mistake, and how to put it right.
    pub message: Cow<'a, str>,
}

impl From<QueryError> for Mistake<'_> {
    fn from(error: QueryError) -> Self {
        Self { field: Field::of(error.code()), message: error.to_string().into() }
    }
}

impl<'a> From<&'a ApiError> for Mistake<'a> {
    fn from(error: &'a ApiError) -> Self {
        Self { field: Field::of(error.code), message: error.message.as_str().into() }
    }
}

/// The page with the form: empty, or with what was typed and what is wrong with it.
pub fn page(typed: &Typed, mistakes: &[Mistake<'_>]) -> Markup {
    let title = if mistakes.is_empty() { "Weather by postal code" } else { "Error: check what you typed" };
    SITE.page(
        title,
        &html! {
            (summary(mistakes))
            section.welcome {
                (icon::draw(Some("02d")))
                div {
                    h1 { "How is the weather?" }
                    p { "Anywhere with a postal code." }
                }
            }
            (fields(typed, mistakes))
        },
    )
}

/// The form itself.
pub(super) fn fields(typed: &Typed, mistakes: &[Mistake<'_>]) -> Markup {
    let zip = mistakes.iter().find(|mistake| mistake.field == Field::Zip);
    let country = mistakes.iter().find(|mistake| mistake.field == Field::Country);
    html! {
        // Browsers check `required` in bubbles of their own, which vanish; the summary stays.
        form.card.ask action="/" method="get" novalidate {
            div.fields {
                div.field {
                    label for="zip" { "Postal code" }
                    p.hint id="zip-hint" { "Such as 70569, SW1A 1AA or K1A 0B1" }
                    (complaint(zip))
                    input id="zip" name="zip" type="text" value=(typed.shown_zip()) required autocomplete="postal-code"
                        autocapitalize="characters" spellcheck="false" enterkeyhint="search"
                        aria-describedby=(described_by(Field::Zip, zip)) aria-invalid=[zip.map(|_| "true")];
                }
                div.field {
                    label for="country" { "Country " span.optional { "(optional)" } }
                    p.hint id="country-hint" { "Two letters, such as DE; US if empty" }
                    (complaint(country))
                    input id="country" name="country" type="text" value=(typed.shown_country()) list="countries"
                        autocomplete="off" autocapitalize="characters" spellcheck="false" enterkeyhint="search"
                        aria-describedby=(described_by(Field::Country, country))
                        aria-invalid=[country.map(|_| "true")];
                }
            }
            button.button type="submit" { "Show the weather" }
            datalist id="countries" {
                @for (code, name) in COUNTRIES { option value=(code) { (name) } }
            }
        }
    }
}

/// Summary of the mistakes, each linked to where it is put right. It takes the focus, so that it is read first.
fn summary(mistakes: &[Mistake<'_>]) -> Markup {
    html! {
        @if !mistakes.is_empty() {
            div.notice.error role="alert" tabindex="-1" autofocus aria-labelledby="summary" {
                (icon::cross())
                div {
                    h2 id="summary" { "Check what you typed" }
                    ul { @for mistake in mistakes {
                        li { a href={ "#" (mistake.field.name()) } { (mistake.message) } }
                    } }
                }
            }
        }
    }
}

/// The mistake of one field, beside it.
fn complaint(mistake: Option<&Mistake<'_>>) -> Markup {
    html! {
        @if let Some(Mistake { field, message }) = mistake {
            p.complaint id={ (field.name()) "-error" } { (icon::cross()) span { "Error: " (message) } }
        }
    }
}

fn described_by(field: Field, mistake: Option<&Mistake<'_>>) -> String {
    let name = field.name();
    if mistake.is_some() { format!("{name}-error {name}-hint") } else { format!("{name}-hint") }
}
