use bramble::Config;
use bramble::config::{ConfigError, Mistake, Sources};

use super::*;

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGf0TbmsbdUHQzrp1NzIf3hE6KOMm3ce3cYvV6D2ak5Y you@home";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGXA1+vCK+4bZaRJnnUJ6WfnjPA2P2qPjp21hL4F/gRMx/dNQUNN+jxyaNCWdQ6Ni7NfBVIPxp7z09epqb5BKD8=";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCme8GKCla+Tew9I3Js0JlU81lHfodx71Jh+AFlq3+s2a5Rw3VxbjvJWGDHqCSROtPFUuGGxR1YdG6pOlvAlMporjVs7CWot/NFfXWbK93F7cFYaDD2oP8Z7HsIQkxb4dY8MDRa2QVF54kH3yCHvfaXzeO43gcPE6OKPoL4eJaNgGwnSotjuhlu90+Y0BOqPWhvNXpeFnlBOZujprYVXc2ZoAP5kygmK87a3TlvTVs8N4sfejxuJfc5lHqQDwS+oC+QMYpfEv/7I/sbTRrAf2IJkPI/wmz0bNJZEKVftiPvxBLU2bx90vwVL4iIgZFIpmmHemnqBCHrZo1TjYOvR77/ two words";

fn pi(keys: &str) -> Result<Pi, ConfigError> {
    let sources = Sources::text(format!("[pi]\n{keys}"));
    Config::default().with(Pi::default()).merge(&sources).map(|config| config.section())
}

/// The settings that count of a file, and what is said of the rest.
fn tolerant(file: &str) -> (Pi, Vec<Mistake>) {
    let (config, mistakes) = Config::default().with(Pi::default()).merge_tolerant(file, "bramble.toml");
    let again = Config::default().with(Pi::default()).merge(&Sources::text(config.to_toml()));
    assert_eq!(again, Ok(config.clone()), "what is shown is right");
    (config.section(), mistakes)
}

fn said(keys: &str) -> String {
    pi(keys).expect_err("there is a mistake").to_string()
}

#[test]
fn a_pi_is_what_its_file_says() {
    let file = format!(
        r#"
hostname = "shelf-2"
roles = ["registry", "producer"]
ssh_keys = ["{ED25519}"]
address = "192.0.2.7/24"
gateway = "192.0.2.1"
dns = ["192.0.2.1", "2001:db8::53"]
ntp = ["ntp.example.org", "192.0.2.1"]
"#
    );
    let expected = Pi {
        hostname: "shelf-2".into(),
        roles: vec![PiService::Registry, PiService::Producer],
        ssh_keys: vec![ED25519.into()],
        address: Addressing::Fixed(Cidr::new([192, 0, 2, 7].into(), 24).expect("a host")),
        gateway: Some([192, 0, 2, 1].into()),
        dns: vec![[192, 0, 2, 1].into(), "2001:db8::53".parse().expect("an address")],
        ntp: vec!["ntp.example.org".into(), "192.0.2.1".into()],
    };
    assert_eq!(pi(&file), Ok(expected));
}

#[test]
fn all_mistakes_about_a_pi_are_told_at_once_each_with_its_place() {
    let file = r#"hostname = "my.pi"
roles = ["producer", "chef", "producer"]
ssh_keys = ["rsa"]
address = "192.0.2.0/24"
gateway = "router"
dns = ["one.example"]
ntp = ["-"]
wifi = "yes""#;
    let expected = r#"
bramble.toml:2:12: pi.hostname: "my.pi" is not a name for a Pi; allowed are up to 63 of A-Z, a-z, 0-9 and -, with no - at its ends and no dot
bramble.toml:3:22: pi.roles: "chef" is not one of "producer", "consumer", "registry"
bramble.toml:3:30: pi.roles: "producer" stands there twice
bramble.toml:4:13: pi.ssh_keys: this value is not a public key of SSH; write for example "ssh-ed25519 AAAA... you@home"
bramble.toml:5:11: pi.address: "192.0.2.0/24" is no address that a host can have; the part behind / is 8 to 31, and the first and last address of a network are not for hosts
bramble.toml:6:11: pi.gateway: "router" is not an address; write for example "192.0.2.1"
bramble.toml:7:8: pi.dns: "one.example" is not an address; write for example "192.0.2.1"
bramble.toml:8:8: pi.ntp: "-" is not a time server; write for example "0.debian.pool.ntp.org" or "192.0.2.1"
bramble.toml:9:1: pi.wifi: is an unknown key; [pi] has hostname, roles, ssh_keys, address, gateway, dns, ntp"#;
    assert_eq!(format!("\n{}", said(file)), expected);
}

