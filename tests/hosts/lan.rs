//! A switch and hosts, made of network namespaces. Nothing of it is outside of them, so removing them removes it all.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use crate::netns::{PREFIX, remove_what_dead_runs_left};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A LAN with hosts 1 to `hosts` at 10.77.0.1 and so on, each with a default route over `eth0`.
pub(crate) struct Lan {
    id: String,
    hosts: u8,
    _turn: Turn,
}

/// Lock for one LAN at a time, or any number.
static TURNS: RwLock<()> = RwLock::new(());

/// A test has one LAN: one that waits for a second while it has a first may wait for ever.
enum Turn {
    WithOthers { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Lan {
    pub(crate) fn new(hosts: u8) -> Self {
        let guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        Self::with(hosts, Turn::WithOthers { _guard: guard })
    }

    /// The only LAN, once the others are gone: for what shows something of a machine that has nothing else to do.
    pub(crate) fn alone(hosts: u8) -> Self {
        let guard = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        Self::with(hosts, Turn::Alone { _guard: guard })
    }

    fn with(hosts: u8, turn: Turn) -> Self {
        static CLEAN: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        CLEAN.call_once(remove_what_dead_runs_left);
        let id = format!("{PREFIX}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lan = Self { id, hosts, _turn: turn };
        let switch = lan.switch();
        run("ip", &["netns", "add", &switch]);
        // Snooping would want a multicast router to keep the groups alive.
        lan.ip(&switch, "link add br0 type bridge mcast_snooping 0");
        lan.ip(&switch, "link set br0 up");
        for host in 1..=hosts {
            let name = lan.name(host);
            run("ip", &["netns", "add", &name]);
            lan.ip(&name, "link set lo up");
            let add =
                ["-n", &name, "link", "add", "eth0", "type", "veth", "peer", "name", &port(host), "netns", &switch];
            run("ip", &add);
            lan.ip(&switch, &format!("link set {} master br0 up", port(host)));
            lan.ip(&name, "link set eth0 up");
            lan.ip(&name, &format!("address add {}/24 dev eth0", ip(host)));
            lan.ip(&name, "route add default via 10.77.0.254");
        }
        lan
    }

    /// The namespace of a host.
    pub(crate) fn name(&self, host: u8) -> String {
        assert!((1..=self.hosts).contains(&host), "there is no host {host}");
        format!("{}-h{host}", self.id)
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.id)
    }

    fn ip(&self, namespace: &str, command: &str) {
        let words: Vec<&str> = ["-n", namespace].into_iter().chain(command.split(' ')).collect();
        run("ip", &words);
    }

    /// Runs `ip COMMAND` on a host.
    pub(crate) fn on(&self, host: u8, command: &str) {
        self.ip(&self.name(host), command);
    }

    /// Takes the host's cable out of the switch, or puts it back. The host sees its link go down.
    pub(crate) fn cable(&self, host: u8, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        self.ip(&self.switch(), &format!("link set {} {state}", port(host)));
    }

    /// Cuts a host off, or lets it back, without its noticing: its link stays up.
    pub(crate) fn partition(&self, host: u8, is_cut: bool) {
        let command = if is_cut { "nomaster" } else { "master br0" };
        self.ip(&self.switch(), &format!("link set {} {command}", port(host)));
    }

    /// Every host loses one packet of five that come to it.
    pub(crate) fn lose_every_fifth(&self) {
        for host in 1..=self.hosts {
            let rules = "add table ip loss; add chain ip loss in { type filter hook input priority 0; }; \
                         add rule ip loss in iifname eth0 numgen random mod 100 < 20 drop";
            run("ip", &["netns", "exec", &self.name(host), "nft", rules]);
        }
    }

    /// Runs `work` on a thread that is on `host`: what it opens belongs to that host.
    pub(crate) fn inside<T: Send>(&self, host: u8, work: impl FnOnce() -> T + Send) -> T {
        let name = self.name(host);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                enter(&name);
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let hosts = (1..=self.hosts).map(|host| self.name(host));
        for name in hosts.chain([self.switch()]) {
            // Some may be missing if the LAN could not be made; one that stays is removed by the next run.
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(std::process::Stdio::null()).status();
        }
    }
}

/// Moves this thread into the namespace called `name`; threads it starts are there as well.
pub(crate) fn enter(name: &str) {
    let namespace = File::open(format!("/run/netns/{name}")).expect("the namespace exists");
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
}

/// The address of a host.
pub(crate) fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, host)
}

fn port(host: u8) -> String {
    format!("port{host}")
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}
