//! Detects a container behind its engine's own network. mDNS would announce an address there that no host outside can
//! reach, and on an overlay network not even the neighbours hear it.
//!
//! No single sign is enough: a virtual machine may be made of an image that has `/.dockerenv`, a container may share
//! its host's network or have a macvlan on the LAN, and LXC's cable may lead to the LAN's own bridge. So all of these
//! must be there: the engine's mark, the name files that an engine lays over the image's, and a virtual cable as the
//! interface that mDNS would use.

use std::collections::BTreeMap;
use std::path::Path;

use super::{interfaces, links};
use crate::config::Discovery;
use crate::service::{Calls, Service};

/// Docker's and Podman's mark.
const MARKS: [&str; 2] = [".dockerenv", "run/.containerenv"];
/// Kubernetes has no mark in the file system, but tells every container where its API is.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";
/// Written for each container by its engine, and mounted over the image's own.
const NAME_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// Kinds of cables whose other end the engine holds: bridge and overlay networks, Cilium's, rootless Podman's.
const CABLES: [&str; 3] = ["veth", "netkit", "tun"];

/// Why mDNS is not to be used by `service`, as a sentence. Says it in the log, too. None: nothing is in its way, or the
/// configuration names interfaces, and so knows better.
pub(crate) fn is_in_the_way(config: &Discovery, service: &Service) -> Option<String> {
    if !config.interfaces.is_empty() {
        return None;
    }
    let signs = Signs::read(Path::new("/"), std::env::var_os(KUBERNETES).is_some());
    let interface = signs.bridged(&links::kinds().ok()?)?;
    let why = format!(
        "this container has a network of its engine's own ({interface}), where mDNS would announce an address that \
         no host outside can reach"
    );
    let alternative = alternative(config, service);
    match &alternative {
        Alternative::None(_) => log::warn!("{why}: {alternative}"),
        _ => log::info!("{why}: {alternative}"),
    }
    Some(format!("off: {why}: {alternative}"))
}

/// Discovery without mDNS.
#[derive(Debug, PartialEq, Eq)]
enum Alternative {
    /// Services are found by these names.
    Names(String),
    /// The service calls no other, and is found by its alias.
    Alias,
    /// None, and a service that is to be called.
    None(&'static str),
}

fn alternative(config: &Discovery, service: &Service) -> Alternative {
    let names: Vec<String> = config.dns.iter().map(|(service, name)| format!("{service} at {name}")).collect();
    match service.callees() {
        _ if !names.is_empty() => Alternative::Names(names.join(", ")),
        _ if !config.fixed.is_empty() => Alternative::Names("those of [discovery] fixed".into()),
        Calls::None if !service.is_program() => Alternative::Alias,
        Calls::These([callee, ..]) => Alternative::None(callee),
        _ => Alternative::None("NAME"),
    }
}

impl std::fmt::Display for Alternative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Names(names) => write!(f, "it is off, and others are found by name ({names})"),
            Self::Alias => f.write_str("it is off, and others find this one by its alias on the network"),
            Self::None(callee) => write!(
                f,
                "it is off, and no instance can be found; set [discovery] dns = {{ {callee} = \"{callee}:8080\" }} to the \
                 alias of the service, or run this on the host's network or a macvlan, or name the interface in \
                 [discovery] interfaces to use mDNS all the same",
            ),
        }
    }
}

/// Signs of a container.
#[derive(Debug)]
struct Signs {
    is_marked: bool,
    has_name_files: bool,
    /// Interfaces that mDNS would use.
    interfaces: Vec<String>,
}

impl Signs {
    /// Below `root`; in a process of Kubernetes, `in_kubernetes`.
    fn read(root: &Path, in_kubernetes: bool) -> Self {
        let mounts = std::fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
        // The fifth field is where it is mounted (proc_pid_mountinfo(5)).
        let mut places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        Self {
            is_marked: in_kubernetes || MARKS.iter().any(|mark| root.join(mark).exists()),
            has_name_files: places.any(|place| NAME_FILES.contains(&place)),
            interfaces: interfaces::used(root),
        }
    }

