//! Sets address, route and name servers, by busybox' `ip`.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;

use smol::process::Command;

use super::lease::AddressConfig;
use crate::machine::{self, Machine};

/// Address and names that are in force.
pub(super) struct Applied {
    pub(super) wanted: Option<AddressConfig>,
}

/// The new address first, then the old ones go: connections over the same network stay.
pub(super) async fn apply(
    machine: &Machine,
    card: &str,
    before: Option<Applied>,
    wanted: Option<&AddressConfig>,
) -> io::Result<()> {
    let new = wanted.map(|wanted| format!("{}/{}", wanted.lease.address, wanted.lease.prefix));
    let mut old = present(machine, card);
    let before = before.and_then(|before| before.wanted);
    old.extend(before.map(|before| format!("{}/{}", before.lease.address, before.lease.prefix)));
    old.sort();
    old.dedup();
    let mut outcome = Ok(());
    if let Some(new) = new.as_ref().filter(|new| machine.is_trial || !old.contains(new)) {
        outcome = ip(machine, &["addr", "add", new, "broadcast", "+", "dev", card]).await;
    }
    for old in old.iter().filter(|old| Some(*old) != new.as_ref()) {
        // Gone with its card, perhaps.
        let _ = ip(machine, &["addr", "del", old, "dev", card]).await;
    }
    // `ip route flush` of busybox takes routes away that are not meant. A former life may have left several.
    let mut left = 4;
    while left > 0 && ip(machine, &["route", "del", "default"]).await.is_ok() {
        left -= 1;
    }
    let lease = wanted.map(|wanted| &wanted.lease);
    if let Some(gateway) = lease.and_then(|lease| lease.gateway) {
        let route = ip(machine, &["route", "add", "default", "via", &gateway.to_string(), "dev", card]).await;
        outcome = outcome.and(route);
    }
    let servers = lease.map(|lease| lease.dns.iter()).into_iter().flatten();
    let text: String = servers.map(|server| format!("nameserver {server}\n")).collect();
    machine::replace(&machine.path("/etc/resolv.conf"), text.as_bytes(), 0o644)?;
    outcome
}

/// The addresses that the card has.
fn present(machine: &Machine, card: &str) -> Vec<String> {
    if machine.is_trial {
        return Vec::new();
    }
    let all = if_addrs::get_if_addrs().unwrap_or_default().into_iter().filter(|interface| interface.name == card);
    let mine = all.filter_map(|interface| match (interface.addr.ip(), interface.addr) {
        (IpAddr::V4(ip), if_addrs::IfAddr::V4(v4)) => Some(format!("{ip}/{}", prefix(v4.netmask))),
        _ => None,
    });
    mine.collect()
}

fn prefix(netmask: Ipv4Addr) -> u32 {
    netmask.to_bits().leading_ones()
}

async fn ip(machine: &Machine, args: &[&str]) -> io::Result<()> {
    let mut command = machine.tool("ip");
    command.args(args);
    let output = Command::from(command).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || said.contains("File exists") {
        return Ok(());
    }
    Err(io::Error::other(format!("ip {}: {}", args.join(" "), said.trim())))
}