#[test]
fn a_hostname_is_a_label_of_the_dns() {
    for right in ["", "a", "7", "pi-8f3a21", "PI", &"a".repeat(63)] {
        assert!(pi(&format!("hostname = \"{right}\"")).is_ok(), "{right}");
    }
    for wrong in ["-a", "a-", "a.b", "a_b", "ä", " ", "a\\nb", "localhost", "LocalHost", &"a".repeat(64)] {
        assert!(pi(&format!("hostname = \"{wrong}\"")).is_err(), "{wrong}");
    }
}

#[test]
fn a_pi_without_any_role_is_refused() {
    assert!(said("roles = []").contains("has 0 items; allowed are 1 to"));
    assert!(said("roles = \"producer\"").contains("is not a list"));
}

#[test]
fn public_keys_of_every_kind_are_taken_and_spoilt_ones_are_not() {
    for right in [ED25519, ECDSA, RSA, &format!(" {ED25519} \\n"), ED25519.trim_end_matches(" you@home")] {
        assert!(pi(&format!("ssh_keys = [\"{right}\"]")).is_ok(), "{right}");
    }
    for (wrong, why) in [
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), "another type"),
        (ED25519.replace("ak5Y", ""), "cut short"),
        (ED25519.replace("ak5Y", "ak5"), "a letter too many, too few or wrong"),
        (ED25519.replace("ak5Y", "ak:Y"), "a letter too many, too few or wrong"),
        (ED25519.replace(" AAAA", "AAAA"), "not a public key"),
        (format!("command=\\\"sh\\\" {ED25519}"), "not a public key"),
        (format!("{ED25519}\\n{ED25519}"), "more than one line"),
        ("ssh-ed25519".into(), "another type"),
        (String::new(), "not a public key"),
    ] {
        let said = said(&format!("ssh_keys = [\"{wrong}\"]"));
        assert!(said.contains(why), "{wrong} was met with {said}");
    }
}

#[test]
fn a_private_key_is_refused_and_no_letter_of_it_is_shown() {
    let begin = concat!("-----BEGIN OPENSSH ", "PRIVATE KEY-----");
    let secret = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\nQyNTUxOQAAACBn9E25rG3VB0M66=\nYAAAACHlvdUBob21lAQIDBAU=";
    let key = format!("{begin}\n{secret}\n{}", begin.replace("BEGIN", "END"));
    let in_quotes = said(&format!("ssh_keys = [\"\"\"{key}\"\"\"]"));
    assert!(in_quotes.contains("pi.ssh_keys: this value is a private key"), "{in_quotes}");
    for file in [
        format!("ssh_keys = [\"\"\"{key}\"\"\"]"),
        format!("ssh_keys = \"\"\"{key}\"\"\""),
        format!("ssh_keys = [\"{key}\"]"),
        format!("ssh_keys = [{key}]"),
        format!("ssh_keys = {key}"),
        key,
    ] {
        let told = tolerant(&format!("[pi]\n{file}")).1;
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        let all = format!("{}\n{}", said(&file), told.join("\n"));
        for piece in ["b3Bl", "QyNT", "YAAAAC", "BAU"] {
            assert!(!all.contains(piece), "{all}");
        }
    }
}

