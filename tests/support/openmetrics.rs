//! Is this a page of OpenMetrics 1.0? Two opinions: ours, which needs nothing, and that of the reference parser
//! (`prometheus_client.openmetrics.parser`) where there is a Python that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Names the Python that has `prometheus_client`; `cargo xtask test` sets it.
const PYTHON: &str = "BRAMBLE_OPENMETRICS_PYTHON";

const ENDINGS: &[(&str, &[&str])] = &[
    ("counter", &["_total"]),
    ("gauge", &[""]),
    ("histogram", &["_bucket", "_count", "_sum"]),
    ("summary", &["", "_count", "_sum"]),
    ("stateset", &[""]),
    ("info", &["_info"]),
];

type Labels = BTreeMap<String, String>;

#[derive(Default)]
struct Family {
    kind: String,
    samples: Vec<(String, Labels, f64)>,
}

/// Checks the whole page; the families by name, or the first line that is wrong.
pub(crate) fn page(page: &str) -> Result<BTreeSet<String>, String> {
    let lines = page.strip_suffix("# EOF\n").ok_or("the page does not end with # EOF")?;
    let mut known = BTreeSet::new();
    let (mut name, mut family) = (String::new(), Family::default());
    for line in lines.lines() {
        let wrong = |why: &str| format!("{why}: {line}");
        if let Some(begun) = line.strip_prefix("# TYPE ") {
            close(&name, &family, &mut known)?;
            let (new, kind) = begun.split_once(' ').ok_or_else(|| wrong("no type"))?;
            (name, family) = (new.to_owned(), Family { kind: kind.to_owned(), samples: Vec::new() });
            let reserved = ["_total", "_bucket", "_count", "_sum", "_info", "_created"];
            if known.contains(new) || !is_name(new) || reserved.iter().any(|end| new.ends_with(end)) {
                return Err(wrong("told twice, or no name for a family"));
            }
            if !ENDINGS.iter().any(|(known, _)| *known == kind) {
                return Err(wrong("no such type"));
            }
        } else if let Some(told) = line.strip_prefix("# ") {
            let fits = match told.splitn(3, ' ').collect::<Vec<_>>()[..] {
                ["UNIT", of, unit] => of == name && name.ends_with(&format!("_{unit}")),
                ["HELP", of, help] => of == name && unescape(help).is_some(),
                _ => false,
            };
            if !fits || !family.samples.is_empty() {
                return Err(wrong("in the wrong place, or nonsense"));
            }
        } else {
            let one = sample(line).ok_or_else(|| wrong("no sample"))?;
            let ending = one.0.strip_prefix(name.as_str()).ok_or_else(|| wrong("outside of its family"))?;
            if !ENDINGS.iter().any(|(kind, endings)| *kind == family.kind && endings.contains(&ending)) {
                return Err(wrong("an ending that its type does not have"));
            }
            if family.samples.iter().any(|(other, labels, _)| *other == one.0 && *labels == one.1) {
                return Err(wrong("told twice"));
            }
            family.samples.push(one);
        }
    }
    close(&name, &family, &mut known)?;
    Ok(known)
}

/// A sample of a metric: the ending of its name, its label that only this type has, and its value.
struct Entry<'a> {
    ending: &'a str,
    own: Option<String>,
    value: f64,
}

/// Checks what holds of a family as a whole, once it is.
fn close(name: &str, family: &Family, known: &mut BTreeSet<String>) -> Result<(), String> {
    if name.is_empty() {
        return Ok(());
    }
    for (_, entries) in metrics(name, family)? {
        holds(&family.kind, &entries).map_err(|why| format!("{name}: {why}"))?;
    }
    known.insert(name.to_owned());
    Ok(())
}

