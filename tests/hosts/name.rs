//! `bramble pi-net` between hosts: names that several want, addresses that change, and the time from a server.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::dns::addresses_of;
use crate::lan::{Lan, ip, run};
use crate::node::{BRAMBLE, PATIENCE};

/// `bramble pi-net` on a host. Dropped, it is killed.
pub(crate) struct PiNet {
    process: Child,
    events: Receiver<Value>,
}

impl PiNet {
    pub(crate) fn start(lan: &Lan, host: u8, arguments: &[&str]) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lan.name(host), BRAMBLE, "pi-net", "--until-stdin-closes"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("ip is there");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let (tell, events) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        Self { process, events }
    }

    /// The next event of a kind.
    fn next(&self, kind: &str, within: Duration) -> Option<Value> {
        let began = Instant::now();
        loop {
            let event = self.events.recv_timeout(within.saturating_sub(began.elapsed())).ok()?;
            if event["event"] == kind {
                return Some(event);
            }
        }
    }

    /// The name that is announced next.
    pub(crate) fn name(&self) -> String {
        let event = self.next("name", *PATIENCE).expect("a name is announced");
        event["announced"].as_str().expect("text").to_owned()
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        let ended = self.process.wait().expect("own child");
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for PiNet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Addresses of `name`, as a host without a name of its own sees it.
pub(crate) fn resolved(lan: &Lan, host: u8, name: &str) -> Vec<std::net::Ipv4Addr> {
    lan.inside(host, || addresses_of(name))
}

fn until_resolved(lan: &Lan, name: &str, wanted: &[std::net::Ipv4Addr]) {
    let began = Instant::now();
    loop {
        let found = resolved(lan, 3, name);
        if found == wanted {
            return;
        }
        assert!(began.elapsed() < *PATIENCE, "{name}.local is {found:?}, not {wanted:?}");
    }
}

#[test]
fn the_second_of_two_hosts_with_one_name_gets_a_number() {
    let lan = Lan::new(3);
    let first = PiNet::start(&lan, 1, &["--hostname", "pi", "--ntp", "127.0.0.1"]);
    assert_eq!(first.name(), "pi");
    let second = PiNet::start(&lan, 2, &["--hostname", "pi", "--ntp", "127.0.0.1"]);
    assert_eq!(second.name(), "pi-2");
    assert_eq!(resolved(&lan, 3, "pi"), [ip(1)]);
    assert_eq!(resolved(&lan, 3, "pi-2"), [ip(2)]);
    assert_eq!(resolved(&lan, 3, "PI"), [ip(1)], "names have no case");

    // The first says goodbye; the second keeps the name that people know by now, and has its own at the next start.
    first.end();
    until_resolved(&lan, "pi", &[]);
    assert_eq!(resolved(&lan, 3, "pi-2"), [ip(2)]);
    second.end();
    let again = PiNet::start(&lan, 2, &["--hostname", "pi", "--ntp", "127.0.0.1"]);
    assert_eq!(again.name(), "pi");
}

#[test]
fn of_two_hosts_that_start_at_once_with_one_name_each_ends_up_with_its_own() {
    let lan = Lan::new(3);
    let pis = [1, 2].map(|host| PiNet::start(&lan, host, &["--hostname", "pi", "--ntp", "127.0.0.1"]));
    // Which of them is a matter of milliseconds: a host that hears the other before its own look ends gives way, and
    // where both have announced the name by then, the lower address.
    let began = Instant::now();
    loop {
        let mut found = [resolved(&lan, 3, "pi"), resolved(&lan, 3, "pi-2")];
        found.sort();
        if found == [[ip(1)], [ip(2)]] {
            break;
        }
        assert!(began.elapsed() < *PATIENCE, "pi.local and pi-2.local are {found:?}");
    }
    drop(pis);
}

#[test]
fn two_halves_of_a_network_that_come_together_sort_out_their_names() {
    let lan = Lan::new(3);
    lan.partition(1, true);
    let pis = [1, 2].map(|host| PiNet::start(&lan, host, &["--hostname", "pi", "--ntp", "127.0.0.1"]));
    assert_eq!(pis.each_ref().map(PiNet::name), ["pi", "pi"]);
    lan.partition(1, false);
    // Nothing is said when a partition ends: a record that is asked for again, at the latest, shows the conflict.
    resolved(&lan, 3, "pi");
    assert_eq!(pis[0].name(), "pi-2");
    until_resolved(&lan, "pi", &[ip(2)]);
    until_resolved(&lan, "pi-2", &[ip(1)]);
}

#[test]
fn a_name_follows_the_address_and_comes_with_the_first_one() {
    let lan = Lan::new(3);
    lan.on(1, "address del 10.77.0.1/24 dev eth0");
    let pi = PiNet::start(&lan, 1, &["--hostname", "pi", "--ntp", "127.0.0.1", "--interface", "eth0"]);
    assert_eq!(pi.next("name", Duration::from_secs(5)), None, "there is nothing to announce");
    lan.on(1, "address add 10.77.0.1/24 dev eth0");
    assert_eq!(pi.name(), "pi");
    until_resolved(&lan, "pi", &[ip(1)]);
    lan.on(1, "address del 10.77.0.1/24 dev eth0");
    lan.on(1, "address add 10.77.0.99/24 dev eth0");
    until_resolved(&lan, "pi", &[[10, 77, 0, 99].into()]);
}

#[test]
fn the_time_of_a_server_on_the_network_is_told() {
    let lan = Lan::new(2);
    let server = lan.inside(2, || UdpSocket::bind(("0.0.0.0", 123))).expect("the port is free");
    thread::spawn(move || {
        let mut packet = [0; 128];
        while let Ok((length, from)) = server.recv_from(&mut packet) {
            // A good answer by RFC 5905: version 4, server, stratum 2, the mark of the question, and the time twice.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + Duration::from_secs(3600);
            let stamp = (now.as_secs() + 2_208_988_800) << 32;
            let mut answer = [0; 48];
            answer[..2].copy_from_slice(&[0x24, 2]);
            answer[24..32].copy_from_slice(&packet[length - 8..length]);
            answer[32..40].copy_from_slice(&stamp.to_be_bytes());
            answer[40..48].copy_from_slice(&stamp.to_be_bytes());
            let _ = server.send_to(&answer, from);
        }
    });
    let server = ip(2).to_string();
    let pi = PiNet::start(&lan, 1, &["--ntp", &server]);
    let event = pi.next("time", *PATIENCE).expect("the server answers");
    assert_eq!(event["server"], *server);
    let ahead = event["offset_ms"].as_i64().expect("a number");
    assert!((3_595_000..3_605_000).contains(&ahead), "{event}");
    run("kill", &["-s", "TERM", &pi.process.id().to_string()]);
    pi.end();
}
