//! What a Pi that was started from the SD card is to be: nobody logs in there to set it up, so it stands in the file.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::setting::{Distinct, FieldList, Ip, List, Maybe, Net, SshKey, Text, Visitor, Word, hostname, time_server};

/// A service that can run on a Pi that was started from the SD card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PiService {
    /// Answers `GET /weather`.
    Producer,
    /// The web form.
    Consumer,
    /// The page of all services.
    Registry,
}

impl PiService {
    /// The service's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Registry => "registry",
        }
    }
}

/// `[pi]`. Only the SD card's own programs look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pi {
    /// A label of the DNS (RFC 1123). Empty: `pi-` and the last six digits of the serial number.
    pub hostname: String,
    /// Which services run, each once; at least one of producer, consumer and registry.
    pub roles: Vec<PiService>,
    /// Who may log in: lines of an `authorized_keys` without options. Empty: nobody.
    pub ssh_keys: Vec<String>,
    /// How the Pi comes by its address.
    pub address: Addressing,
    /// Who leads to other networks; in the network of a fixed address.
    pub gateway: Option<Ipv4Addr>,
    /// Who knows names. Empty: whom DHCP names.
    pub dns: Vec<IpAddr>,
    /// Time servers, names or addresses. Empty: whom DHCP names, else [`Pi::TIME_SERVERS`].
    pub ntp: Vec<String>,
}

impl Pi {
    /// The services that can run on a Pi.
    pub const ROLES: &[(PiService, &str)] =
        &[(PiService::Producer, "producer"), (PiService::Consumer, "consumer"), (PiService::Registry, "registry")];

    /// Asked where nobody names another: the pool's zone for what is made of Debian, as in Debian's own systemd.
    pub const TIME_SERVERS: [&str; 4] =
        ["0.debian.pool.ntp.org", "1.debian.pool.ntp.org", "2.debian.pool.ntp.org", "3.debian.pool.ntp.org"];

    /// Whether `line` may stand in `authorized_keys`: "ssh-ed25519 AAAA... comment".
    ///
    /// # Errors
    /// How the sentence goes on after the line, which is not to be shown: it may be a private key.
    pub fn check_ssh_key(line: &str) -> Result<(), &'static str> {
        super::setting::ssh_key(line)
    }

    /// Whether `name` can be the name of a Pi.
    ///
    /// # Errors
    /// How the sentence goes on after the name.
    pub fn check_hostname(name: &str) -> Result<(), &'static str> {
        hostname(name)
    }
}

impl Default for Pi {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            roles: Self::ROLES.iter().map(|(role, _)| *role).collect(),
            ssh_keys: Vec::new(),
            address: Addressing::Dhcp,
            gateway: None,
            dns: Vec::new(),
            ntp: Vec::new(),
        }
    }
}

impl FieldList for Pi {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("hostname", &mut self.hostname, Text(hostname));
        v.field("roles", &mut self.roles, Distinct(List { of: Word(Self::ROLES), least: 1, most: 8 }));
        v.field("ssh_keys", &mut self.ssh_keys, List { of: SshKey, least: 0, most: 64 });
        v.field("address", &mut self.address, Net);
        v.field("gateway", &mut self.gateway, Maybe(Ip::default()));
        v.field("dns", &mut self.dns, Distinct(List { of: Ip::default(), least: 0, most: 3 })); // MAXNS of resolv.conf
        v.field("ntp", &mut self.ntp, Distinct(List { of: Text(time_server), least: 0, most: 8 }));
    }
}

/// How a Pi comes by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// The network's DHCP server gives one.
    Dhcp,
    /// This one.
    Fixed(Cidr),
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("dhcp"),
            Self::Fixed(cidr) => cidr.fmt(f),
        }
    }
}

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
