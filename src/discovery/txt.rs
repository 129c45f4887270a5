//! What an instance says of itself in its TXT record. Anyone on the LAN can send one, so nothing in it is believed
//! before it has been measured.

use std::net::SocketAddr;

use super::{Instance, Source, Status};

/// What a process registers of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The cluster's name: others do not see it.
    pub cluster: String,
    /// `SERVICE-<16 hex>`, new for each process.
    pub id: String,
    /// `producer`.
    pub service: String,
    /// Where its page or interface starts.
    pub path: String,
    /// Where the node is; may be empty.
    pub zone: String,
    /// Share of the traffic, 1-100.
    pub weight: u32,
    /// Whether it wants new calls.
    pub status: Status,
}

impl Announcement {
    /// The keys and values of the TXT record; `version` is this program's.
    pub(super) fn to_txt(&self) -> Vec<(&'static str, String)> {
        let status = match self.status {
            Status::Up => "up",
            Status::Drain => "drain",
        };
        vec![
            ("txtvers", "1".into()),
            ("cl", self.cluster.clone()),
            ("svc", self.service.clone()),
            ("id", self.id.clone()),
            ("ver", env!("CARGO_PKG_VERSION").into()),
            ("path", self.path.clone()),
            ("zone", self.zone.clone()),
            ("w", self.weight.to_string()),
            ("st", status.into()),
        ]
    }
}

/// Why a record is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it belongs to another cluster")]
    OtherCluster,
    #[error("its TXT record has no usable `{0}`")]
    Missing(&'static str),
    #[error("its port is 0")]
    NoPort,
}

/// Longest name, zone or path that is taken in; RFC 6763 keeps a whole TXT record below 400 bytes.
const MAX_TEXT: usize = 64;

/// Reads the record that `addr` was announced with. `get` looks a key up. A weight that is no number from 1 to 100 is
/// brought into that range; other bad values are refused.
pub(super) fn parse<'a>(
    get: impl Fn(&str) -> Option<&'a str>,
    addr: SocketAddr,
    cluster: &str,
) -> Result<Instance, Refused> {
    if get("cl") != Some(cluster) {
        return Err(Refused::OtherCluster);
    }
    if addr.port() == 0 {
        return Err(Refused::NoPort);
    }
    let name = |key: &'static str| get(key).filter(|text| is_name(text)).ok_or(Refused::Missing(key));
    let text = |key: &'static str| {
        let text = get(key).unwrap_or_default();
        let fine = text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        fine.then_some(text).ok_or(Refused::Missing(key))
    };
    Ok(Instance {
        id: name("id")?.into(),
        service: name("svc")?.into(),
        addr,
        path: text("path")?.into(),
        zone: text("zone")?.into(),
        weight: weight(get("w")),
        version: text("ver")?.into(),
        status: if get("st") == Some("drain") { Status::Drain } else { Status::Up },
        source: Source::Mdns,
    })
}

/// A name as this project gives them: it goes into logs, labels and pages.
fn is_name(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn weight(text: Option<&str>) -> u32 {
    match text.map(str::parse::<f64>) {
        // `as` saturates, and takes NaN to 0, so whatever was sent ends in the range.
        Some(Ok(weight)) => (weight as u32).clamp(1, 100),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(txt: &[(&str, &str)]) -> Result<Instance, Refused> {
        let get = |key: &str| txt.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        parse(get, SocketAddr::from(([192, 0, 2, 7], 4711)), "home")
    }

    #[test]
    fn what_is_registered_is_what_is_read() {
        let said = Announcement {
            cluster: "home".into(),
            id: "producer-5f0c2a9be81d4477".into(),
            service: "producer".into(),
            path: "/".into(),
            zone: "shelf-2".into(),
            weight: 3,
            status: Status::Drain,
        };
        let txt = said.to_txt();
        let txt: Vec<(&str, &str)> = txt.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let read = read(&txt).expect("own record");
        assert_eq!((&*read.id, &*read.service, &*read.zone), ("producer-5f0c2a9be81d4477", "producer", "shelf-2"));
        assert_eq!((read.weight, read.status), (3, Status::Drain));
        let size: usize = txt.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        assert!(size < 400, "{size} bytes");
    }

    #[test]
    fn another_cluster_is_not_seen() {
        assert_eq!(read(&[("cl", "work"), ("svc", "producer"), ("id", "a")]), Err(Refused::OtherCluster));
        assert_eq!(read(&[("svc", "producer"), ("id", "a")]), Err(Refused::OtherCluster));
    }

    #[test]
    fn forged_names_and_texts_are_refused() {
        let long = "x".repeat(65);
        for (key, value) in
            [("id", ""), ("id", "a b"), ("id", "A<script>"), ("svc", "../x"), ("zone", "a\nb"), ("zone", &long)]
        {
            let mut txt = vec![("cl", "home"), ("svc", "producer"), ("id", "a")];
            txt.retain(|(name, _)| *name != key);
            txt.push((key, value));
            assert_eq!(read(&txt), Err(Refused::Missing(key)), "{key}={value}");
        }
    }

    #[test]
    fn a_mad_weight_ends_in_its_range() {
        for (weight, counts) in [("-1", 1), ("1e99", 100), ("NaN", 1), ("0", 1), ("7", 7), ("many", 1), ("inf", 100)] {
            let txt = [("cl", "home"), ("svc", "producer"), ("id", "a"), ("w", weight)];
            assert_eq!(read(&txt).expect("fine otherwise").weight, counts, "{weight}");
        }
    }
}
