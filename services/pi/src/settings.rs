//! The section `[pi]`: what a Pi that was started from the SD card is to be. There is no login to set it up by hand.

mod cidr;
mod ssh_key;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use bramble::config::{self, Conflict, Fields, Section};

pub use cidr::Cidr;

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

impl FromStr for PiService {
    /// How a sentence goes on after the text.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let service = Pi::ROLES.iter().copied().find(|service| service.as_str() == text);
        service.ok_or(r#"is not one of "producer", "consumer", "registry""#)
    }
}

impl fmt::Display for PiService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[pi]`. Only the SD card's own programs look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pi {
    /// A label of the DNS (RFC 1123). Empty: `pi-` and the last six digits of the serial number.
    pub hostname: String,
    /// The services that run, each once; at least one.
    pub roles: Vec<PiService>,
    /// Public keys that may log in: lines of an `authorized_keys` without options. Empty: none, and SSH is off.
    pub ssh_keys: Vec<String>,
    /// The source of its address.
    pub address: Addressing,
    /// The router to other networks; in the network of a fixed address.
    pub gateway: Option<Ipv4Addr>,
    /// Servers of the DNS. Empty: those that DHCP names.
    pub dns: Vec<IpAddr>,
    /// Time servers, names or addresses. Empty: those that DHCP names, else [`Pi::TIME_SERVERS`].
    pub ntp: Vec<String>,
}

impl Pi {
    /// The services that can run on a Pi.
    pub const ROLES: [PiService; 3] = [PiService::Producer, PiService::Consumer, PiService::Registry];

    /// The default time servers: the pool's zone for what is made of Debian, as in Debian's own systemd.
    pub const TIME_SERVERS: [&str; 4] =
        ["0.debian.pool.ntp.org", "1.debian.pool.ntp.org", "2.debian.pool.ntp.org", "3.debian.pool.ntp.org"];

    /// Whether `line` may stand in `authorized_keys`: "ssh-ed25519 AAAA... comment".
    ///
    /// # Errors
    /// How the sentence goes on after the line, which is not to be shown: it may be a private key.
    pub fn check_ssh_key(line: &str) -> Result<(), &'static str> {
        ssh_key::parse(line).map(drop)
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
            roles: Self::ROLES.into(),
            ssh_keys: Vec::new(),
            address: Addressing::Dhcp,
            gateway: None,
            dns: Vec::new(),
            ntp: Vec::new(),
        }
    }
}

impl Section for Pi {
    const NAME: &'static str = "pi";
    const IS_TOP_LEVEL: bool = true;

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.text("hostname", &mut self.hostname, hostname);
        fields.values("roles", &mut self.roles, str::parse, 1..=8);
        fields.hidden_values("ssh_keys", &mut self.ssh_keys, ssh_key::parse, 64);
        fields.value("address", &mut self.address, str::parse);
        fields.optional("gateway", &mut self.gateway, ip);
        fields.values("dns", &mut self.dns, ip, 0..=3); // MAXNS of resolv.conf
        fields.values("ntp", &mut self.ntp, time_server, 0..=8);
    }

    fn conflicts(&self) -> Vec<Conflict> {
        let Some(gateway) = self.gateway else { return Vec::new() };
        let why = match self.address {
            Addressing::Dhcp => format!("{gateway} is only asked with a fixed address; with DHCP leave it empty"),
            Addressing::Fixed(own) if own.ip() == gateway => format!("{gateway} is the Pi's own address"),
            Addressing::Fixed(own) if own.has_host(gateway) => return Vec::new(),
            Addressing::Fixed(own) => format!("{gateway} is not in the network of pi.address = {own}"),
        };
        vec![Conflict::new(["gateway", "address"], why)]
    }
}

/// The source of a Pi's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// The network's DHCP server gives one.
    Dhcp,
    /// The address of the settings.
    Fixed(Cidr),
}

impl FromStr for Addressing {
    /// How a sentence goes on after the text.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "dhcp" { Ok(Self::Dhcp) } else { text.parse().map(Self::Fixed) }
    }
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("dhcp"),
            Self::Fixed(cidr) => cidr.fmt(f),
        }
    }
}

fn ip<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| r#"is not an address; write for example "192.0.2.1""#)
}

/// A label of the DNS (RFC 1123, 2.1), or nothing.
fn hostname(name: &str) -> Result<(), &'static str> {
    if name.eq_ignore_ascii_case("localhost") {
        return Err("is what every computer calls itself; choose another name");
    }
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if name.len() <= 63 && letters && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err("is not a name for a Pi; allowed are up to 63 of A-Z, a-z, 0-9 and -, with no - at its ends and no dot")
}

/// The name or the address of a time server.
fn time_server(text: &str) -> Result<String, &'static str> {
    let is_number = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    let is_name = config::is_host(text) && !text.starts_with('[') && !text.rsplit('.').next().is_some_and(is_number);
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(r#"is not a time server; write for example "0.debian.pool.ntp.org" or "192.0.2.1""#)
}

#[cfg(test)]
mod tests;
