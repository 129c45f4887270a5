//! `bramble pi` with a folder that stands in for the Pi: real services on loopback, started, killed, stopped and ended
//! as on a Pi. What it would do to the machine, it does to files in the folder.

mod support {
    pub(crate) mod http;
    pub(crate) mod patience;
}

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::http::get;
use support::patience::patience;

const BRAMBLE: &str = env!("CARGO_BIN_EXE_bramble");
/// The watchdog's own patience is 30 s.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(90));
const ROLES: [(&str, &str); 3] = [("producer", "901"), ("consumer", "902"), ("registry", "903")];

/// A folder that stands in for a Pi, and `bramble pi` in it.
struct Pi {
    folder: PathBuf,
    process: Option<Child>,
}

impl Pi {
    fn new(name: &str, settings: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("bramble-pi-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let pi = Self { folder, process: None };
        let cluster = format!("[node]\ncluster = \"test-{name}-{}\"\n", std::process::id());
        let loopback = "[discovery]\nmdns = false\n[server]\nlisten = \"127.0.0.1:0\"\n";
        pi.write("card/bramble.toml", &format!("{settings}\n{cluster}{loopback}"));
        pi.write("etc/bramble-release", "VERSION=0.2.0\nBUILT=1700000000\n");
        pi.write("proc/device-tree/serial-number", "00000000a1b2c3d4\0");
        pi.write("dev/tty1", "");
        pi.write("dev/ttyAMA0", "");
        fs::create_dir_all(pi.folder.join("bin")).expect("a folder");
        // Its services run as other users, which need not be able to reach the program where it was built. Copied by
        // another process: written by this one, it would be busy while any other test starts a process.
        let copied = Command::new("cp").arg(BRAMBLE).arg(pi.folder.join("bin/bramble")).status().expect("cp is there");
        assert!(copied.success());
        pi
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn program(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.folder.join(name), fs::Permissions::from_mode(0o755)).expect("own file");
    }

    fn start(&mut self) {
        let mut command = Command::new(self.folder.join("bin/bramble"));
        command.arg("pi").arg("--trial").arg(&self.folder).stdin(Stdio::null());
        self.process = Some(command.spawn().expect("it starts"));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.read("run/bramble/pi.json")).unwrap_or_default()
    }

    /// The state as soon as it is as it should be.
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let state = self.state();
            if is_so(&state) {
                return state;
            }
            assert!(since.elapsed() < *PATIENCE, "{what}: {state:#}\n{}", self.read("dev/tty1"));
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn ends(&mut self) {
        let process = self.process.as_mut().expect("started");
        kill("TERM", process.id());
        let since = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().expect("own child") {
                break status;
            }
            assert!(since.elapsed() < *PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(50));
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Pi {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill(); // its services end with their standard input
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn role<'a>(state: &'a Value, name: &str) -> &'a Value {
    let roles = state["roles"].as_array();
    roles.and_then(|roles| roles.iter().find(|role| role["name"] == name)).unwrap_or(&Value::Null)
}

fn pid(state: &Value, name: &str) -> u32 {
    role(state, name)["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("it runs")
}

fn all_are_well(state: &Value) -> bool {
    ROLES.iter().all(|(name, _)| role(state, name)["healthy"] == true)
}

fn says(state: &Value, words: &str) -> bool {
    let problems = state["problems"].as_array();
    problems
        .is_some_and(|problems| problems.iter().any(|problem| problem.as_str().is_some_and(|one| one.contains(words))))
}

#[test]
fn what_is_killed_is_started_again_and_all_of_it_ends_in_order() {
    let mut pi = Pi::new("killed", "[producer]\nupstream = \"http://127.0.0.1:9\"");
    pi.write("card/api-key", "0123456789abcdef0123456789abcdef\n");
    fs::create_dir_all(pi.folder.join("data")).expect("a folder");
    pi.start();
    let state = pi.until("all three run", all_are_well);
    assert_eq!(
        (&state["hostname"], &state["data"], &state["ssh"]),
        (&"pi-b2c3d4".into(), &"mounted".into(), &false.into())
    );
    assert_eq!(state["clock"]["source"], "build");
    assert!(pi.folder.join("run/bramble/clock-unset").exists());
    for (name, user) in ROLES {
        let status = fs::read_to_string(format!("/proc/{}/status", pid(&state, name))).expect("it runs");
        let field = |field: &str| status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim();
        assert_eq!(field("NoNewPrivs:"), "1", "{name}");
        if is_root() {
            assert_eq!(field("Uid:").split_whitespace().next(), Some(user), "{name}");
            assert_eq!(
                (field("CapEff:"), field("CapPrm:"), field("Groups:")),
                ("0000000000000000", "0000000000000000", "")
            );
            let folder = fs::metadata(pi.folder.join("run/bramble").join(name)).expect("its folder");
            assert_eq!(folder.permissions().mode() & 0o777, 0o700);
        }
    }
    let before = pid(&state, "consumer");
    kill("KILL", before);
    let state = pi.until("the consumer is back", |state| {
        all_are_well(state) && role(state, "consumer")["restarts"] == 1 && pid(state, "consumer") != before
    });
    assert!(role(&state, "consumer")["last_end"].as_str().is_some_and(|end| end.contains("signal 9")), "{state:#}");
    assert!(!says(&state, "consumer"), "what has healed is no problem: {state:#}");
    let pids = ROLES.map(|(name, _)| pid(&state, name));
    pi.ends();
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "a service outlives it");
    }
    let saved: u64 = pi.read("data/time").trim().parse().expect("the time is saved");
    assert!(saved > 1_700_000_000);
}

