//! Choice of the Pi's address, decided anew at each event: a cable, an answer of the DHCP server, time that passes.
//! Pure: [`Rule`] says what is wanted, and its caller makes it so.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::lease::{AddressConfig, Lease, News};
use crate::settings::{Addressing, Pi};
use crate::state::Origin;

/// Without an answer of a DHCP server for so long, the Pi takes an address of its own (RFC 3927).
const PATIENCE: Duration = Duration::from_secs(8);
/// Interval of checks that no other host has that address.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// State of the network, and what follows from it.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `None` until the settings are read.
    fixed: Option<Option<Lease>>,
    /// DNS servers, whatever DHCP says.
    dns: Vec<IpAddr>,
    /// Hardware address of the network card, once there is one.
    card: Option<String>,
    has_cable: bool,
    lease: Option<Lease>,
    /// Since when the DHCP server owes an answer.
    asked: Option<Instant>,
    /// Counts how often the DHCP client was to be started anew.
    round: u64,
    own: SelfAssigned,
}

/// The address that the Pi gives itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct SelfAssigned {
    /// Number of addresses that other hosts had.
    taken: u32,
    /// When the current one was last found free.
    free_at: Option<Instant>,
    /// Whether the cable was out since: it may lead elsewhere now.
    is_doubtful: bool,
}

impl Rule {
    pub(crate) fn new() -> Self {
        Self {
            fixed: None,
            dns: Vec::new(),
            card: None,
            has_cable: false,
            lease: None,
            asked: None,
            round: 0,
            own: SelfAssigned::default(),
        }
    }

    /// The settings have been read.
    pub(crate) fn settle(&mut self, pi: &Pi, now: Instant) {
        self.dns.clone_from(&pi.dns);
        self.fixed = Some(match pi.address {
            Addressing::Dhcp => None,
            Addressing::Fixed(cidr) => Some(Lease {
                address: cidr.ip(),
                prefix: cidr.prefix(),
                gateway: pi.gateway,
                dns: self.dns.clone(),
                ntp: Vec::new(),
            }),
        });
        self.ask_again(now);
    }

    /// A network card was found, another one, or it is gone.
    pub(crate) fn card(&mut self, mac: Option<&str>, now: Instant) {
        if self.card.as_deref() != mac {
            self.card = mac.map(str::to_owned);
            (self.lease, self.own) = (None, SelfAssigned::default());
            self.ask_again(now);
        }
    }

    /// A cable is in, or not. The old address is kept for a moment: most cables come back to the same network.
    pub(crate) fn cable(&mut self, is_in: bool, now: Instant) {
        if is_in && !self.has_cable {
            self.ask_again(now);
        }
        self.has_cable = is_in;
    }

    fn ask_again(&mut self, now: Instant) {
        self.asked = Some(now);
        self.own.is_doubtful = true;
        self.round += 1;
    }

    /// The DHCP client of round `round` says something.
    pub(crate) fn dhcp(&mut self, news: News, round: u64, now: Instant) {
        match news {
            _ if self.dhcp_round() != Some(round) => {} // of a client that was told to go
            News::Lease(lease) => (self.lease, self.asked) = (Some(lease), None),
            // Said at each start too, where it means nothing yet; PATIENCE takes the address then.
            News::Over if self.asked.is_none() => (self.lease, self.asked) = (None, Some(now)),
            News::Over => {}
        }
    }

    /// The address was tested: whether it is free.
    pub(crate) fn tested(&mut self, address: Ipv4Addr, is_free: bool, now: Instant) {
        if self.candidate() != Some(address) {
            return;
        }
        if is_free {
            (self.own.free_at, self.own.is_doubtful) = (Some(now), false);
        } else {
            self.own = SelfAssigned { taken: self.own.taken.wrapping_add(1), ..SelfAssigned::default() };
        }
    }

    /// Number of the DHCP client that is to run; another number is another one.
    pub(crate) fn dhcp_round(&self) -> Option<u64> {
        (self.has_cable && self.card.is_some() && self.fixed == Some(None)).then_some(self.round)
    }

