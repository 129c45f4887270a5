//! Other implementations of mDNS: Debian's avahi and PyPI's zeroconf see us, and we see them, on another host and on
//! our own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::lan::{Lan, ip};
use crate::name::PiNet;
use crate::node::{PATIENCE, StandIn, View};

/// A program that is no service of ours. Dropped, it is killed.
struct PeerProcess(Child);

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tmp(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn on(lan: &Lan, host: u8, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lan.name(host), program]).stdin(Stdio::null());
    command
}

/// avahi-daemon on a host, with a message bus of its own, and what is asked of it.
struct Avahi<'a> {
    lan: &'a Lan,
    host: u8,
    folder: PathBuf,
    _running: [PeerProcess; 2],
}

impl<'a> Avahi<'a> {
    fn start(lan: &'a Lan, host: u8) -> Self {
        let folder = tmp(&format!("{}-avahi", lan.name(host)));
        std::fs::create_dir_all(&folder).expect("the target folder is writable");
        let bus = folder.join("bus.conf");
        let open = r#"<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
            <allow send_destination="*"/><allow receive_sender="*"/></policy>"#;
        let bus_config =
            format!("<busconfig><type>system</type><listen>{}</listen>{open}</busconfig>", address(&folder));
        std::fs::write(&bus, bus_config).expect("writable");
        let conf = folder.join("avahi.conf");
        let config = format!(
            "[server]\nhost-name=avahi{host}\nuse-ipv4=yes\nuse-ipv6=no\nallow-interfaces=eth0\n\
             [publish]\npublish-workstation=no\n"
        );
        std::fs::write(&conf, config).expect("writable");
        let mut dbus = on(lan, host, "dbus-daemon");
        dbus.args(["--nofork", "--nopidfile", &format!("--config-file={}", bus.display())]);
        let dbus = PeerProcess(dbus.spawn().expect("ip is there"));
        wait_for("the message bus", || folder.join("bus").exists());
        // Its pid file has a fixed place, which is hidden for this one by a file system of its own.
        let script = "mkdir -p /run/avahi-daemon && mount -t tmpfs tmpfs /run/avahi-daemon && \
                      exec avahi-daemon --no-drop-root --no-chroot --no-rlimits --file \"$0\"";
        let mut daemon = on(lan, host, "sh");
        daemon.args(["-c", script]).arg(&conf).env("DBUS_SYSTEM_BUS_ADDRESS", address(&folder));
        let daemon = PeerProcess(daemon.stderr(Stdio::null()).spawn().expect("ip is there"));
        let avahi = Self { lan, host, folder, _running: [daemon, dbus] };
        wait_for("avahi", || avahi.command("avahi-browse").arg("-at").output().is_ok_and(|out| out.status.success()));
        avahi
    }

    fn command(&self, program: &str) -> Command {
        let mut command = on(self.lan, self.host, program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address(&self.folder)).stderr(Stdio::null());
        command
    }

    /// Addresses of what `avahi-browse -rt KIND` resolves, sorted.
    fn browse(&self, kind: &str) -> Vec<SocketAddr> {
        let output = self.command("avahi-browse").args(["-rtp", kind]).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let resolved = text.lines().filter(|line| line.starts_with('=')).filter_map(|line| {
            let columns: Vec<&str> = line.split(';').collect();
            Some(SocketAddr::new(columns.get(7)?.parse().ok()?, columns.get(8)?.parse().ok()?))
        });
        let mut found: Vec<_> = resolved.collect();
        found.sort();
        found
    }
}

impl Drop for Avahi<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn address(folder: &std::path::Path) -> String {
    format!("unix:path={}/bus", folder.display())
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < *PATIENCE, "{what} does not come");
        sleep(Duration::from_millis(50));
    }
}

fn with_avahi(host: u8) {
    let cluster = Cluster::new(2);
    let avahi = Avahi::start(&cluster.lan, host);
    let mut producers: Vec<SocketAddr> = cluster.producers.iter().map(|one| one.addr).collect();
    producers.sort();
    wait_for("the producers, by subtype", || avahi.browse("_producer._sub._bramble._tcp") == producers);
    let mut all = producers.clone();
    all.push(cluster.consumer.addr);
    all.sort();
    wait_for("everybody", || avahi.browse("_bramble._tcp") == all);
    assert_eq!(avahi.browse("_http._tcp"), [cluster.consumer.addr], "the form is what any browser of services shows");

    let published = SocketAddr::from((ip(host), 9999));
    let txt = ["txtvers=1", "cl=bramble", "svc=producer", "id=producer-avahi", "path=/", "st=up"];
    let mut publish = avahi.command("avahi-publish");
    publish.args(["-s", "producer-avahi", "_bramble._tcp", "9999"]).args(txt);
    let answers = StandIn::start(&cluster.lan, host, published.port(), Some("producer-avahi"));
    let mut publish = PeerProcess(publish.stdout(Stdio::null()).spawn().expect("it runs"));
    cluster.until(*PATIENCE, |found| found.iter().any(|(addr, _)| *addr == published));
    drop(answers);
    publish.0.kill().expect("own child"); // avahi says goodbye for it
    cluster.until_gone(published, Duration::from_secs(3));
}

