//! Pages for what goes wrong before a service's own pages come into play.

use maud::{Markup, html};

use crate::Site;

/// The page of an address that leads nowhere.
pub(crate) fn no_such_page(site: &Site) -> Markup {
    page(site, "Page not found", "There is nothing at this address.", "Start with the first page.", 404)
}

/// The page for a method other than GET.
pub(crate) fn wrong_method(site: &Site) -> Markup {
    let happened = "This address answers GET, and nothing else.";
    page(site, "This page can only be read", happened, "Start with the first page.", 405)
}

/// The page for a mistake of ours.
pub(crate) fn broken(site: &Site) -> Markup {
    let happened = "That is a mistake of this program, not of yours. There is nothing to show.";
    page(site, "Something broke here", happened, "If it stays so, the log of this node says why.", 500)
}

/// A page of an error: what happened, what to do, and the way back.
pub(crate) fn page(site: &Site, heading: &str, happened: &str, advice: &str, status: u16) -> Markup {
    site.page(
        &format!("Error: {}", heading.to_lowercase()),
        &html! {
            section.card.failure {
                h1 { (heading) }
                p.happened { (happened) }
                p { (advice) }
                p.actions { a.button href="/" { (site.back) } }
                p.fine { "Status " (status) }
            }
        },
    )
}
