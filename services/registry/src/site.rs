//! The frame of all pages of this service.

use bramble_look::Site;
use maud::html;

/// The frame of every page here.
pub(crate) const SITE: Site = Site {
    motto: "Services on this network",
    is_broad: true,
    back: "All services",
    footer: || html! { "No other service depends on this page. " a href="/api/services" { "The same as JSON" } },
};
