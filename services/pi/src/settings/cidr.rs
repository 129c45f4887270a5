//! IPv4 addresses with their network.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 address that a host can have, and the length of its network's prefix: `192.0.2.7/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    ip: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// `None`: no host can have this address in a network of this size.
    pub fn new(ip: Ipv4Addr, prefix: u8) -> Option<Self> {
        let cidr = Self { ip, prefix };
        let [first, ..] = ip.octets();
        let is_host = !matches!(first, 0 | 127 | 224..);
        (is_host && (8..=31).contains(&prefix) && cidr.has_host(ip)).then_some(cidr)
    }

    /// The host's address.
    pub fn ip(self) -> Ipv4Addr {
        self.ip
    }

    /// The length of the network's prefix, 8 to 31.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// As in `255.255.255.0`.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.mask())
    }

    /// The address of all hosts of the network.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.ip.to_bits() | !self.mask())
    }

    /// Whether a host of the same network can have `other`: neither the first nor the last address of the network,
    /// which mean the network and all its hosts, unless there are but two (RFC 3021).
    pub fn has_host(self, other: Ipv4Addr) -> bool {
        let host = other.to_bits() & !self.mask();
        let is_near = (other.to_bits() ^ self.ip.to_bits()) & self.mask() == 0;
        is_near && (self.prefix == 31 || (host != 0 && host != !self.mask()))
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = r#"is neither "dhcp" nor an address with its network; write for example "192.0.2.7/24""#;
        let (ip, prefix) = text.split_once('/').ok_or(form)?;
        if prefix.len() > 2 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(form);
        }
        let (ip, prefix) = (ip.parse().map_err(|_| form)?, prefix.parse().map_err(|_| form)?);
        Self::new(ip, prefix).ok_or(
            "is no address that a host can have; the part behind / is 8 to 31, and the first and last address of a \
             network are not for hosts",
        )
    }
}
