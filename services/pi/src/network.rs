//! Makes so what [`rule::Rule`] wants: finds the network card, which appears late and may vanish, watches the cable,
//! runs the DHCP client, and sets address, route and name servers.

mod apply;
pub(crate) mod lease;
mod rule;

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bramble::timeout::timeout;
use futures_lite::FutureExt as _;
use smol::channel::{Receiver, Sender};
use smol::process::Command;
use smol::{Task, Timer};

use crate::context::Context;
use crate::hostname;
use crate::lines::Lines;
use crate::plan::Plan;
use crate::state::Origin;
use apply::Applied;
use lease::{AddressConfig, News};
use rule::Rule;

/// How often the cable is looked at. A file of the kernel is read, no more.
const LOOK: Duration = Duration::from_millis(500);
/// A network card that is not there by then will hardly come. Of the Pi's own, the kernel knows after 3 to 12 s.
const CARD_WITHIN: Duration = Duration::from_secs(30);
/// A cable may be put in a little after the plug, and a switch takes some seconds.
const CABLE_WITHIN: Duration = Duration::from_secs(10);

/// A card that did not come up may be still waking up.
const TRY_UP: Duration = Duration::from_secs(5);
/// Of its flags (IFF_UP).
const IS_UP: u32 = 1;

const CARD: &str = "network card";
const CABLE: &str = "cable";
const ADDRESS: &str = "address";

/// Event of the network.
enum Event {
    Dhcp(u64, News),
    Tested(Ipv4Addr, bool),
    Settled,
}

/// The network card, and what is done with it.
struct Network {
    context: Rc<Context>,
    rule: Rule,
    events: (Sender<Event>, Receiver<Event>),
    plan: Option<Rc<Plan>>,
    card: Option<String>,
    applied: Option<Applied>,
    /// The DHCP client that runs. Dropped, it ends.
    client: Option<(u64, Task<()>)>,
    test: Option<(Ipv4Addr, Task<()>)>,
    /// Since when there is no card, or no cable.
    missing_since: Instant,
    /// When the card was last told to be up.
    tried_up: Option<Instant>,
}

/// Looks after the network for ever.
pub(crate) async fn look_after(context: Rc<Context>) {
    let mut network = Network {
        rule: Rule::new(),
        events: smol::channel::unbounded(),
        plan: None,
        card: None,
        applied: None,
        client: None,
        test: None,
        missing_since: Instant::now(),
        tried_up: None,
        context,
    };
    loop {
        network.look();
        network.act().await;
        let event = async { network.events.1.recv().await.ok() };
        let settled = async {
            match &network.plan {
                None => Some(network.context.plan.wait().await),
                Some(_) => std::future::pending().await,
            };
            Some(Event::Settled)
        };
        match timeout(LOOK, event.or(settled)).await.flatten() {
            Some(Event::Dhcp(round, news)) => network.rule.dhcp(news, round, Instant::now()),
            Some(Event::Tested(address, is_free)) => {
                network.test = None;
                network.rule.tested(address, is_free, Instant::now());
            }
            Some(Event::Settled) => {
                let plan = Rc::clone(network.context.plan.wait().await);
                network.rule.settle(&plan.pi, Instant::now());
                network.plan = Some(plan);
            }
            None => {}
        }
    }
}

impl Network {
    /// Looks at card and cable.
    fn look(&mut self) {
        let now = Instant::now();
        let machine = &self.context.machine;
        let names = machine.names("/sys/class/net");
        let is_card = |name: &&String| ["eth", "en", "usb"].iter().any(|beginning| name.starts_with(beginning));
        let card = names.iter().find(|name| Some(*name) == self.card.as_ref()).or_else(|| names.iter().find(is_card));
        if card != self.card.as_ref() {
            self.card = card.cloned();
            self.applied = None;
            self.missing_since = now;
            self.context.board.console.log(
                log::Level::Info,
                "bramble",
                &match &self.card {
                    Some(name) => format!("network card {name}"),
                    None => "the network card is gone".into(),
                },
            );
            self.tried_up = None;
            if let Some(plan) = &self.plan {
                hostname::set(&self.context, &plan.pi);
            }
        }
        self.raise(now);
        let machine = &self.context.machine;
        let file =
            |name: &str| self.card.as_ref().and_then(|card| machine.text(&format!("/sys/class/net/{card}/{name}")));
        let mac = file("address");
        let has_cable = file("carrier").as_deref() == Some("1"); // while the card is down it cannot be read
        self.rule.card(mac.as_deref(), now);
        self.rule.cable(has_cable, now);
        self.tell(mac, has_cable, now);
    }