    /// The interface, if every one that mDNS would use is an engine's cable.
    fn bridged(&self, kinds: &BTreeMap<String, String>) -> Option<&str> {
        let is_cable = |name: &String| kinds.get(name).is_some_and(|kind| CABLES.contains(&kind.as_str()));
        let is_bridged = self.is_marked && self.has_name_files && self.interfaces.iter().all(is_cable);
        self.interfaces.first().filter(|_| is_bridged).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    const CALLER: Service = Service::named("frontdesk").calls(&["greeter"]);

    use super::*;
    use crate::config::Config;

    const ROUTE: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
         eth1\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
         eth0\t0009000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const OF_DOCKER: &str = "812 745 0:61 / / ro,relatime - overlay overlay rw\n\
         830 812 254:0 /var/lib/docker/containers/0f/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw\n\
         831 812 254:0 /var/lib/docker/containers/0f/hosts /etc/hosts rw - ext4 /dev/vda rw\n";
    const OF_A_MACHINE: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n";

    /// A file system with these signs in it, in a folder of its own.
    fn root(name: &str, mark: Option<&str>, mounts: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("bramble-container-{name}-{}", std::process::id()));
        for folder in ["run", "proc/self/net", "sys/class/net/eth0", "sys/class/net/eth1"] {
            fs::create_dir_all(root.join(folder)).expect("a folder for the test");
        }
        if let Some(mark) = mark {
            fs::write(root.join(mark), "").expect("writable");
        }
        fs::write(root.join("proc/self/mountinfo"), mounts).expect("writable");
        fs::write(root.join("proc/self/net/route"), ROUTE).expect("writable");
        root
    }

    fn judged(name: &str, mark: Option<&str>, mounts: &str, eth1: Option<&str>) -> Option<String> {
        let root = root(name, mark, mounts);
        let kinds = eth1.map(|kind| ("eth1".to_owned(), kind.to_owned())).into_iter().collect();
        let found = Signs::read(&root, false).bridged(&kinds).map(str::to_owned);
        fs::remove_dir_all(root).expect("the test's own folder");
        found
    }

    #[test]
    fn a_container_on_a_bridge_or_overlay_network_is_noticed() {
        let eth1 = Some("eth1".to_owned());
        assert_eq!(judged("docker", Some(".dockerenv"), OF_DOCKER, Some("veth")), eth1);
        assert_eq!(judged("podman", Some("run/.containerenv"), OF_DOCKER, Some("tun")), eth1);
    }

    #[test]
    fn the_hosts_network_and_a_macvlan_keep_mdns() {
        assert_eq!(judged("host", Some(".dockerenv"), OF_DOCKER, None), None);
        assert_eq!(judged("macvlan", Some(".dockerenv"), OF_DOCKER, Some("macvlan")), None);
    }

    #[test]
    fn a_machine_with_one_sign_of_a_container_keeps_mdns() {
        assert_eq!(judged("machine", Some(".dockerenv"), OF_A_MACHINE, Some("veth")), None, "made of an image");
        assert_eq!(judged("lxc", None, OF_A_MACHINE, Some("veth")), None, "its bridge may be the LAN's");
        assert_eq!(judged("netns", None, OF_DOCKER, Some("veth")), None, "`ip netns exec` mounts a resolv.conf too");
    }

    #[test]
    fn in_kubernetes_the_environment_is_the_mark() {
        let root = root("kubernetes", None, OF_DOCKER);
        let kinds = [("eth1".to_owned(), "veth".to_owned())].into();
        assert_eq!(Signs::read(&root, true).bridged(&kinds), Some("eth1"));
        fs::remove_dir_all(root).expect("the test's own folder");
    }

    #[test]
    fn the_sentence_says_what_is_used_instead_or_what_to_do() {
        let mut discovery = Config::default().discovery;
        assert!(
            alternative(&discovery, &CALLER)
                .to_string()
                .contains("set [discovery] dns = { greeter = \"greeter:8080\" }")
        );
        let page = Service::named("page").calls_all();
        assert!(alternative(&discovery, &page).to_string().contains("set [discovery] dns = { NAME = \"NAME:8080\" }"));
        assert_eq!(alternative(&discovery, &Service::named("greeter")), Alternative::Alias);
        discovery.dns = [("greeter".to_owned(), "greeter:8080".to_owned())].into();
        assert!(alternative(&discovery, &CALLER).to_string().contains("(greeter at greeter:8080)"));
    }

    #[test]
    fn an_interface_named_in_the_configuration_wins() {
        let mut discovery = Config::default().discovery;
        discovery.interfaces = vec!["eth0".into()];
        assert_eq!(is_in_the_way(&discovery, &CALLER), None);
    }
}