#[test]
fn a_service_that_hangs_stops_the_feeding_of_the_watchdog_and_one_that_goes_on_starts_it_again() {
    let mut pi = Pi::new("watchdog", "[pi]\nroles = [\"consumer\", \"registry\"]");
    pi.write("sys/class/watchdog/watchdog0/identity", "Broadcom BCM2835 Watchdog timer\n");
    pi.write("dev/watchdog0", "");
    pi.start();
    let is_well = |state: &Value| ["consumer", "registry"].iter().all(|name| role(state, name)["healthy"] == true);
    let state = pi.until("both run and the watchdog too", |state| is_well(state) && state["watchdog"] == true);
    let registry = pid(&state, "registry");
    kill("STOP", registry);
    let state = pi.until("the hang is seen", |state| says(state, "the registry has not answered for 30 s"));
    assert_eq!(role(&state, "registry")["healthy"], false);
    let meals = || pi.read("dev/watchdog0").len();
    let then = meals();
    assert!(then >= 10, "it was fed until then: {then}");
    pi.until("some more of the Pi's life", |later| {
        later["uptime_s"] != state["uptime_s"]
            || later["clock"]["now"].as_u64() > state["clock"]["now"].as_u64().map(|now| now + 5)
    });
    assert_eq!(meals(), then, "not fed while it hangs");
    kill("CONT", registry);
    pi.until("all is well again", |state| is_well(state) && !says(state, "the registry"));
    let since = Instant::now();
    while meals() == then {
        assert!(since.elapsed() < *PATIENCE, "not fed any more");
        thread::sleep(Duration::from_millis(50));
    }
    pi.ends();
}

#[test]
fn a_card_full_of_mistakes_makes_a_pi_that_runs_what_is_right_and_says_the_rest() {
    let mut pi = Pi::new("mistakes", "[pi]\nroles = [\"producer\", \"consumer\", \"juggler\"]\nhostname = \"shelf 2\"");
    pi.write("card/authorized_keys", "open sesame\n");
    pi.start();
    pi.until("the consumer runs", |state| role(state, "consumer")["healthy"] == true);
    let state = pi.until("all is said", |state| state["problems"].as_array().is_some_and(|all| all.len() >= 5));
    let screen = pi.read("dev/ttyAMA0");
    for words in ["juggler", "pi.hostname", "file named api-key on the card", "authorized_keys:1", "no data partition"]
    {
        assert!(says(&state, words), "{words}: {state:#}");
        assert!(screen.contains(words), "{words}: {screen}");
    }
    assert!(!state.to_string().contains("sesame") && !screen.contains("sesame"));
    assert_eq!(state["hostname"], "pi-b2c3d4");
    assert!(role(&state, "producer")["last_end"].as_str().is_some_and(|end| end.contains("not started")));
    assert_eq!(role(&state, "producer")["pid"], Value::Null);
    pi.ends();
}

