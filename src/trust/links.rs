//! Networks of this machine, by interface. An instance that claims to be on the LAN must be on the very network its
//! record came by: else a record could send our calls anywhere. The only file that names if-addrs.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use if_addrs::IfAddr;

/// Records come in flocks; the system is asked once for all of them.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// Age up to which a look is good enough to turn an instance away for being on no network of ours; an older one is
/// renewed first: a cable may just have been plugged in.
const BEFORE_REFUSING: Duration = Duration::from_millis(100);

/// The IPv4 networks of this machine.
#[derive(Debug, Default)]
pub(crate) struct Links {
    looked: Mutex<Option<(Instant, Vec<Link>)>>,
}

/// An address of this machine and the network around it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    name: Box<str>,
    interface: u32,
    ip: Ipv4Addr,
    mask: Ipv4Addr,
}

impl Links {
    /// Whether `ip` is a host on the network of the interface with this number.
    pub(crate) fn leads_to(&self, ip: Ipv4Addr, interface: u32) -> bool {
        let is_there = |links: &[Link]| links.iter().any(|link| link.interface == interface && link.leads_to(ip));
        self.ask(GOOD_FOR, is_there) || self.ask(BEFORE_REFUSING, is_there)
    }

    /// Whether `ip` is an address of this machine.
    pub(crate) fn is_own(&self, ip: Ipv4Addr) -> bool {
        ip.is_loopback() || self.ask(GOOD_FOR, |links| links.iter().any(|link| link.ip == ip))
    }

    /// The addresses of the interfaces whose name is `chosen`, sorted, each once.
    pub(crate) fn own(&self, chosen: impl Fn(&str) -> bool) -> Vec<Ipv4Addr> {
        let of_chosen = |links: &[Link]| {
            let mut own: Vec<_> = links.iter().filter(|link| chosen(&link.name)).map(|link| link.ip).collect();
            own.sort_unstable();
            own.dedup();
            own
        };
        self.ask(Duration::ZERO, of_chosen)
    }

    fn ask<T>(&self, good_for: Duration, question: impl FnOnce(&[Link]) -> T) -> T {
        let now = Instant::now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        match looked.as_ref() {
            Some((at, links)) if now.duration_since(*at) < good_for => question(links),
            _ => question(&looked.insert((now, look())).1),
        }
    }
}

fn look() -> Vec<Link> {
    let all = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        log::warn!("the system does not tell its network interfaces: {error}");
        Vec::new()
    });
    all.into_iter()
        .filter_map(|one| match one.addr {
            IfAddr::V4(v4) => Some(Link { name: one.name.into(), interface: one.index?, ip: v4.ip, mask: v4.netmask }),
            IfAddr::V6(_) => None,
        })
        .collect()
}

impl Link {
    /// Whether a host can have this address here: the first and the last one of a network are for all of it, if there
    /// are more than two (RFC 3021).
    fn leads_to(&self, ip: Ipv4Addr) -> bool {
        let (mask, own, other) = (u32::from(self.mask), u32::from(self.ip), u32::from(ip));
        let host = other & !mask;
        let is_for_all = !mask > 1 && (host == 0 || host == !mask);
        (own ^ other) & mask == 0 && !is_for_all && ip.is_loopback() == self.ip.is_loopback() && !ip.is_multicast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(ip: [u8; 4], mask: [u8; 4]) -> Link {
        Link { name: "eth0".into(), interface: 2, ip: ip.into(), mask: mask.into() }
    }

    #[test]
    fn an_address_is_on_link_if_it_is_a_host_of_the_same_network() {
        let lan = link([192, 168, 4, 7], [255, 255, 254, 0]);
        for inside in [[192, 168, 4, 1], [192, 168, 4, 7], [192, 168, 5, 254], [192, 168, 4, 255]] {
            assert!(lan.leads_to(inside.into()), "{inside:?}");
        }
        for outside in [[192, 168, 6, 1], [192, 168, 3, 255], [192, 168, 4, 0], [192, 168, 5, 255], [8, 8, 8, 8]] {
            assert!(!lan.leads_to(outside.into()), "{outside:?}");
        }
        for never in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 251], [255, 255, 255, 255]] {
            assert!(!lan.leads_to(never.into()), "{never:?}");
            assert!(
                !link([10, 0, 0, 1], [0, 0, 0, 0]).leads_to(never.into()),
                "{never:?} on a network of all addresses"
            );
        }
    }

    #[test]
    fn a_cable_between_two_and_an_address_of_its_own_are_networks_too() {
        let two = link([10, 0, 0, 2], [255, 255, 255, 254]);
        assert!(two.leads_to([10, 0, 0, 3].into()) && !two.leads_to([10, 0, 0, 4].into()));
        let one = link([10, 0, 0, 2], [255, 255, 255, 255]);
        assert!(one.leads_to([10, 0, 0, 2].into()) && !one.leads_to([10, 0, 0, 3].into()));
    }

    #[test]
    fn loopback_is_reached_by_lo_alone() {
        let links = Links::default();
        let lo = look().into_iter().find(|link| link.ip.is_loopback()).expect("every machine has lo");
        assert!(links.leads_to(Ipv4Addr::LOCALHOST, lo.interface));
        assert!(!links.leads_to(Ipv4Addr::LOCALHOST, lo.interface + 1000));
        assert!(!links.leads_to(Ipv4Addr::new(192, 0, 2, 7), lo.interface));
        assert!(links.is_own(Ipv4Addr::LOCALHOST) && !links.is_own(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!(links.own(|name| *name == *lo.name).first(), Some(&lo.ip));
        assert!(links.own(|_| false).is_empty());
    }
}