/// The metrics of a family: samples whose labels are the same, but for the one that only this type has.
fn metrics<'a>(name: &str, family: &'a Family) -> Result<Vec<(Labels, Vec<Entry<'a>>)>, String> {
    let extra = match family.kind.as_str() {
        "histogram" => "le",
        "summary" => "quantile",
        "stateset" => name,
        _ => "",
    };
    let mut metrics: Vec<(Labels, Vec<Entry<'_>>)> = Vec::new();
    for (sample, labels, value) in &family.samples {
        let mut labels = labels.clone();
        let own = labels.remove(extra);
        let entry = Entry { ending: sample.strip_prefix(name).unwrap_or(""), own, value: *value };
        let place = metrics.iter().position(|(other, _)| *other == labels);
        match place.and_then(|place| metrics.split_at_mut_checked(place)) {
            None => metrics.push((labels, vec![entry])),
            Some((_, [(_, entries)])) => entries.push(entry),
            Some(_) => return Err(format!("{name}: a metric in two places")),
        }
    }
    Ok(metrics)
}

fn holds(kind: &str, entries: &[Entry<'_>]) -> Result<(), &'static str> {
    let value = |ending: &str| entries.iter().find(|entry| entry.ending == ending).map(|entry| entry.value);
    match kind {
        "counter" if entries.iter().any(|entry| entry.value < 0.0) => Err("a counter below 0"),
        "info" if entries.iter().any(|entry| entry.value != 1.0) => Err("an info that is not 1"),
        "stateset" if entries.iter().map(|entry| entry.value).sum::<f64>() != 1.0 => Err("not in exactly one state"),
        "histogram" => {
            let buckets: Vec<_> = entries.iter().filter(|entry| entry.ending == "_bucket").collect();
            let bounds = buckets.iter().filter_map(|entry| entry.own.as_ref()?.replace('+', "").parse().ok());
            let bounds: Vec<f64> = bounds.collect();
            let rising = bounds.windows(2).all(|two| two[0] < two[1]);
            let growing = buckets.windows(2).all(|two| two[0].value <= two[1].value);
            if !rising || !growing || bounds.last() != Some(&f64::INFINITY) || bounds.len() != buckets.len() {
                return Err("its buckets are out of order");
            }
            let agree = value("_count") == buckets.last().map(|entry| entry.value) && value("_sum").is_some();
            if agree { Ok(()) } else { Err("count, sum and buckets do not agree") }
        }
        _ => Ok(()),
    }
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let close = closing_quote(after)?;
            let value = unescape(&after[..close])?;
            if !is_name(label) || label.contains(':') || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = &after[close + 1..];
            if let Some(next) = rest.strip_prefix('}') {
                rest = next;
                break;
            }
            rest = rest.strip_prefix(',')?;
        }
    }
    let value = rest.strip_prefix(' ')?;
    let plain = value.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'e' | b'+'));
    (is_name(name) && plain).then_some(())?;
    Some((name.to_owned(), labels, value.parse().ok()?))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })
}

/// None if a backslash escapes what needs none.
fn unescape(text: &str) -> Option<String> {
    let mut chars = text.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// Judgement of the reference parser on the page. Without it, nothing, and a line that says so.
#[allow(clippy::print_stderr, reason = "a test that checks nothing says so")]
pub(crate) fn by_reference(page: &str) -> Result<(), String> {
    const PROGRAM: &str = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        families = list(parse(sys.stdin.read()))\n\
        assert families and len(families) == len({family.name for family in families})\n";
    let Some(python) = std::env::var_os(PYTHON) else {
        eprintln!("not checked by the reference parser: {PYTHON} is not set; `cargo xtask test` sets it");
        return Ok(());
    };
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let fed = child.stdin.take().map(|mut stdin| stdin.write_all(page.as_bytes()));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() || !matches!(fed, Some(Ok(()))) {
        return Err(format!("{}\n{page}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(())
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let good = "# TYPE a counter\n# HELP a It is.\na_total{b=\"c\"} 1\n# EOF\n";
    assert!(page(good).is_ok());
    for (part, other) in [
        ("# EOF\n", ""),
        ("a_total", "a"),
        ("counter", "count"),
        ("} 1", "} one"),
        ("} 1", "} -1"),
        ("b=\"c\"", "b=\"\\c\""),
        ("b=\"c\"", "b=\"c\",b=\"c\""),
        ("# EOF", "a_total{b=\"c\"} 2\n# EOF"),
        ("# EOF", "# HELP a Again.\n# EOF"),
        ("# EOF", "# TYPE a counter\n# EOF"),
        ("# EOF", "# TYPE b gauge\nb 1\na_total{b=\"d\"} 2\n# EOF"),
        ("# EOF", "# TYPE b_seconds gauge\n# UNIT b_seconds bytes\n# EOF"),
        ("# EOF", "# TYPE s stateset\ns{s=\"x\"} 0\ns{s=\"y\"} 0\n# EOF"),
        ("# EOF", "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_count 1\nh_sum 1\n# EOF"),
        ("# EOF", "# TYPE h histogram\nh_bucket{le=\"1.0\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 1\n# EOF"),
    ] {
        let bad = good.replace(part, other);
        assert!(page(&bad).is_err(), "{bad}");
    }
}
