//! A modest reader of HTML: enough to see that a page is well formed, and keeps what the security policy and the
//! assistive technologies count on.

use std::collections::HashSet;

/// Elements without content (HTML, "Void elements"), of those in use here.
const VOID: [&str; 4] = ["meta", "link", "img", "input"];

/// A tag with its attributes.
#[derive(Debug, PartialEq)]
pub(super) struct Tag<'a> {
    pub(super) name: &'a str,
    pub(super) attributes: Vec<(&'a str, &'a str)>,
    closes: bool,
    closed: bool,
}

impl<'a> Tag<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// All tags of a page in their order.
pub(super) fn tags(page: &str) -> Vec<Tag<'_>> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a doctype comes first");
    let mut tags = Vec::new();
    while let Some(at) = rest.find(['<', '>']) {
        let tag = rest[at..].strip_prefix('<').expect("no bare > in text");
        let end = end_of(tag);
        tags.push(read(&tag[..end]));
        rest = &tag[end + 1..];
    }
    tags
}

/// Where the `>` is that ends a tag; one in quotes does not.
fn end_of(tag: &str) -> usize {
    let mut quoted = false;
    tag.bytes()
        .position(|byte| {
            quoted ^= byte == b'"';
            assert!(quoted || byte != b'<', "a tag in a tag: {tag:.80}");
            byte == b'>' && !quoted
        })
        .expect("every tag ends")
}

fn read(tag: &str) -> Tag<'_> {
    let (tag, closes) = tag.strip_prefix('/').map_or((tag, false), |tag| (tag, true));
    let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !name.is_empty(), "no element: {tag:?}");
    let mut attributes = Vec::new();
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        let mut value = "";
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let end = quoted.find('"').expect("a quote ends");
            value = &quoted[..end];
            rest = &quoted[end + 1..];
        }
        assert!(!attributes.iter().any(|(known, _)| *known == name), "{name} twice in {tag}");
        attributes.push((name, value));
    }
    Tag { name, attributes, closes, closed }
}

/// Panics with a reason unless a page is as all pages have to be.
pub(super) fn check(page: &str) {
    let tags = tags(page);
    balanced(&tags);
    let opened: Vec<_> = tags.iter().filter(|tag| !tag.closes).collect();
    let count = |name: &str| opened.iter().filter(|tag| tag.name == name).count();
    for name in ["html", "head", "title", "body", "main", "h1"] {
        assert_eq!(count(name), 1, "one {name}");
    }
    for name in ["script", "style", "iframe", "object"] {
        assert_eq!(count(name), 0, "no {name}");
    }
    assert_eq!(opened[0].get("lang"), Some("en"));
    let ids: Vec<_> = opened.iter().filter_map(|tag| tag.get("id")).collect();
    let known: HashSet<_> = ids.iter().copied().collect();
    assert_eq!(ids.len(), known.len(), "an id twice: {ids:?}");
    for tag in opened {
        for (name, value) in &tag.attributes {
            assert!(*name != "style" && !name.starts_with("on"), "inline {name} in {tag:?}");
            match *name {
                "for" | "list" | "aria-describedby" | "aria-labelledby" => {
                    assert!(value.split(' ').all(|id| known.contains(id)), "{name}={value:?} leads nowhere");
                }
                "href" | "src" | "action" => match value.strip_prefix('#') {
                    Some(id) => assert!(known.contains(id), "#{id} leads nowhere"),
                    None => {
                        let inside = value.starts_with('/') && !value.starts_with("//");
                        assert!(inside || outside(tag, value), "{value}");
                    }
                },
                _ => {}
            }
        }
        assert!(tag.name != "input" || page.contains(&format!("<label for=\"{}\"", tag.get("id").unwrap_or("?"))));
        assert!(tag.name != "img" || tag.get("alt").is_some(), "alt is missing");
        assert!(tag.name != "svg" || tag.get("aria-hidden") == Some("true"), "a picture is read aloud");
    }
    assert!(page.len() <= 30_000, "{} bytes", page.len());
}

/// Links may lead outside; what a page is made of may not come from there.
fn outside(tag: &Tag<'_>, value: &str) -> bool {
    tag.name == "a" && value.starts_with("https://")
}

fn balanced(tags: &[Tag<'_>]) {
    let mut open = Vec::new();
    for tag in tags {
        match (tag.closes, tag.closed) {
            (true, _) => assert_eq!(open.pop(), Some(tag.name), "closed in the wrong order"),
            (false, true) => assert!(open.contains(&"svg"), "only SVG closes by itself: {tag:?}"),
            (false, false) if VOID.contains(&tag.name) => {}
            (false, false) => open.push(tag.name),
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// The text between the title's tags.
pub(super) fn title(page: &str) -> &str {
    let (_, rest) = page.split_once("<title>").expect("a title");
    rest.split_once("</title>").expect("an end of the title").0
}

#[test]
fn the_reader_sees_what_is_wrong() {
    let whole =
        "<!DOCTYPE html><html lang=\"en\"><head><title>t</title></head><body><main><h1>h</h1>IN</main></body></html>";
    check(&whole.replace("IN", "<p id=\"a\">x</p><a href=\"#a\">y</a>"));
    for wrong in [
        "<p>",
        "</p>",
        "<b><i></b></i>",
        "<p style=\"color:red\">x</p>",
        "<p onclick=\"x\">x</p>",
        "<script></script>",
        "<a href=\"#nowhere\">x</a>",
        "<a href=\"javascript:x\">x</a>",
        "<img src=\"https://elsewhere/x.png\" alt=\"\">",
        "<img src=\"/x.png\">",
        "<h1>again</h1>",
        "<p id=\"a\">x</p><p id=\"a\">x</p>",
        "<p class=\"a\" class=\"b\">x</p>",
        "<input id=\"zip\">",
        "<path/>",
        "1 > 0",
    ] {
        let page = whole.replace("IN", wrong);
        assert!(std::panic::catch_unwind(|| check(&page)).is_err(), "{wrong} passes");
    }
}