    /// The address that is to be tested now, if no test runs yet.
    pub(crate) fn to_test(&self, now: Instant) -> Option<Ipv4Addr> {
        let is_due =
            self.own.is_doubtful || self.own.free_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_AGAIN);
        self.candidate().filter(|_| is_due && self.dhcp_round().is_some() && self.is_overdue(now))
    }

    /// The address to have at `now`. A card without a cable keeps its own: it does no harm.
    pub(crate) fn wanted(&mut self, now: Instant) -> Option<AddressConfig> {
        self.card.as_ref()?;
        if let Some(lease) = self.fixed.as_ref()? {
            return Some(AddressConfig { lease: lease.clone(), origin: Origin::Fixed });
        }
        if self.is_overdue(now) {
            self.lease = None;
        }
        if let Some(lease) = &self.lease {
            let dns = if self.dns.is_empty() { lease.dns.clone() } else { self.dns.clone() };
            return Some(AddressConfig { lease: Lease { dns, ..lease.clone() }, origin: Origin::Dhcp });
        }
        self.own.free_at?;
        let lease =
            Lease { address: self.candidate()?, prefix: 16, gateway: None, dns: self.dns.clone(), ntp: Vec::new() };
        Some(AddressConfig { lease, origin: Origin::LinkLocal })
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.has_cable && self.asked.is_some_and(|asked| now.saturating_duration_since(asked) >= PATIENCE)
    }

    fn candidate(&self) -> Option<Ipv4Addr> {
        Some(link_local(self.card.as_deref()?, self.own.taken))
    }
}

