//! Whether a request that changes something comes from a page of the same origin: protection from cross-site request
//! forgery (CSRF) without tokens, as in Go's `http.CrossOriginProtection`.

use tide::http::Headers;

/// Whether the browser that sent `headers` says that a page of this very origin made the request.
///
/// `Sec-Fetch-Site` decides where it is there: the browser sets it, and no page can. Browsers leave it out towards
/// plain HTTP addresses other than loopback, and old ones always; then `Origin` must name the `Host` that was asked.
/// The scheme may differ, because a proxy may speak TLS. A request with neither header is refused, as is one with
/// several lines of either.
pub fn is_same_origin(headers: &Headers) -> bool {
    if headers.get("sec-fetch-site").is_some() {
        return only(headers, "sec-fetch-site") == Some("same-origin");
    }
    let Some(origin) = only(headers, "origin") else { return false };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| !authority.is_empty() && Some(authority) == only(headers, "host"))
}

/// The value of the header `name`, if it has exactly one line.
fn only<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let values = headers.get(name)?;
    if values.iter().count() == 1 { Some(values.last().as_str()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tide::http::Request;

    /// The rule for a POST to `http://127.0.0.1:8761` with these header lines.
    fn is_taken(lines: &[(&str, &str)]) -> bool {
        let mut request = Request::post("http://127.0.0.1:8761/demo/weather/break");
        request.insert_header("host", "127.0.0.1:8761");
        for &(name, value) in lines {
            request.append_header(name, value);
        }
        is_same_origin(request.as_ref())
    }

    #[test]
    fn a_form_of_the_page_itself_is_taken_whatever_its_origin_says() {
        assert!(is_taken(&[("sec-fetch-site", "same-origin")]));
        assert!(is_taken(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
    }

    #[test]
    fn what_the_browser_says_comes_from_elsewhere_is_refused_whatever_its_origin_says() {
        for site in ["cross-site", "same-site", "none", "", "Same-Origin", "same-origin, same-origin"] {
            assert!(!is_taken(&[("sec-fetch-site", site)]), "{site}");
            assert!(!is_taken(&[("sec-fetch-site", site), ("origin", "http://127.0.0.1:8761")]), "{site}");
        }
    }

    #[test]
    fn without_sec_fetch_site_the_origin_must_be_the_host() {
        for origin in ["http://127.0.0.1:8761", "https://127.0.0.1:8761"] {
            assert!(is_taken(&[("origin", origin)]), "{origin}");
        }
        for origin in [
            "null",
            "",
            "127.0.0.1:8761",
            "http://127.0.0.1",
            "http://127.0.0.1:8088",
            "http://evil.example",
            "http://127.0.0.1:8761.evil.example",
            "http://evil.example/http://127.0.0.1:8761",
            "ftp://127.0.0.1:8761",
        ] {
            assert!(!is_taken(&[("origin", origin)]), "{origin}");
        }
        assert!(!is_taken(&[]), "neither header");
    }

    #[test]
    fn several_lines_of_a_header_are_refused_in_any_order() {
        for sites in [["same-origin", "cross-site"], ["cross-site", "same-origin"], ["same-origin", "same-origin"]] {
            assert!(!is_taken(&sites.map(|site| ("sec-fetch-site", site))), "{sites:?}");
        }
        let (own, foreign) = ("http://127.0.0.1:8761", "http://evil.example");
        for origins in [[own, foreign], [foreign, own], [own, own]] {
            assert!(!is_taken(&origins.map(|origin| ("origin", origin))), "{origins:?}");
        }
        assert!(!is_taken(&[("host", "evil.example"), ("origin", "http://evil.example")]), "two hosts");
    }

    #[test]
    fn without_a_host_no_origin_is_the_same() {
        let mut request = Request::post("http://127.0.0.1:8761/");
        request.insert_header("origin", "http://");
        assert!(!is_same_origin(request.as_ref()));
        request.insert_header("host", "");
        assert!(!is_same_origin(request.as_ref()));
    }
}
