//! A card as it ships, with a key of the weather API and one for SSH beside bramble.toml.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use crate::card::Card;
use crate::patience::patience;
use crate::pi::{FORM, PAGE, Pi, QUESTION, Wiring};
use crate::room::{API_KEY, GATEWAY, Room, Upstream, local, time_server};
use crate::ssh::Key;
use crate::web;

/// The drivers that come last take an emulated Pi half a minute, if the machine is busy.
pub(crate) static SOON: LazyLock<Duration> = LazyLock::new(|| patience(60));

/// bramble.toml of a Pi that asks the room's stand-in.
pub(crate) fn settings(upstream: &Upstream, pi: &str) -> String {
    format!("[producer]\nupstream = \"{}\"\n\n[pi]\n{pi}\n", upstream.url)
}

/// The Pi's own account of itself, once it is as `wanted`.
pub(crate) fn pi_state(within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
    web::until(local(PAGE), "/api/pi", within, |status, state| status == 200 && wanted(state))
}

pub(crate) fn role_is_healthy(state: &Value, name: &str) -> bool {
    let roles = state["roles"].as_array().into_iter().flatten();
    roles.into_iter().any(|role| role["name"] == name && role["healthy"] == true)
}

pub(crate) fn all_roles_are_healthy(state: &Value) -> bool {
    ["producer", "consumer", "registry"].iter().all(|name| role_is_healthy(state, name))
}

/// Whether the data partition has been looked at.
pub(crate) fn knows_its_data(state: &Value) -> bool {
    state["data"] != "unknown"
}

/// Boots once and looks many times: with all four processors a boot costs a minute.
#[test]
fn a_pi_started_from_the_card_serves_tells_how_it_is_and_lets_in_only_the_key() {
    let _room = Room::enter();
    let (upstream, key) = (Upstream::start(GATEWAY), Key::new());
    time_server();
    let toml = settings(&upstream, "hostname = \"berry\"\nntp = [\"10.0.2.2\"]");
    let card = Card::with(&[("bramble.toml", &toml), ("api-key", API_KEY), ("authorized_keys", &key.public)]);
    let pi = Pi::boot(&card, &Wiring { whole: true, ..Wiring::default() });

    let report = web::until(local(FORM), QUESTION, *SOON, |status, _| status == 200);
    assert_eq!(report["message"], "OK", "{report}");
    assert!(report["temperature_c"].is_number(), "{report}");

    let state = pi_state(*SOON * 2, |state| {
        all_roles_are_healthy(state)
            && knows_its_data(state)
            && state["clock"]["source"] == "ntp"
            && state["ssh"] == true
    });
    it_gives_its_name(&state);
    let (status, page) = web::page(local(PAGE), "/pi").expect("the page answers");
    assert_eq!(status, 200);
    assert!(page.contains("berry") && page.contains("Raspberry Pi 2 Model B"), "{page}");

    key.until_in();
    only_keys_are_let_in(&key);
    only_our_ports_are_open(&key, &state);
    only_init_and_its_helpers_are_root(&key);
    roles_can_write_nowhere_else(&key);
    secrets_are_their_owners_alone(&key, &pi);
    memory_is_small(&key, &state);
}

fn it_gives_its_name(state: &Value) {
    assert_eq!(state["hostname"], "berry", "{state:#}");
    assert!(state["model"].as_str().is_some_and(|model| model.contains("Raspberry Pi 2 Model B")), "{state:#}");
    assert_eq!(state["network"]["origin"], "dhcp", "{state:#}");
    assert_eq!(state["network"]["address"], "10.0.2.15/24", "{state:#}");
    assert_eq!(state["data"], "mounted", "{state:#}");
    assert_eq!(state["ssh"], true, "{state:#}");
    assert!(state["image"]["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()), "{state:#}");
    assert!(state["memory"]["used_kib"].as_u64().is_some_and(|used| used > 0), "{state:#}");
    let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let there = state["clock"]["now"].as_u64().expect("it has a time");
    assert!(here.abs_diff(there) < 60, "it is {here} here and {there} on the Pi");
}

/// A password is not even asked for, and another key is refused.
fn only_keys_are_let_in(key: &Key) {
    assert_eq!(key.sh("echo in").trim(), "in");
    let refused = key.ssh(&["-o", "PreferredAuthentications=password,keyboard-interactive,none"], "true");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("Permission denied (publickey)"), "{why}");
    let stranger = Key::new();
    let refused = stranger.ssh(&[], "true");
    assert!(!refused.status.success(), "a strange key was let in");
}

/// Reads the kernel's own tables, IPv4 and IPv6.
fn only_our_ports_are_open(key: &Key, state: &Value) {
    let port_of = |url: &str| url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let urls = state["roles"].as_array().expect("a list").iter().filter_map(|role| role["url"].as_str());
    let mut wanted: BTreeSet<u16> = urls.filter_map(port_of).collect();
    assert_eq!(wanted.len(), 3, "{state:#}");
    assert!(wanted.contains(&FORM) && wanted.contains(&PAGE), "{wanted:?}");
    wanted.insert(22);
    let listening = ports(&key.sh("cat /proc/net/tcp /proc/net/tcp6"), |_, state| state == "0A");
    assert_eq!(listening, wanted, "TCP ports that are listened on");
    let tables = key.sh("cat /proc/net/udp /proc/net/udp6 /proc/net/udplite 2>/dev/null; cat /proc/net/raw");
    // A socket that is connected hears its peer alone.
    let open = ports(&tables, |peer, _| peer.trim_matches(['0', ':']).is_empty());
    let beyond: Vec<&u16> = open.iter().filter(|port| **port != 5353).collect();
    assert!(beyond.is_empty(), "UDP ports that are listened on beside 5353: {beyond:?}\n{tables}");
}

/// Local ports of the lines of /proc/net/* whose peer and state are as `wanted`.
fn ports(tables: &str, wanted: impl Fn(&str, &str) -> bool) -> BTreeSet<u16> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, peer, state, ..] = words.as_slice() else { return None };
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        wanted(peer, state).then_some(port)
    };
    tables.lines().filter_map(line).collect()
}