/// The address that a card tries after `taken` others were taken: always the same ones, so that a Pi has the same after
/// each start (RFC 3927, 2.1). 169.254.1.0 to 169.254.254.255.
fn link_local(mac: &str, taken: u32) -> Ipv4Addr {
    let bytes = mac.bytes().chain(taken.to_be_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let host = 256 + u32::try_from((hash >> 20) % (254 * 256)).unwrap_or_default();
    Ipv4Addr::from_bits(0xa9fe_0000 + host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "b8:27:eb:0f:1a:2b";
    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn lease(address: Ipv4Addr) -> News {
        News::Lease(Lease { address, prefix: 24, gateway: None, dns: vec![A.into()], ntp: vec![] })
    }

    struct Bench {
        rule: Rule,
        start: Instant,
    }

    impl Bench {
        /// With a card and a cable, at second 0.
        fn new(pi: &Pi) -> Self {
            let start = Instant::now();
            let mut rule = Rule::new();
            rule.card(Some(MAC), start);
            rule.cable(true, start);
            rule.settle(pi, start);
            Self { rule, start }
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn dhcp(&mut self, news: News, second: u64) {
            let round = self.rule.dhcp_round().expect("a client runs");
            self.rule.dhcp(news, round, self.at(second));
        }

        fn address(&mut self, second: u64) -> Option<(Ipv4Addr, Origin)> {
            let now = self.at(second);
            self.rule.wanted(now).map(|wanted| (wanted.lease.address, wanted.origin))
        }
    }

    #[test]
    fn a_dhcp_server_gives_the_address_and_may_change_it() {
        let mut bench = Bench::new(&Pi::default());
        bench.dhcp(News::Over, 0);
        assert_eq!(bench.address(1), None);
        bench.dhcp(lease(A), 1);
        assert_eq!(bench.address(100), Some((A, Origin::Dhcp)));
        bench.dhcp(lease(B), 100);
        assert_eq!(bench.address(100), Some((B, Origin::Dhcp)));
        bench.dhcp(News::Over, 200);
        assert_eq!(bench.address(208), None, "the lease is over");
    }

    #[test]
    fn without_an_answer_the_pi_takes_an_own_address_that_is_free_and_drops_it_for_a_lease() {
        let mut bench = Bench::new(&Pi::default());
        assert_eq!(bench.rule.to_test(bench.at(7)), None, "the server has eight seconds");
        let first = bench.rule.to_test(bench.at(8)).expect("an address to test");
        assert_eq!(bench.address(8), None, "not before it is tested");
        bench.rule.tested(first, false, bench.at(9));
        let second = bench.rule.to_test(bench.at(9)).expect("another one");
        assert_ne!(first, second);
        bench.rule.tested(second, true, bench.at(12));
        assert_eq!(bench.address(12), Some((second, Origin::LinkLocal)));
        assert_eq!(bench.rule.to_test(bench.at(13)), None);
        assert!(bench.rule.dhcp_round().is_some(), "DHCP goes on being tried");
        bench.dhcp(lease(A), 30);
        assert_eq!(bench.address(30), Some((A, Origin::Dhcp)));
    }

    #[test]
    fn an_own_address_that_another_host_takes_later_is_given_up() {
        let mut bench = Bench::new(&Pi::default());
        let first = bench.rule.to_test(bench.at(8)).expect("an address to test");
        bench.rule.tested(first, true, bench.at(10));
        assert_eq!(bench.rule.to_test(bench.at(70)), Some(first), "looked at once a minute");
        bench.rule.tested(first, false, bench.at(71));
        assert_eq!(bench.address(71), None);
        assert_ne!(bench.rule.to_test(bench.at(71)), Some(first));
    }

    #[test]
    fn a_cable_that_comes_back_makes_the_pi_ask_at_once_and_keep_its_address_meanwhile() {
        let mut bench = Bench::new(&Pi::default());
        bench.dhcp(lease(A), 1);
        let before = bench.rule.dhcp_round();
        bench.rule.cable(false, bench.at(100));
        assert_eq!((bench.rule.dhcp_round(), bench.address(100)), (None, Some((A, Origin::Dhcp))));
        bench.rule.cable(true, bench.at(500));
        assert!(bench.rule.dhcp_round().is_some_and(|round| Some(round) != before), "a new client");
        bench.dhcp(News::Over, 500);
        assert_eq!(bench.address(507), Some((A, Origin::Dhcp)));
        assert_eq!(bench.address(508), None, "it is another network, and no server answers");
    }

    #[test]
    fn the_words_of_a_client_that_was_told_to_go_do_not_count() {
        let mut bench = Bench::new(&Pi::default());
        let old = bench.rule.dhcp_round().expect("a client runs");
        bench.rule.cable(false, bench.at(1));
        bench.rule.cable(true, bench.at(2));
        let now = bench.at(3);
        bench.rule.dhcp(lease(A), old, now);
        assert_eq!(bench.address(3), None);
    }

    #[test]
    fn a_fixed_address_needs_no_server() {
        let address = Addressing::Fixed("192.0.2.7/24".parse().expect("an address"));
        let mut bench = Bench::new(&Pi { address, dns: vec![B.into()], ..Pi::default() });
        let wanted = bench.rule.wanted(bench.at(0)).expect("an address");
        assert_eq!((wanted.lease.address, wanted.lease.dns, wanted.origin), (A, vec![B.into()], Origin::Fixed));
        assert_eq!((bench.rule.dhcp_round(), bench.rule.to_test(bench.at(60))), (None, None));
    }

    #[test]
    fn name_servers_of_the_settings_win_over_those_of_dhcp() {
        let mut bench = Bench::new(&Pi { dns: vec![B.into()], ..Pi::default() });
        bench.dhcp(lease(A), 1);
        assert_eq!(bench.rule.wanted(bench.at(1)).map(|wanted| wanted.lease.dns), Some(vec![B.into()]));
    }

    #[test]
    fn nothing_is_wanted_before_the_settings_are_read_and_without_a_card() {
        let now = Instant::now();
        let mut rule = Rule::new();
        rule.card(Some(MAC), now);
        rule.cable(true, now);
        assert_eq!((rule.dhcp_round(), rule.wanted(now)), (None, None));
        rule.settle(&Pi::default(), now);
        assert!(rule.dhcp_round().is_some());
        rule.card(None, now);
        assert_eq!((rule.dhcp_round(), rule.wanted(now)), (None, None));
    }

    #[test]
    fn own_addresses_lie_where_they_may_and_differ_between_cards() {
        for taken in 0..1000 {
            let [a, b, c, _] = link_local(MAC, taken).octets();
            assert!((a, b) == (169, 254) && (1..=254).contains(&c));
        }
        assert_eq!(link_local(MAC, 0), link_local(MAC, 0));
        assert_ne!(link_local(MAC, 0), link_local("b8:27:eb:0f:1a:2c", 0));
    }
}
