//! Lease of the DHCP client. Any host on the network may have answered, so nothing but addresses is taken.

use std::net::{IpAddr, Ipv4Addr};

use crate::state::Origin;

/// Servers of one kind that are kept.
const MOST: usize = 3;

/// An address and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) ntp: Vec<Ipv4Addr>,
}

/// An address to configure, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressConfig {
    pub(crate) lease: Lease,
    pub(crate) origin: Origin,
}

/// Event of the DHCP client, told through its script (`/etc/udhcpc.script`), a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// There is a lease, a new one or the old one again.
    Lease(Lease),
    /// The lease is over or was taken back; also told at the client's start.
    Over,
}

/// Reads `bound ip=192.0.2.7 prefix=24 router=192.0.2.1 dns=192.0.2.1 ntp=192.0.2.1`; all but `ip` may be missing, all
/// but the first two may come several times. `None`: nothing that can be used.
pub(crate) fn parse(line: &str) -> Option<News> {
    let mut words = line.split_ascii_whitespace();
    match words.next()? {
        "bound" | "renew" => {}
        "deconfig" => return Some(News::Over),
        _ => return None, // "leasefail", "nak": the client goes on asking
    }
    let pairs: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    let values = |name: &'static str| pairs.iter().filter(move |(key, _)| *key == name).map(|(_, value)| *value);
    let hosts = |name| values(name).filter_map(host).take(MOST).collect::<Vec<_>>();
    let prefix = values("prefix").next().map_or(Some(24), |prefix| prefix.parse().ok());
    Some(News::Lease(Lease {
        address: values("ip").next().and_then(host)?,
        prefix: prefix.filter(|prefix| (1..=32).contains(prefix))?,
        gateway: hosts("router").first().copied(),
        dns: hosts("dns").into_iter().map(IpAddr::from).collect(),
        ntp: hosts("ntp"),
    }))
}

/// An address that a host can have.
fn host(text: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text.parse().ok()?;
    let is_host =
        !address.is_unspecified() && !address.is_loopback() && !address.is_multicast() && !address.is_broadcast();
    is_host.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn a_lease_is_read_with_all_that_belongs_to_it() {
        let line = "bound ip=192.0.2.7 prefix=25 router=192.0.2.1 dns=192.0.2.1 dns=192.0.2.7 ntp=192.0.2.1";
        let lease = Lease {
            address: A,
            prefix: 25,
            gateway: Some(ROUTER),
            dns: vec![ROUTER.into(), A.into()],
            ntp: vec![ROUTER],
        };
        assert_eq!(parse(line), Some(News::Lease(lease)));
        let bare = Lease { address: A, prefix: 24, gateway: None, dns: vec![], ntp: vec![] };
        assert_eq!(parse("renew ip=192.0.2.7"), Some(News::Lease(bare)));
        assert_eq!(parse("deconfig ip= prefix="), Some(News::Over));
    }

    #[test]
    fn what_a_stranger_makes_up_is_left_out() {
        for line in
            ["", "bound", "bound ip=$(reboot)", "bound ip=224.0.0.1", "bound ip=192.0.2.7 prefix=99", "leasefail"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
        let Some(News::Lease(lease)) = parse("bound ip=192.0.2.7 router=0.0.0.0 dns=evil\u{1b}[2J") else { panic!() };
        assert_eq!((lease.gateway, lease.dns), (None, vec![]));
    }
}
