//! TXT record of an instance. Any host on the LAN can send one, so nothing in it is believed before it has been
//! measured, and with a cluster's key nothing that is not signed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use super::{Instance, SERVICE_TYPE, Source, Status};
use crate::trust::record::{self, Record, RecordError};
use crate::trust::{self, ClusterKey, RefusedInstance, Trust};

/// Announcement that a process registers of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The cluster's name: others do not see it.
    pub cluster: String,
    /// `SERVICE-<16 hex>`, new for each process.
    pub id: String,
    /// `greeter`.
    pub service: String,
    /// The version of its program.
    pub version: String,
    /// Where its page or interface starts.
    pub path: String,
    /// Where the node is; may be empty.
    pub zone: String,
    /// Share of the traffic, 1-100.
    pub weight: u32,
    /// Whether it wants new calls.
    pub status: Status,
}

/// Addresses that are signed, and so can be called: with more, the TXT record would pass the 400 bytes of RFC 6763.
const MAX_SIGNED_ADDRESSES: usize = 8;

/// Where a process is and until when it says so: what is signed besides its [`Announcement`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    port: u16,
    /// Addresses between commas, sorted.
    addresses: String,
    /// Addresses there was no room for.
    left_out: usize,
    /// Unix time in seconds.
    expires: u64,
}

impl Place {
    /// At these addresses and `port`, from `now` on.
    pub(super) fn new(addresses: &[Ipv4Addr], port: u16, now: SystemTime) -> Self {
        let texts: Vec<String> = addresses.iter().take(MAX_SIGNED_ADDRESSES).map(Ipv4Addr::to_string).collect();
        let left_out = addresses.len().saturating_sub(MAX_SIGNED_ADDRESSES);
        Self { port, addresses: texts.join(","), left_out, expires: record::expiry(now) }
    }

    /// Whether `other`, which is of now, need not be announced instead.
    pub(super) fn is_as_good_as(&self, other: &Self, now: SystemTime) -> bool {
        self.addresses == other.addresses && self.port == other.port && !record::is_due(self.expires, now)
    }
}

impl Announcement {
    /// The keys and values of the TXT record.
    pub(super) fn to_txt(&self) -> Vec<(&'static str, String)> {
        vec![
            ("txtvers", "1".into()),
            ("cl", self.cluster.clone()),
            ("svc", self.service.clone()),
            ("id", self.id.clone()),
            ("ver", self.version.clone()),
            ("path", self.path.clone()),
            ("zone", self.zone.clone()),
            ("w", self.weight.to_string()),
            ("st", self.status_text().into()),
        ]
    }

    /// The same, signed.
    pub(super) fn to_signed_txt(&self, place: &Place, key: &ClusterKey) -> Vec<(&'static str, String)> {
        if place.left_out > 0 {
            log::warn!("only {MAX_SIGNED_ADDRESSES} addresses can be signed; choose fewer [discovery] interfaces");
        }
        let mut txt = self.to_txt();
        let expires = place.expires.to_string();
        let signed = Record {
            name: &self.id,
            port: place.port,
            cluster: &self.cluster,
            service: &self.service,
            id: &self.id,
            version: &self.version,
            path: &self.path,
            zone: &self.zone,
            weight: &self.weight.to_string(),
            status: self.status_text(),
            addresses: &place.addresses,
            expires: &expires,
        };
        let (kid, sig) = signed.sign(key);
        txt.extend([("ip", place.addresses.clone()), ("kid", kid.into()), ("exp", expires), ("sig", sig.to_string())]);
        txt
    }

    fn status_text(&self) -> &'static str {
        match self.status {
            Status::Up => "up",
            Status::Drain => "drain",
        }
    }
}

/// Why a record is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it belongs to another cluster")]
    OtherCluster,
    #[error("its TXT record has no usable `{0}`")]
    Missing(&'static str),
    #[error("its TXT record has more than 1 kB")]
    TooLong,
    #[error("its port is 0")]
    NoPort,
    #[error("its address is not on the network its record came by")]
    OffLink,
    #[error("it is registered under another name than its id")]
    OtherName,
    #[error("its name or its address is this process's own")]
    Own,
    #[error(transparent)]
    Doubt(#[from] RecordError),
}

/// Longest name, zone or path that is taken in; RFC 6763 keeps a whole TXT record below 400 bytes.
const MAX_TEXT: usize = 64;
/// Longest TXT record that is taken in.
const MAX_TXT: usize = 1 << 10;

/// A record as it was heard, without the library's types.
#[derive(Debug, Clone)]
pub(super) struct ReceivedRecord<'a> {
    /// `greeter-5f0c2a9be81d4477._bramble._tcp.local.`
    pub(super) fullname: &'a str,
    pub(super) port: u16,
    /// Each address with the number of an interface it came by.
    pub(super) addrs: Vec<(Ipv4Addr, u32)>,
    /// Keys and values; what is no UTF-8 is empty.
    pub(super) txt: Vec<(&'a str, &'a str)>,
}

