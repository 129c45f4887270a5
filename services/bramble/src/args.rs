//! The command line of `bramble`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bramble::config::{Config, Sources};
use clap::{Parser, Subcommand};

use crate::{Failure, sections};

/// Weather services for a cluster of Raspberry Pis: they find each other without a central server, and keep answering
/// while Pis die, cables are pulled and the internet is down.
#[derive(Debug, Parser)]
#[command(name = "bramble", version, about, long_about = None, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try everything on this machine: stand-in, producers, form and page
    Demo(Demo),
    /// Answer GET /weather from OpenWeatherMap
    Producer(Producer),
    /// Serve the web form on port 8088
    Consumer(Service),
    /// Serve the page of all services on port 8761
    Registry(Registry),
    /// Stand in for OpenWeatherMap: same addresses, bodies and errors
    UpstreamSim(UpstreamSim),
    /// Ask for the weather from the terminal
    Weather(Weather),
    /// List the services on the LAN
    Browse(Browse),
    /// Ask whether the service on this machine is alive; for health checks and scripts
    Health(Health),
    /// Print the configuration as it takes effect, or every mistake in it
    CheckConfig(CheckConfig),
    /// Set up a Pi and look after its services: what init runs on the SD card, and for nothing else
    Pi(Pi),
    /// Announce a Pi's name and ask for the time; `bramble pi` starts it
    #[command(hide = true)]
    PiNet(PiNet),
}

/// Where the settings come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Settings {
    /// Read this file instead of /etc/bramble/bramble.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, as in --set call.timeout=2s; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// The settings of `service`: code, file, environment, flags; later ones win.
    pub(crate) fn load(&self, service: &bramble::Service, flags: Vec<(String, String)>) -> Result<Config, Failure> {
        let mut sources = Sources::of_process(self.config.clone());
        for set in &self.set {
            let pair = set.split_once('=');
            let (key, value) = pair.ok_or_else(|| Failure::Usage(format!("--set {set}: write SECTION.KEY=VALUE")))?;
            sources.flags.push((key.trim().into(), value.trim().into()));
        }
        sources.flags.extend(flags);
        service.configure(sections::all()).merge(&sources).map_err(|error| Failure::Usage(error.to_string()))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Service {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Serve at this address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_at)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) life: Life,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Producer {
    #[command(flatten)]
    pub(crate) service: Service,
    /// While this file is there, the clock is a guess: no TLS, and ages are unknown
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) clock_unset: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pi {
    /// Try it with a folder that stands in for the Pi; nothing outside it is changed
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(crate) trial: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Registry {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Where the demo takes what its buttons ask for
    #[arg(long, hide = true, value_name = "URL")]
    pub(crate) demo_control: Option<String>,
    /// Show the Pi too, as `bramble pi` writes it into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) pi_state: Option<PathBuf>,
}

/// When to end, besides SIGTERM.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Life {
    /// End when standard input closes, so that no child outlives its parent
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

impl Service {
    pub(crate) fn load(&self, service: &bramble::Service) -> Result<Config, Failure> {
        self.settings.load(service, listen_flag(self.listen))
    }
}

/// A time to wait, which is more than none.
fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("nothing answers in no time; write a time such as 2s".into()),
        Ok(time) => Ok(time),
        Err(_) => Err("write a number with a unit, such as 500ms, 2s or 1m".into()),
    }
}

fn listen_at(text: &str) -> Result<SocketAddr, String> {
    let why = "write an address of this machine and a port, such as 0.0.0.0:8080, 127.0.0.1:0 or [::]:8080";
    text.parse().map_err(|_| why.to_owned())
}

fn listen_flag(listen: Option<SocketAddr>) -> Vec<(String, String)> {
    listen.map(|addr| ("server.listen".into(), addr.to_string())).into_iter().collect()
}

#[derive(Debug, clap::Args)]
pub(crate) struct UpstreamSim {
    #[command(flatten)]
    settings: Settings,
    /// Serve at this address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0", value_parser = listen_at)]
    listen: SocketAddr,
    /// Accept this API key; may be repeated
    #[arg(long = "key", value_name = "KEY", default_value = "demo")]
    pub(crate) keys: Vec<String>,
    /// Answer at most this many calls a minute, then 429
    #[arg(long, value_name = "CALLS")]
    pub(crate) limit_per_minute: Option<u32>,
    /// Let other machines set faults too
    #[arg(long)]
    pub(crate) allow_remote_faults: bool,
    #[command(flatten)]
    pub(crate) life: Life,
}

impl UpstreamSim {
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        self.settings.load(&bramble_upstream_sim::SERVICE, listen_flag(Some(self.listen)))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Port of the form; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8088)]
    pub(crate) consumer_port: u16,
    /// Port of the page of all services; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8761)]
    pub(crate) registry_port: u16,
    /// How many producers to start
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) producers: u8,
    /// Name of the cluster; two demos with different names do not see each other
    #[arg(long, value_name = "NAME", default_value = "bramble")]
    pub(crate) cluster: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Weather {
    /// Postal code, for example 70569 or "SW1A 1AA"
    pub(crate) zip: String,
    /// Country in two letters; US is assumed if left out, and the answer says so
    pub(crate) country: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Browse {
    /// Go on, and print the list again at each change
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print JSON, one list a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PiNet {
    /// Announce this name, with a number behind it if another machine has it; without it none
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) hostname: String,
    /// Ask these time servers; without them Debian's pool
    #[arg(long, value_name = "HOST,HOST", value_delimiter = ',')]
    pub(crate) ntp: Vec<String>,
    /// Announce the name on this network interface; may be repeated; without it on that of the default route
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Vec<String>,
    #[command(flatten)]
    pub(crate) life: Life,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    /// Service to ask: producer, consumer, registry, or http://HOST:PORT; without it, the service at the ports of the
    /// configuration
    #[arg(value_name = "ROLE|URL")]
    pub(crate) what: Option<String>,
    /// Ask at this port of loopback
    #[arg(long, value_name = "PORT", conflicts_with = "what", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = timeout)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckConfig {
    /// The file to check; without it, what a service would read
    file: Option<PathBuf>,
    /// Role to show the defaults of
    #[arg(long, value_name = "ROLE", default_value = "consumer", value_parser = ["producer", "consumer", "registry"])]
    role: String,
}

impl CheckConfig {
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        let service = match self.role.as_str() {
            "producer" => bramble_producer::SERVICE,
            "registry" => bramble_registry::SERVICE,
            _ => bramble_consumer::SERVICE,
        };
        Settings { config: self.file.clone(), set: Vec::new() }.load(&service, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_manual_names_every_command_and_option() {
        let manual = include_str!("../../../etc/debian/bramble.1").replace("\\-", "-");
        for command in Args::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(manual.contains(command.get_name()), "{}", command.get_name());
            for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
                let long = option.get_long().map(|long| format!("--{long}")).unwrap_or_default();
                assert!(manual.contains(&long), "{} {long}", command.get_name());
            }
        }
        assert!(manual.contains(&format!("Bramble {}\"", env!("CARGO_PKG_VERSION"))), "the version in its footer");
    }

    #[test]
    fn the_arguments_contradict_nothing() {
        Args::command().debug_assert();
    }
}
