//! Where a test's Pis are: a network namespace without a way out. What they call the internet is a stand-in in it, so
//! that nothing they do can reach a real network.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::card::{Folder, run};
use crate::netns::{PREFIX, remove_what_dead_runs_left};

/// The key of the weather API in all tests.
pub(crate) const API_KEY: &str = "0123456789abcdef-of-a-test";
/// The room's own address on its bridge.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// And the one for Pis that had to choose an address themselves.
const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 254);
/// How a Pi on QEMU's own network reaches the loopback address of the room.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Of the thread that made it, and of all that this thread starts.
pub(crate) struct Room {
    name: String,
    folder: Folder,
}

impl Room {
    /// Moves this thread into a new room: loopback and a bridge, and no more.
    pub(crate) fn enter() -> Self {
        static CLEAN: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        CLEAN.call_once(remove_what_dead_runs_left);
        let name = format!("{PREFIX}-{}-card{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"));
        let room = Self { name, folder: Folder::new() };
        let namespace = File::open(format!("/run/netns/{}", room.name)).expect("it was made");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
        ip("link set lo up");
        // Snooping would want a multicast router to keep the groups alive.
        ip("link add br0 type bridge mcast_snooping 0");
        ip("link set br0 up");
        ip(&format!("address add {HERE}/24 dev br0"));
        ip(&format!("address add {LINK_LOCAL}/16 dev br0"));
        room
    }

    /// A cable from the bridge to a Pi; QEMU opens it by the returned name.
    pub(crate) fn cable(&self, number: u8) -> String {
        let name = format!("pi{number}");
        ip(&format!("tuntap add {name} mode tap"));
        self.plug(&name, true);
        ip(&format!("link set {name} up"));
        name
    }

    /// Puts the cable into the bridge or takes it out. QEMU's network chip shows its Pi no difference but silence.
    pub(crate) fn plug(&self, cable: &str, is_in: bool) {
        ip(&format!("link set {cable} {}", if is_in { "master br0" } else { "nomaster" }));
    }

    /// Gives addresses by DHCP: 10.77.0.10 + N to the Pi with cable N.
    pub(crate) fn dhcp(&self) -> Helper {
        let log = self.folder.join("dhcp.log");
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=br0"]);
        command.args(["--bind-interfaces", "--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,2m"]);
        command.args(["--dhcp-authoritative", "--no-ping", "--leasefile-ro"]);
        command.args((1..=2).map(|number| format!("--dhcp-host={},10.77.0.{}", mac(number), 10 + number)));
        command.arg(format!("--log-facility={}", log.display()));
        let helper = Helper::start(&mut command);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(&log).is_ok_and(|said| said.contains("sockets bound")) {
            assert!(Instant::now() < deadline, "dnsmasq does not start: {:?}", std::fs::read_to_string(&log));
            thread::sleep(Duration::from_millis(20));
        }
        helper
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What runs in it ends before; the namespace itself goes with this thread.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

/// The hardware address of the Pi with cable N.
pub(crate) fn mac(number: u8) -> String {
    format!("52:54:00:77:00:{number:02x}")
}

fn ip(command: &str) {
    run(Command::new("ip").args(command.split(' ')));
}

/// A program that ends when it is dropped, and with the thread that started it, however that ends.
pub(crate) struct Helper(pub(crate) Child);

impl Helper {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(tied(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("setpriv"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same command, killed by the kernel when the calling thread ends.
pub(crate) fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    tied
}

/// The stand-in for the weather API.
pub(crate) struct Upstream {
    _process: Helper,
    /// URL for a Pi's `producer.upstream`.
    pub(crate) url: String,
}

impl Upstream {
    /// Pis see it at `host`: [`GATEWAY`] or an address of the room.
    pub(crate) fn start(host: Ipv4Addr) -> Self {
        let listen = if host == GATEWAY { Ipv4Addr::LOCALHOST } else { host };
        let mut command = Command::new(env!("CARGO_BIN_EXE_bramble"));
        command.args(["upstream-sim", "--key", API_KEY, "--config", "/dev/null", "--listen", &format!("{listen}:0")]);
        let mut command = tied(&command);
        command.env("BRAMBLE__DISCOVERY__MDNS", "false").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Helper(command.stderr(Stdio::null()).spawn().expect("setpriv is there"));
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let port: Option<u16> = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("the stand-in does not serve: {line:?}"));
        Self { _process: process, url: format!("http://{host}:{port}") }
    }
}

/// A time server on the room's loopback address that tells the time of this machine.
pub(crate) fn time_server() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 123)).expect("a room of its own");
    socket.set_read_timeout(Some(Duration::from_secs(600))).expect("a valid time");
    thread::spawn(move || {
        let mut question = [0; 128];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if length >= 48 {
                let _ = socket.send_to(&time_answer(&question), from);
            }
        }
    });
}

/// An answer of RFC 5905, server mode, stratum 1.
fn time_answer(question: &[u8]) -> [u8; 48] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seconds = u32::try_from((now.as_secs() + 2_208_988_800) & 0xffff_ffff).expect("masked");
    let fraction = u32::try_from((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000).expect("below one second");
    let stamp = [seconds.to_be_bytes(), fraction.to_be_bytes()].concat();
    let mut answer = [0; 48];
    answer[..4].copy_from_slice(&[(question[0] & 0x38) | 4, 1, 4, 0xe8]);
    answer[12..16].copy_from_slice(b"TEST");
    answer[16..24].copy_from_slice(&stamp);
    answer[24..32].copy_from_slice(&question[40..48]); // what the client sent, so that it knows this answer is for it
    answer[32..40].copy_from_slice(&stamp);
    answer[40..48].copy_from_slice(&stamp);
    answer
}

/// An address of the room.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