impl<'a> ReceivedRecord<'a> {
    /// The value of a key; without one, or without the key, empty. The first counts, its case does not (RFC 6763, 6.4).
    fn get(&self, key: &str) -> &'a str {
        self.txt.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map_or("", |(_, value)| *value)
    }

    /// First label of the full name.
    fn name(&self) -> &'a str {
        self.fullname.strip_suffix(SERVICE_TYPE).and_then(|name| name.strip_suffix('.')).unwrap_or(self.fullname)
    }

    /// Bytes of the TXT record.
    fn size(&self) -> usize {
        self.txt.iter().map(|(key, value)| key.len() + value.len() + 2).sum()
    }

    /// Checks the signature; says until when it counts.
    fn verify(&self, key: &ClusterKey, now: SystemTime) -> Result<u64, RecordError> {
        let signed = Record {
            name: self.name(),
            port: self.port,
            cluster: self.get("cl"),
            service: self.get("svc"),
            id: self.get("id"),
            version: self.get("ver"),
            path: self.get("path"),
            zone: self.get("zone"),
            weight: self.get("w"),
            status: self.get("st"),
            addresses: self.get("ip"),
            expires: self.get("exp"),
        };
        signed.verify(key, self.get("kid"), self.get("sig"), now)
    }

    /// Whether this address was signed.
    fn has_signed(&self, ip: Ipv4Addr) -> bool {
        self.get("ip").split(',').any(|text| text.parse() == Ok(ip))
    }
}

/// Reads a record and remembers in `trust` what became of it. Gives back the instance at the first of its addresses,
/// and all addresses that it may be called at.
///
/// # Errors
/// Why it is not believed. Whatever was believed of that name before still is, unless it is [`RecordError::Expired`].
pub(super) fn understand(
    heard: &ReceivedRecord<'_>,
    cluster: &str,
    trust: &Trust,
    now: SystemTime,
) -> Result<(Instance, Vec<SocketAddr>), Refused> {
    let judged = match parse(heard, cluster, trust, now) {
        // An instance known by a newer record is not removed by sending an old one again.
        Err(Refused::Doubt(RecordError::Expired)) if trust.is_believed(heard.fullname, now) => {
            Err(RecordError::Old.into())
        }
        judged => judged,
    };
    match judged {
        Ok((instance, addrs, signed_until)) => {
            trust.believe(heard.fullname, signed_until);
            Ok((instance, addrs))
        }
        Err(refused) => {
            if refused != Refused::OtherCluster {
                let service = Some(heard.get("svc")).filter(|name| is_name(name)).unwrap_or_default();
                let addr = trust::claimed(&heard.addrs, heard.port);
                // An address that changes is announced a moment before it is signed.
                let is_moving =
                    refused == Refused::Doubt(RecordError::Address) && trust.is_believed(heard.fullname, now);
                let level = if is_moving { log::Level::Debug } else { log::Level::Warn };
                trust.refuse(
                    heard.fullname,
                    RefusedInstance::new(heard.name(), service, addr, refused.to_string()),
                    level,
                );
            }
            Err(refused)
        }
    }
}

/// Content of a record, once it is believed: the instance, its addresses, and until when its signature counts.
type Parsed = (Instance, Vec<SocketAddr>, Option<u64>);

/// Reads what the record says. A weight that is no number from 1 to 100 is brought into that
/// range; other bad values are refused.
fn parse(heard: &ReceivedRecord<'_>, cluster: &str, trust: &Trust, now: SystemTime) -> Result<Parsed, Refused> {
    if heard.get("cl") != cluster {
        return Err(Refused::OtherCluster);
    }
    if heard.size() > MAX_TXT {
        return Err(Refused::TooLong);
    }
    if heard.port == 0 {
        return Err(Refused::NoPort);
    }
    let name = |key: &'static str| Some(heard.get(key)).filter(|text| is_name(text)).ok_or(Refused::Missing(key));
    let text = |key: &'static str| {
        let text = heard.get(key);
        let fine = text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        fine.then_some(text).ok_or(Refused::Missing(key))
    };
    let (id, service) = (name("id")?, name("svc")?);
    let signed_until = trust.key().map(|key| heard.verify(key, now)).transpose()?;
    if heard.name() != id {
        return Err(Refused::OtherName);
    }
    let mut addrs = addresses(heard, trust, signed_until.is_some())?;
    addrs.retain(|ip| !trust.poses_as_own(id, service, *ip, heard.port));
    let addrs: Vec<SocketAddr> = addrs.into_iter().map(|ip| SocketAddr::new(IpAddr::V4(ip), heard.port)).collect();
    let instance = Instance {
        id: id.into(),
        service: service.into(),
        addr: *addrs.first().ok_or(Refused::Own)?,
        path: text("path")?.into(),
        zone: text("zone")?.into(),
        weight: weight(heard.get("w")),
        version: text("ver")?.into(),
        status: if heard.get("st") == "drain" { Status::Drain } else { Status::Up },
        source: Source::Mdns,
        epoch: 0,
    };
    Ok((instance, addrs, signed_until))
}

/// The addresses that may be called: on the network the record came by, and signed if anything is. The lowest comes
/// first, since the record has no order: the same record always gives the same list.
fn addresses(heard: &ReceivedRecord<'_>, trust: &Trust, must_be_signed: bool) -> Result<Vec<Ipv4Addr>, Refused> {
    if heard.addrs.is_empty() {
        return Err(Refused::Missing("address"));
    }
    let on_link = heard.addrs.iter().filter(|(ip, interface)| trust.leads_to(*ip, *interface)).map(|(ip, _)| *ip);
    let mut addrs: Vec<Ipv4Addr> = on_link.collect();
    if addrs.is_empty() {
        return Err(Refused::OffLink);
    }
    addrs.retain(|ip| !must_be_signed || heard.has_signed(*ip));
    if addrs.is_empty() {
        return Err(Refused::Doubt(RecordError::Address));
    }
    addrs.sort_unstable();
    addrs.dedup();
    Ok(addrs)
}

/// A name as this project gives them: it goes into logs, labels and pages.
fn is_name(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn weight(text: &str) -> u32 {
    match text.parse::<f64>() {
        // `as` saturates, and takes NaN to 0, so whatever was sent ends in the range.
        Ok(weight) => (weight as u32).clamp(1, 100),
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