#[test]
fn the_network_card_may_come_late_the_cable_go_and_the_address_change() {
    let settings = "[pi]\nroles = [\"registry\"]\nntp = [\"127.0.0.1\"]";
    let mut pi = Pi::new("network", settings);
    let script = include_str!("../pi-image/root/etc/udhcpc.script");
    pi.program("etc/udhcpc.script", script);
    // In place of busybox': tools that note what they are told, and a DHCP server's answer.
    let folder = pi.folder.display().to_string();
    pi.program("bin/ip", &format!("#!/bin/sh\necho \"$*\" >> {folder}/ip.log\n[ \"$1 $2\" != 'route del' ]\n"));
    let client = format!(
        "#!/bin/sh\necho \"$*\" >> {folder}/dhcp.log\n{folder}/etc/udhcpc.script deconfig\n. {folder}/answer\n\
         export ip mask router dns ntpsrv\n{folder}/etc/udhcpc.script bound\nexec sleep 600\n"
    );
    pi.program("bin/udhcpc", &client);
    pi.write("answer", "ip=192.0.2.7 mask=24 router='192.0.2.1 192.0.2.2' dns=192.0.2.3\n");
    pi.start();
    pi.until("the registry runs without a network", |state| role(state, "registry")["healthy"] == true);
    assert_eq!(pi.state()["network"]["interface"], Value::Null);

    pi.write("sys/class/net/usb9/address", "52:54:00:12:34:56\n");
    pi.write("sys/class/net/usb9/carrier", "1\n");
    let state = pi.until("an address", |state| state["network"]["address"] == "192.0.2.7/24");
    let network = &state["network"];
    assert_eq!(
        (&network["interface"], &network["origin"], &network["gateway"]),
        (&"usb9".into(), &"dhcp".into(), &"192.0.2.1".into())
    );
    assert_eq!(pi.read("etc/resolv.conf"), "nameserver 192.0.2.3\n");
    assert!(pi.read("dhcp.log").contains("-x hostname:pi-b2c3d4"), "{}", pi.read("dhcp.log"));

    pi.write("sys/class/net/usb9/carrier", "0\n");
    pi.until("the cable is out", |state| state["network"]["cable"] == false && says(state, "the network cable is out"));
    pi.write("answer", "ip=198.51.100.9 mask=16 dns=198.51.100.1\n");
    pi.write("sys/class/net/usb9/carrier", "1\n");
    let state = pi.until("another address", |state| state["network"]["address"] == "198.51.100.9/16");
    assert!(state["network"]["gateway"].is_null() && !says(&state, "cable"), "{state:#}");
    let done: Vec<String> =
        pi.read("ip.log").lines().filter(|line| !line.starts_with("route del")).map(String::from).collect();
    let expected = [
        "link set dev usb9 up",
        "addr add 192.0.2.7/24 broadcast + dev usb9",
        "route add default via 192.0.2.1 dev usb9",
        "addr add 198.51.100.9/16 broadcast + dev usb9",
        "addr del 192.0.2.7/24 dev usb9",
    ];
    assert_eq!(done, expected);
    assert!(
        pi.read("dev/tty1").contains("http://198.51.100.9:") || {
            pi.until("the screen says what to open", |_| pi.read("dev/tty1").contains("http://198.51.100.9:"));
            true
        }
    );
    pi.ends();
}

#[test]
fn the_page_runs_while_the_others_lack_the_key_of_the_cluster() {
    let mut pi = Pi::new("cluster", "");
    pi.write("card/cluster-key", "short\n");
    pi.write("card/api-key", "0123456789abcdef0123456789abcdef\n");
    pi.start();
    let state = pi.until("the page runs", |state| role(state, "registry")["healthy"] == true);
    for name in ["producer", "consumer"] {
        assert!(role(&state, name)["last_end"].as_str().is_some_and(|end| end.contains("cluster key")), "{state:#}");
    }
    assert!(says(&state, "cluster-key") && !state.to_string().contains("short\""), "{state:#}");
    let url =
        role(&state, "registry")["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("its address");
    let (status, body) = get(url.parse().expect("an address"), "/api/pi");
    assert!(status == 200 && body.contains("cluster-key"), "the page says what is wrong: {body}");
    pi.ends();
}

fn kill(signal: &str, pid: u32) {
    let killed = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().expect("kill is there");
    assert!(killed.success(), "kill -s {signal} {pid}");
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0"))
}