#[test]
fn an_address_is_one_that_a_host_can_have() {
    for right in ["192.0.2.7/24", "10.0.0.1/8", "192.0.2.6/31", "192.0.2.7/31", "172.16.255.255/12", "169.254.1.1/16"] {
        let address = pi(&format!("address = \"{right}\"")).map(|pi| pi.address.to_string());
        assert_eq!(address.as_deref(), Ok(right));
    }
    for wrong in [
        "",
        "DHCP",
        "192.0.2.7",
        "192.0.2.7/",
        "192.0.2.7/+24",
        "192.0.2.7/024",
        "192.0.2.7/33",
        "192.0.2.7/32",
        "192.0.2.7/7",
        "192.0.2.0/24",
        "192.0.2.255/24",
        "127.0.0.1/8",
        "0.0.0.1/8",
        "224.0.0.1/8",
        "255.255.255.254/24",
        "192.0.2/24",
        "2001:db8::7/64",
        "pi/24",
    ] {
        assert!(pi(&format!("address = \"{wrong}\"")).is_err(), "{wrong}");
    }
    let cidr: Cidr = "192.0.2.130/25".parse().expect("a host");
    assert_eq!(cidr.netmask(), Ipv4Addr::new(255, 255, 255, 128));
    assert_eq!(cidr.broadcast(), Ipv4Addr::new(192, 0, 2, 255));
}

#[test]
fn a_gateway_lies_in_the_network_of_the_pi() {
    assert!(pi("address = \"192.0.2.7/24\"\ngateway = \"192.0.2.1\"").is_ok());
    for (gateway, why) in [
        ("192.0.3.1", "192.0.3.1 is not in the network of pi.address = 192.0.2.7/24"),
        ("192.0.2.255", "192.0.2.255 is not in the network"),
        ("192.0.2.7", "192.0.2.7 is the Pi's own address"),
    ] {
        let said = said(&format!("address = \"192.0.2.7/24\"\ngateway = \"{gateway}\""));
        assert!(said.starts_with("bramble.toml:3:11: pi.gateway: ") && said.contains(why), "{said}");
    }
    assert!(said("gateway = \"192.0.2.1\"").contains("only asked with a fixed address"));
    assert!(said("gateway = \"2001:db8::1\"").contains("is not an address"));
}

#[test]
fn time_servers_are_names_or_addresses() {
    for right in ["pool.ntp.org", "router", "192.0.2.1", "2001:db8::1", "a.example."] {
        assert!(pi(&format!("ntp = [\"{right}\"]")).is_ok(), "{right}");
    }
    for wrong in ["", "300.1.1.1", "192.0.2", "[2001:db8::1]", "a:123", "a b", "1.2.3.4.5"] {
        assert!(pi(&format!("ntp = [\"{wrong}\"]")).is_err(), "{wrong}");
    }
    for server in Pi::TIME_SERVERS {
        assert!(pi(&format!("ntp = [\"{server}\"]")).is_ok(), "{server}");
    }
}

#[test]
fn an_unknown_role_is_dropped_and_the_others_run() {
    let (pi, mistakes) = tolerant("[pi]\nroles = [\"chef\", \"registry\", \"registry\"]");
    assert_eq!((pi.roles, mistakes.len()), (vec![PiService::Registry], 2));
    let (pi, mistakes) = tolerant("[pi]\nroles = [\"chef\"]");
    assert_eq!((pi.roles, mistakes.len()), (Pi::default().roles, 1), "with no role left, all run");
}

#[test]
fn one_wrong_item_costs_no_other() {
    let (pi, mistakes) = tolerant("[pi]\nntp = [\"-\", \"a.example\"]\nwifi = 1");
    assert_eq!((pi.ntp, mistakes.len()), (vec!["a.example".to_owned()], 2));
}

#[test]
fn of_an_address_and_a_gateway_that_contradict_each_other_the_address_counts() {
    let (pi, mistakes) = tolerant("[pi]\naddress = \"192.0.2.7/24\"\ngateway = \"10.0.0.1\"");
    assert_eq!((pi.address.to_string().as_str(), pi.gateway), ("192.0.2.7/24", None));
    let said = mistakes[0].to_string();
    assert!(said.starts_with("bramble.toml:3:11: pi.gateway: 10.0.0.1 is not in the network"), "{said}");
}
