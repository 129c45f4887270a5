//! State of a Pi, as a file that `bramble pi` writes and the registry's page shows: the process that looks after the Pi
//! listens to nothing, and those that listen may do nothing.

use serde::{Deserialize, Serialize};

/// All there is to tell. What is not known is `None`: an emulated Pi has no temperature.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Host name, also on the network: `http://HOSTNAME.local:8088/`.
    pub hostname: String,
    /// Image that it was started from.
    pub image: Image,
    /// As the device tree has it: "Raspberry Pi 2 Model B Rev 1.1".
    pub model: Option<String>,
    /// The serial number of the board.
    pub serial: Option<String>,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Of the processor, in degrees Celsius.
    pub temperature_c: Option<f32>,
    /// Whether the power supply is too weak right now, or was since the start.
    pub throttling: Option<Throttling>,
    /// All of it together.
    pub memory: Memory,
    /// The way to the others.
    pub network: Network,
    /// Where the time of day comes from.
    pub clock: Clock,
    /// State of the data partition.
    pub data: Data,
    /// Whether a login with a key is possible.
    pub ssh: bool,
    /// Whether a hang restarts the Pi.
    pub watchdog: bool,
    /// In the order of the configuration.
    pub roles: Vec<Role>,
    /// Problems, as sentences that say what to do.
    pub problems: Vec<String>,
}

/// Image that the Pi was started from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Bramble's.
    pub version: String,
    /// The commit.
    pub revision: String,
    /// Linux's.
    pub kernel: String,
    /// Unix time of the build stamp.
    pub built: u64,
}

/// Effects of a weak power supply or heat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throttling {
    /// Right now.
    pub now: bool,
    /// At some time since the start.
    pub since_start: bool,
}

/// In KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Memory that Linux has.
    pub total_kib: u64,
    /// Memory that is not available: programs, and the files in RAM.
    pub used_kib: u64,
}

/// How the address came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// There is none.
    #[default]
    None,
    /// From the network's DHCP server.
    Dhcp,
    /// From the configuration.
    Fixed,
    /// Chosen, as no server gave one (RFC 3927): it reaches the same network and nothing beyond.
    LinkLocal,
}

/// The way to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Of the kernel: `eth0`. `None`: no network device was found.
    pub interface: Option<String>,
    /// Hardware address of the card.
    pub mac: Option<String>,
    /// Whether a cable is in that leads to another device.
    pub cable: bool,
    /// With the length of the network's prefix: "192.0.2.7/24".
    pub address: Option<String>,
    /// How the address came about.
    pub origin: Origin,
    /// Router to other networks.
    pub gateway: Option<String>,
    /// DNS servers.
    pub dns: Vec<String>,
    /// The name that was announced, if another Pi had ours already: `pi-2` for `pi`.
    pub renamed: Option<String>,
}

/// How far the time of day is to be trusted, worst first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSource {
    /// Later than when the image was built, and that is all.
    #[default]
    Build,
    /// Later than when the Pi was last seen running.
    Saved,
    /// Right: a time server said it.
    Ntp,
}

/// The time of day. A Pi 2 has no clock that outlasts the plug.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// Where it comes from.
    pub source: TimeSource,
    /// Time server that set it, if any.
    pub server: Option<String>,
    /// Unix time.
    pub now: u64,
}

/// State of the data partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Data {
    /// Not looked at yet: the services come first.
    #[default]
    Unknown,
    /// There is none, or it cannot be used; nothing outlasts the plug.
    Missing,
    /// In use.
    Mounted,
    /// Was broken, has been made anew, and is in use.
    Rebuilt,
    /// Can be read, but is full or broken.
    ReadOnly,
}

/// A service that is looked after.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    /// `producer`, `consumer` or `registry`.
    pub name: String,
    /// Of its process, while there is one.
    pub pid: Option<u32>,
    /// URL that the service printed: `http://ADDR:PORT`.
    pub url: Option<String>,
    /// Whether the last answer of `/healthz` was good.
    pub healthy: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// Share of the memory (PSS), in KiB.
    pub memory_kib: Option<u64>,
    /// Why it ended last, or cannot start.
    pub last_end: Option<String>,
}