fn only_init_and_its_helpers_are_root(key: &Key) {
    // What runs for this very login is root as well: dropbear's child, its shell, and what that starts.
    let script = r#"
        for p in /proc/[0-9]*; do
            command=$(tr '\0' ' ' 2>/dev/null < $p/cmdline)
            [ -n "$command" ] || continue # of the kernel, or gone
            echo "$(awk '/^Uid:/{print $2}' $p/status 2>/dev/null) $command"
        done"#;
    let said = key.sh(script);
    let helpers = ["init", "/sbin/init", "/init", "syslogd", "klogd", "udhcpc", "dropbear", "watchdog", "getty"];
    let mut roles = BTreeSet::new();
    for line in said.lines() {
        let (uid, command) = line.split_once(' ').expect("a user and a command");
        if uid.is_empty() {
            continue; // it has just ended
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        let program = words.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let login = ["sh", "-sh", "ash", "awk", "tr"].contains(&program);
        match (uid, words.as_slice()) {
            ("0", [_, "pi", ..]) if program == "bramble" => {}
            ("0", _) if login || helpers.contains(&program) || helpers.contains(&words[0]) => {}
            ("0", _) if program == "busybox" && words.get(1).is_some_and(|applet| helpers.contains(applet)) => {}
            ("0", _) => panic!("this runs as root: {command}\n{said}"),
            (uid, [_, role, ..]) if program == "bramble" => {
                roles.insert(((*role).to_owned(), uid.to_owned()));
            }
            _ => panic!("this runs, and is none of ours: {line}\n{said}"),
        }
    }
    for (role, uid) in [("producer", "901"), ("consumer", "902"), ("registry", "903")] {
        assert!(roles.contains(&(role.to_owned(), uid.to_owned())), "{role} does not run as {uid}:\n{said}");
    }
}

fn roles_can_write_nowhere_else(key: &Key) {
    let open = key.sh("find / -xdev ! -type l ! -type c -perm -0002; find /run /dev /tmp /data -xdev ! -type l ! -type c -perm -0002 2>/dev/null; true");
    let open: Vec<&str> = open.lines().filter(|path| *path != "/dev/log").collect(); // every process may write a log
    assert!(open.is_empty(), "any user may write there: {open:?}");
    for (role, uid) in [("producer", 901), ("consumer", 902), ("registry", 903), ("net", 904)] {
        let own = key.sh(&format!("for d in / /run /dev /tmp /data; do [ -d $d ] && find $d -xdev \\( -user {uid} -o -group {uid} \\) 2>/dev/null; done; true"));
        let home = format!("/run/bramble/{role}");
        let elsewhere: Vec<&str> =
            own.lines().filter(|path| *path != home && !path.starts_with(&format!("{home}/"))).collect();
        assert!(elsewhere.is_empty(), "{role} owns {elsewhere:?}");
    }
}

fn secrets_are_their_owners_alone(key: &Key, pi: &Pi) {
    let found = key.sh(&format!("grep -rl '{API_KEY}' /run /tmp /etc /data 2>/dev/null; true"));
    assert!(!found.trim().is_empty(), "the key of the weather API is nowhere");
    for path in found.lines() {
        assert!(path.starts_with("/run/bramble/producer/"), "the key of the weather API is in {path}");
        let mode = key.sh(&format!("stat -c '%a %u' {path}"));
        assert_eq!(mode.trim(), "400 901", "{path}");
        let stolen = key.sh(&format!("setpriv --reuid 902 --regid 902 --clear-groups cat {path} 2>&1 || true"));
        assert!(!stolen.contains(API_KEY), "the consumer can read {path}");
    }
    assert!(!pi.serial.text().contains(API_KEY), "the key of the weather API is on the console");
}

/// No timed test and no tight one: the figures are those of `cargo xtask bench image`.
fn memory_is_small(key: &Key, state: &Value) {
    let used = state["memory"]["used_kib"].as_u64().expect("it says");
    assert!(used < 64 << 10, "{used} KiB of memory are used");
    for role in state["roles"].as_array().expect("a list") {
        let pss = role["memory_kib"].as_u64().unwrap_or_else(|| panic!("no memory is told: {role}"));
        assert!((100..8 << 10).contains(&pss), "{role}");
    }
    let limits = key.sh("find /sys/fs/cgroup -name memory.max -exec cat {} + | grep -cv max; true");
    assert!(limits.trim().parse::<u32>().is_ok_and(|limited| limited >= 3), "roles with a limit of memory: {limits}");
}

/// First line at the port for SSH.
pub(crate) fn ssh_greets() -> bool {
    let Ok(mut stream) = TcpStream::connect(local(22)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).is_ok() && greeting == *b"SSH-"
}