    /// Puts the card into use, and again if that did not help.
    fn raise(&mut self, now: Instant) {
        let (machine, Some(name)) = (&self.context.machine, &self.card) else { return };
        let flags = machine.text(&format!("/sys/class/net/{name}/flags")).unwrap_or_default();
        let is_down = u32::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|flags| flags & IS_UP == 0);
        if self.tried_up.is_some_and(|at| !is_down || now.saturating_duration_since(at) < TRY_UP) {
            return;
        }
        self.tried_up = Some(now);
        let up = machine.tool("ip").args(["link", "set", "dev", name, "up"]).stdin(Stdio::null()).status();
        if let Err(error) = up {
            log::error!("ip link set dev {name} up: {error}");
        }
    }

    fn tell(&mut self, mac: Option<String>, has_cable: bool, now: Instant) {
        let board = &self.context.board;
        if has_cable {
            self.missing_since = now;
            board.well(CARD);
            board.well(CABLE);
        } else if self.card.is_none() {
            board.well(CABLE);
            if now.saturating_duration_since(self.missing_since) > CARD_WITHIN {
                board.problem(CARD, "no network card has been found; switch the Pi off and on again");
            }
        } else {
            board.well(CARD);
            if now.saturating_duration_since(self.missing_since) > CABLE_WITHIN {
                board.problem(
                    CABLE,
                    "the network cable is out, or nothing is at its other end; put it in, or look at the switch",
                );
            }
        }
        let known = board.get(|state| (state.network.interface == self.card) && state.network.cable == has_cable);
        if !known {
            board.set(|state| {
                (state.network.interface, state.network.mac, state.network.cable) = (self.card.clone(), mac, has_cable);
            });
        }
    }

    /// Starts and ends what the rule wants, and sets the address.
    async fn act(&mut self) {
        let now = Instant::now();
        let round = self.rule.dhcp_round();
        if round != self.client.as_ref().map(|(round, _)| *round) {
            self.client = None;
            if let (Some(round), Some(card)) = (round, &self.card) {
                let (context, events) = (Rc::clone(&self.context), self.events.0.clone());
                let client = ask_dhcp(context, card.clone(), round, events);
                self.client = Some((round, self.context.executor.spawn(client)));
            }
        }
        if let (Some(address), None, Some(card)) = (self.rule.to_test(now), &self.test, &self.card) {
            let (context, events) = (Rc::clone(&self.context), self.events.0.clone());
            let test = test(context, card.clone(), address, events);
            self.test = Some((address, self.context.executor.spawn(test)));
        }
        let wanted = self.rule.wanted(now);
        if wanted.as_ref() != self.applied.as_ref().and_then(|applied| applied.wanted.as_ref()) {
            self.apply(wanted).await;
        }
    }

    async fn apply(&mut self, wanted: Option<AddressConfig>) {
        let board = &self.context.board;
        if let Some(card) = &self.card {
            let before = self.applied.take();
            if let Err(error) = apply::apply(&self.context.machine, card, before, wanted.as_ref()).await {
                board.problem("setting the address", format!("the address cannot be set: {error}"));
            } else {
                board.well("setting the address");
            }
            self.applied = Some(Applied { wanted: wanted.clone() });
        }
        match wanted.as_ref().map(|wanted| (wanted.origin, wanted.lease.address)) {
            Some((Origin::LinkLocal, address)) => board.problem(
                ADDRESS,
                format!(
                    "no DHCP server gives addresses on the network, so this Pi has taken {address}: it reaches what is on \
                     the same cable and no time server; switch the router on, or set [pi] address in bramble.toml"
                ),
            ),
            _ => board.well(ADDRESS),
        }
        board.set(|state| {
            let network = &mut state.network;
            network.origin = wanted.as_ref().map_or(Origin::None, |wanted| wanted.origin);
            let lease = wanted.as_ref().map(|wanted| &wanted.lease);
            network.address = lease.map(|lease| format!("{}/{}", lease.address, lease.prefix));
            network.gateway = lease.and_then(|lease| lease.gateway).map(|gateway| gateway.to_string());
            network.dns = lease.map(|lease| lease.dns.iter().map(ToString::to_string).collect()).unwrap_or_default();
        });
        self.context.address.set(wanted);
    }
}

/// Runs the DHCP client; whenever it ends, again.
async fn ask_dhcp(context: Rc<Context>, card: String, round: u64, events: Sender<Event>) {
    let hostname = format!("hostname:{}", context.board.get(|state| state.hostname.clone()));
    loop {
        let mut command = context.machine.tool("udhcpc");
        // In the foreground; eight questions a second apart, for the first ones are lost where the switch is not ready;
        // a pause of ten, and again. Asks for time servers too.
        command.args(["-f", "-i", &card, "-x", &hostname, "-t", "8", "-T", "1", "-A", "10", "-O", "ntpsrv", "-s"]);
        command.arg(context.machine.path("/etc/udhcpc.script"));
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        match command.spawn() {
            Ok(mut client) => {
                let out = client.stdout.take().expect("piped");
                let mut lines = Lines::of(out);
                while let Some(line) = lines.next().await {
                    if let Some(news) = lease::parse(&line) {
                        let _ = events.send(Event::Dhcp(round, news)).await; // never closed while this runs
                    }
                }
                let _ = client.kill(); // it has closed its output, so it has ended or is no use
                let _ = client.status().await;
            }
            Err(error) => log::error!("udhcpc: {error}"),
        }
        Timer::after(Duration::from_secs(5)).await;
    }
}

/// Asks the network three times whether another host has an address (RFC 3927, 2.2.1).
async fn test(context: Rc<Context>, card: String, address: Ipv4Addr, events: Sender<Event>) {
    let mut command = context.machine.tool("arping");
    command.args(["-D", "-q", "-c", "3", "-w", "4", "-I", &card, &address.to_string()]);
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let is_free = command.status().await.is_ok_and(|status| status.success());
    let _ = events.send(Event::Tested(address, is_free)).await; // never closed while this runs
}
