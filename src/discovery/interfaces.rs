//! Network interfaces that belong to the LAN. A Pi that also runs containers has docker0 and a veth for each of them;
//! their addresses lead nowhere for other hosts, so they are never announced.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Beginnings of names that the kernel's and container engines' virtual interfaces have.
const VIRTUAL: [&str; 9] = ["docker", "br-", "veth", "cni", "flannel", "virbr", "tun", "tap", "wg"];
/// Where only processes of this machine are.
pub(super) const LOOPBACK: &str = "lo";
/// mDNS asks for every address of every interface in one go; the answer is the same for all of them.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Says of an interface by its name whether to use it.
#[derive(Debug)]
pub(super) struct InterfaceSelection {
    /// Not empty: these and no others.
    configured: Vec<String>,
    /// Whether `lo` is used besides: a command in a terminal also wants to see what runs on this machine alone.
    also_loopback: bool,
    looked: Mutex<Option<(Instant, Vec<String>)>>,
}

impl InterfaceSelection {
    pub(super) fn new(configured: Vec<String>, also_loopback: bool) -> Self {
        Self { configured, also_loopback, looked: Mutex::default() }
    }

    /// Problem of the configured interfaces, as a sentence: none of them is there.
    pub(super) fn problem(&self, root: &Path) -> Option<String> {
        let there = names(root);
        if self.configured.is_empty() || there.is_empty() || self.configured.iter().any(|one| there.contains(one)) {
            return None;
        }
        Some(format!(
            "no interface in [discovery] interfaces ({}) is there yet; there are {}",
            self.configured.join(", "),
            there.join(", ")
        ))
    }

    /// Whether to use the interface called `name`.
    pub(super) fn contains(&self, name: &str) -> bool {
        if !self.configured.is_empty() {
            return self.configured.iter().any(|one| one == name);
        }
        if self.also_loopback && name == LOOPBACK {
            return true;
        }
        let now = Instant::now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        match looked.as_ref() {
            Some((at, names)) if now.duration_since(*at) < GOOD_FOR => names.iter().any(|one| one == name),
            _ => {
                let names = used(Path::new("/"));
                let contains = names.iter().any(|one| one == name);
                *looked = Some((now, names));
                contains
            }
        }
    }
}

/// Interfaces that are used when the configuration names none, by what the kernel shows below `root`. Not by /proc/net,
/// which a hardened service does not see.
pub(super) fn used(root: &Path) -> Vec<String> {
    let routes = fs::read_to_string(root.join("proc/self/net/route")).unwrap_or_default();
    choose(default_route(&routes), &names(root))
}

/// Every interface of this machine, sorted.
fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("sys/class/net")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The interface of the default route with the lowest metric in the kernel's routing table.
fn default_route(table: &str) -> Option<&str> {
    let rows = table.lines().skip(1).filter_map(|row| {
        let columns: Vec<&str> = row.split_ascii_whitespace().collect();
        match columns[..] {
            [name, "00000000", _, _, _, _, metric, "00000000", ..] => Some((metric.parse::<u32>().ok()?, name)),
            _ => None,
        }
    });
    rows.min().map(|(_, name)| name)
}

/// The default route's interface; without one, every real one (a switch with no router is a LAN too); without any,
/// `lo`.
fn choose(default_route: Option<&str>, all: &[String]) -> Vec<String> {
    let real = |name: &&String| *name != LOOPBACK && !VIRTUAL.iter().any(|beginning| name.starts_with(beginning));
    match default_route {
        Some(name) => vec![name.to_owned()],
        None if all.iter().any(|name| real(&name)) => all.iter().filter(real).cloned().collect(),
        None => vec![LOOPBACK.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

    #[test]
    fn of_two_default_routes_the_cheaper_one_counts() {
        let table = format!(
            "{HEAD}docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
             wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        );
        assert_eq!(default_route(&table), Some("eth0"));
        assert_eq!(default_route(HEAD), None);
        assert_eq!(default_route("junk"), None);
    }

    #[test]
    fn a_switch_without_a_router_is_a_lan_too() {
        let all = ["lo", "eth0", "docker0", "veth12ab", "wg0"].map(String::from);
        assert_eq!(choose(None, &all), ["eth0"]);
        assert_eq!(choose(Some("eth0"), &all), ["eth0"]);
    }

    #[test]
    fn loopback_is_used_only_where_nothing_else_is_there() {
        assert_eq!(choose(None, &["lo", "docker0"].map(String::from)), ["lo"]);
    }

    #[test]
    fn configured_interfaces_of_which_none_is_there_are_named_beside_those_that_are() {
        let root = std::env::temp_dir().join(format!("bramble-interfaces-{}", std::process::id()));
        for name in ["lo", "eth0"] {
            fs::create_dir_all(root.join("sys/class/net").join(name)).expect("a folder");
        }
        let problem = |names: &[&str]| {
            InterfaceSelection::new(names.iter().map(|name| (*name).to_owned()).collect(), false).problem(&root)
        };
        assert_eq!(problem(&["eth1", "eth0"]), None);
        assert_eq!(problem(&[]), None);
        let said = problem(&["nosuch0"]).expect("it is not there");
        assert!(said.contains("(nosuch0) is there yet; there are eth0, lo"), "{said}");
        fs::remove_dir_all(&root).expect("the test's own folder");
    }

    #[test]
    fn configured_interfaces_are_used_and_no_others() {
        let chosen = InterfaceSelection::new(vec!["eth1".into()], true);
        assert!(chosen.contains("eth1") && !chosen.contains("eth0") && !chosen.contains("lo"));
    }
}