#[test]
fn avahi_on_another_host_sees_us_and_we_see_it() {
    with_avahi(3);
}

#[test]
fn avahi_on_the_consumers_own_host_sees_us_and_we_see_it() {
    with_avahi(1);
}

#[test]
fn avahi_finds_a_pi_by_its_name_and_keeps_its_own() {
    let lan = Lan::new(3);
    let avahi = Avahi::start(&lan, 3);
    let resolve = |name: &str| {
        let output = avahi.command("avahi-resolve").args(["-4", "-n", name]).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    let pi = PiNet::start(&lan, 1, &["--hostname", "pi", "--ntp", "127.0.0.1"]);
    assert_eq!(pi.name(), "pi");
    wait_for("the Pi, by name", || resolve("pi.local") == ip(1).to_string());
    let other = PiNet::start(&lan, 2, &["--hostname", "avahi3", "--ntp", "127.0.0.1"]);
    assert_eq!(other.name(), "avahi3-2", "avahi was there first");
    wait_for("the other Pi, by name", || resolve("avahi3-2.local") == ip(2).to_string());
    assert_eq!(resolve("avahi3.local"), ip(3).to_string());
}

/// Says what it finds until standard input closes; first registers an instance of its own.
const ZEROCONF: &str = r#"
import socket, sys, time
from zeroconf import ServiceBrowser, ServiceInfo, Zeroconf
ip, seconds = sys.argv[1], float(sys.argv[2])
kind = "_bramble._tcp.local."
zc = Zeroconf(interfaces=[ip])
class Listener:
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name, 3000)
        if info:
            print("found", info.parsed_addresses()[0] + ":" + str(info.port), info.properties[b"svc"].decode(), flush=True)
    def update_service(self, *_): pass
    def remove_service(self, *_): pass
ServiceBrowser(zc, kind, Listener())
txt = {"txtvers": "1", "cl": "bramble", "svc": "producer", "id": "producer-zeroconf", "path": "/", "st": "up"}
own = ServiceInfo(kind, "producer-zeroconf." + kind, 9998, properties=txt, server="producer-zeroconf.local.",
                  addresses=[socket.inet_aton(ip)])
zc.register_service(own)
time.sleep(seconds)
zc.unregister_service(own)
zc.close()
"#;

fn with_zeroconf(host: u8) {
    let python = std::env::var("BRAMBLE_TEST_PYTHON");
    let python = python.expect("`cargo xtask test --only hosts` installs zeroconf and says here which Python has it");
    let cluster = Cluster::new(2);
    let mut script = on(&cluster.lan, host, &python);
    script.args(["-c", ZEROCONF, &ip(host).to_string(), "8"]).stdout(Stdio::piped());
    let script = script.spawn().expect("python runs");
    let own = SocketAddr::from((ip(host), 9998));
    let answers = StandIn::start(&cluster.lan, host, own.port(), Some("producer-zeroconf"));
    cluster.until(*PATIENCE, |found| found.iter().any(|(addr, _)| *addr == own));
    drop(answers);
    let output = script.wait_with_output().expect("it ends by itself");
    cluster.until_gone(own, Duration::from_secs(3));
    let said = String::from_utf8_lossy(&output.stdout);
    for node in cluster.producers.iter().chain([&cluster.consumer]) {
        assert!(said.contains(&format!("found {} ", node.addr)), "{} is missing:\n{said}", node.addr);
    }
    let events = View::of(&cluster.lan, &cluster.consumer).events();
    assert!(events.contains(&("lost".into(), own)), "{events:?}");
}

#[test]
fn python_zeroconf_on_another_host_sees_us_and_we_see_it() {
    with_zeroconf(3);
}

#[test]
fn python_zeroconf_on_the_consumers_own_host_sees_us_and_we_see_it() {
    with_zeroconf(1);
}
