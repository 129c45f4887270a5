use proptest::prelude::*;
use std::time::Duration;

use super::*;

const ID: &str = "producer-5f0c2a9be81d4477";
const FULLNAME: &str = "producer-5f0c2a9be81d4477._bramble._tcp.local.";
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECRET: &str = "spring:a secret of the cluster";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400)
}

/// The number of `lo`, which Linux gives it first, in every network namespace.
const LO: u32 = 1;

type Txt = Vec<(String, String)>;

/// A record as it could come: all of it may be changed before it is read.
#[derive(Debug, Clone)]
struct Sent {
    fullname: String,
    port: u16,
    addrs: Vec<(Ipv4Addr, u32)>,
    txt: Txt,
}

impl Sent {
    fn new(txt: &[(&str, &str)]) -> Self {
        let txt = txt.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { fullname: FULLNAME.into(), port: 4711, addrs: vec![(HERE, LO)], txt }
    }

    fn signed(said: &Announcement, key: &str) -> Self {
        let txt = said.to_signed_txt(&Place::new(&[HERE], 4711, now()), &ClusterKey::of(key));
        let txt: Vec<(&str, &str)> = txt.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Self::new(&txt)
    }

    fn set(&mut self, key: &str, value: &str) {
        self.txt.retain(|(name, _)| name != key);
        self.txt.push((key.into(), value.into()));
    }

    fn read_at(&self, trust: &Trust, now: SystemTime) -> Result<Instance, Refused> {
        let txt = self.txt.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let heard = ReceivedRecord { fullname: &self.fullname, port: self.port, addrs: self.addrs.clone(), txt };
        understand(&heard, "home", trust, now).map(|(instance, _)| instance)
    }

    fn addresses(&self, trust: &Trust) -> Vec<[u8; 4]> {
        let txt = self.txt.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let heard = ReceivedRecord { fullname: &self.fullname, port: self.port, addrs: self.addrs.clone(), txt };
        let (_, addrs) = understand(&heard, "home", trust, now()).expect("believed");
        addrs.iter().map(|addr| if let IpAddr::V4(ip) = addr.ip() { ip.octets() } else { [0; 4] }).collect()
    }

    fn read(&self, trust: &Trust) -> Result<Instance, Refused> {
        self.read_at(trust, now())
    }
}

fn said() -> Announcement {
    Announcement {
        cluster: "home".into(),
        id: ID.into(),
        service: "producer".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        path: "/".into(),
        zone: "shelf-2".into(),
        weight: 3,
        status: Status::Drain,
    }
}

fn with_key(text: &str) -> Trust {
    Trust::new(Some(ClusterKey::of(text)))
}

fn minimal() -> Sent {
    Sent::new(&[("cl", "home"), ("svc", "producer"), ("id", ID)])
}

fn reasons(trust: &Trust) -> Vec<String> {
    trust.refused().0.into_iter().map(|refusal| refusal.reason).collect()
}

#[test]
fn what_is_registered_is_what_is_read_signed_or_not() {
    let mut plain = Sent::new(&[]);
    plain.txt = said().to_txt().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let signed = Sent::signed(&said(), SECRET);
    for read in [plain.read(&Trust::default()), signed.read(&Trust::default()), signed.read(&with_key(SECRET))] {
        let read = read.expect("own record");
        assert_eq!((&*read.id, &*read.service, &*read.zone), (ID, "producer", "shelf-2"));
        assert_eq!((read.weight, read.status, read.addr), (3, Status::Drain, SocketAddr::from((HERE, 4711))));
    }
}

#[test]
fn the_longest_signed_record_stays_below_400_bytes() {
    let said = Announcement {
        cluster: "c".repeat(32),
        id: "upstream-sim-5f0c2a9be81d4477".into(),
        service: "upstream-sim".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        path: "/".into(),
        zone: "z".repeat(32),
        weight: 100,
        status: Status::Drain,
    };
    let addresses = [Ipv4Addr::new(192, 168, 100, 100); 9];
    let key = ClusterKey::of("sixteen-letters-:a secret of the cluster");
    let txt = said.to_signed_txt(&Place::new(&addresses, 65_535, now()), &key);
    let size: usize = txt.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    assert!(size < 400, "{size} bytes");
    assert!(txt.iter().all(|(key, value)| key.len() + value.len() < 255), "each fits its string");
}

#[test]
fn another_cluster_is_not_seen_and_not_counted_as_refused() {
    let trust = Trust::default();
    for sent in [Sent::new(&[("cl", "work"), ("svc", "producer"), ("id", "a")]), Sent::new(&[("svc", "producer")])] {
        assert_eq!(sent.read(&trust), Err(Refused::OtherCluster));
    }
    assert!(reasons(&trust).is_empty());
}

#[test]
fn forged_names_and_texts_are_refused() {
    let long = "x".repeat(65);
    for (key, value) in
        [("id", ""), ("id", "a b"), ("id", "A<script>"), ("svc", "../x"), ("zone", "a\nb"), ("zone", &long)]
    {
        let mut sent = minimal();
        sent.set(key, value);
        assert_eq!(sent.read(&Trust::default()), Err(Refused::Missing(key)), "{key}={value}");
    }
}

#[test]
fn a_mad_weight_ends_in_its_range() {
    for (weight, counts) in [("-1", 1), ("1e99", 100), ("NaN", 1), ("0", 1), ("7", 7), ("many", 1), ("inf", 100)] {
        let mut sent = minimal();
        sent.set("w", weight);
        assert_eq!(sent.read(&Trust::default()).expect("fine otherwise").weight, counts, "{weight}");
    }
}

#[test]
fn a_record_that_is_too_long_or_leads_nowhere_is_refused() {
    let mut long = minimal();
    (0..5).for_each(|number| long.txt.push((format!("x{number}"), "x".repeat(200))));
    assert_eq!(long.read(&Trust::default()), Err(Refused::TooLong));
    assert_eq!(Sent { port: 0, ..minimal() }.read(&Trust::default()), Err(Refused::NoPort));
    assert_eq!(Sent { addrs: Vec::new(), ..minimal() }.read(&Trust::default()), Err(Refused::Missing("address")));
    for elsewhere in [[8, 8, 8, 8], [224, 0, 0, 251], [255, 255, 255, 255], [0, 0, 0, 0], [127, 255, 255, 255]] {
        let sent = Sent { addrs: vec![(elsewhere.into(), LO)], ..minimal() };
        assert_eq!(sent.read(&Trust::default()), Err(Refused::OffLink), "{elsewhere:?}");
    }
    let by_another = Sent { addrs: vec![(HERE, LO + 1000)], ..minimal() };
    assert_eq!(by_another.read(&Trust::default()), Err(Refused::OffLink), "loopback comes by lo alone");
}

#[test]
fn of_several_addresses_those_that_can_be_reached_count_and_with_a_key_those_that_were_signed() {
    let addrs = vec![([8, 8, 8, 8].into(), LO), ([127, 0, 0, 1].into(), LO), ([127, 0, 0, 9].into(), LO)];
    let mut sent = Sent { addrs, ..Sent::signed(&said(), SECRET) };
    assert_eq!(sent.addresses(&Trust::default()), [[127, 0, 0, 1], [127, 0, 0, 9]]);
    assert_eq!(sent.addresses(&with_key(SECRET)), [[127, 0, 0, 1]]);
    sent.addrs.remove(1);
    assert_eq!(sent.read(&with_key(SECRET)), Err(Refused::Doubt(RecordError::Address)));
}

#[test]
fn a_record_never_leads_to_this_process_itself() {
    let trust = Trust::default();
    trust.know_own(crate::trust::ProcessIdentity { id: "consumer-a".into(), service: "consumer", port: 4711 });
    assert_eq!(minimal().read(&trust), Err(Refused::Own));
    let mut own = Sent::new(&[("cl", "home"), ("svc", "consumer"), ("id", "consumer-a")]);
    own.fullname = format!("consumer-a.{SERVICE_TYPE}");
    assert!(own.read(&trust).is_ok(), "it sees itself as what it is");
}

#[test]
fn with_a_key_what_is_unsigned_or_signed_by_others_is_refused_and_shown() {
    let trust = with_key(SECRET);
    let cases = [
        (minimal(), RecordError::Unsigned),
        (Sent::signed(&said(), "spring:another secret of others"), RecordError::Wrong),
        (Sent::signed(&said(), "autumn:a secret of the cluster"), RecordError::UnknownKey),
    ];
    for (sent, doubt) in cases {
        assert_eq!(sent.read(&trust), Err(Refused::Doubt(doubt)));
        assert_eq!(reasons(&trust), [doubt.to_string()]);
    }
    assert_eq!(trust.refused().0[0].addr, Some(SocketAddr::from((HERE, 4711))));
    assert!(Sent::signed(&said(), SECRET).read(&trust).is_ok());
    assert!(reasons(&trust).is_empty(), "it was the same name, and is believed now");
}

#[test]
fn each_field_alone_is_signed() {
    let trust = with_key(SECRET);
    let signed = Sent::signed(&said(), SECRET);
    for key in ["svc", "id", "ver", "path", "zone", "w", "st", "ip", "exp", "kid", "sig"] {
        for value in ["", "1", "up", "producer"] {
            let mut sent = signed.clone();
            if sent.txt.iter().any(|(name, old)| name == key && old == value) {
                continue;
            }
            sent.set(key, value);
            assert!(sent.read(&trust).is_err(), "{key}={value}");
        }
    }
    assert!(Sent { port: 4712, ..signed.clone() }.read(&trust).is_err());
    let renamed = FULLNAME.replace("5f0c", "5f0d");
    assert!(Sent { fullname: renamed, ..signed.clone() }.read(&trust).is_err());
    assert!(signed.read(&trust).is_ok());
}

#[test]
fn while_the_key_is_changed_everybody_believes_everybody() {
    let old = "spring:a secret of the cluster";
    let new = "autumn:its next secret, all new";
    let stages = [old.to_owned(), format!("{old}\n{new}"), format!("{new}\n{old}"), new.to_owned()];
    for (before, after) in stages.iter().zip(&stages[1..]) {
        assert!(Sent::signed(&said(), before).read(&with_key(after)).is_ok());
        assert!(Sent::signed(&said(), after).read(&with_key(before)).is_ok());
    }
    assert!(Sent::signed(&said(), &stages[0]).read(&with_key(&stages[3])).is_err(), "the old key is out in the end");
}

#[test]
fn an_expired_record_is_refused_but_does_not_remove_the_instance_of_a_newer_one() {
    let sent = Sent::signed(&said(), SECRET);
    let (day, later) = (Duration::from_secs(86_400), Duration::from_secs(601));
    let trust = with_key(SECRET);
    assert!(sent.read_at(&trust, now() + day).is_ok());
    assert_eq!(sent.read_at(&trust, now() + day + later), Err(Refused::Doubt(RecordError::Expired)));

    let trust = with_key(SECRET);
    let place = Place::new(&[HERE], 4711, now() + day);
    let newer = said().to_signed_txt(&place, &ClusterKey::of(SECRET));
    let newer = Sent { txt: newer.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(), ..sent.clone() };
    assert!(newer.read_at(&trust, now() + day).is_ok());
    assert_eq!(sent.read_at(&trust, now() + day + later), Err(Refused::Doubt(RecordError::Old)));
    assert!(sent.read_at(&trust, SystemTime::UNIX_EPOCH).is_ok(), "without a clock nothing is judged by it");
}

#[test]
fn a_place_is_signed_anew_when_it_changes_or_half_its_time_is_over() {
    let place = |last: u8, now| Place::new(&[Ipv4Addr::new(10, 0, 0, last)], 4711, now);
    let half = Duration::from_secs(43_200);
    let first = place(1, now());
    assert!(first.is_as_good_as(&place(1, now() + half), now() + half));
    assert!(!first.is_as_good_as(&place(2, now()), now()), "its address is another");
    let later = now() + half + Duration::from_secs(1);
    assert!(!first.is_as_good_as(&place(1, later), later));
}

/// Flips one bit of all bytes of `texts`; what is no UTF-8 then is empty, as the library gives it.
fn flip(texts: &mut [&mut String], bit: usize) {
    let all: usize = texts.iter().map(|text| text.len()).sum();
    let mut at = bit / 8 % all;
    for text in texts {
        if at < text.len() {
            let mut bytes = std::mem::take(*text).into_bytes();
            bytes[at] ^= 1 << (bit % 8);
            **text = String::from_utf8(bytes).unwrap_or_default();
            return;
        }
        at -= text.len();
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_of_what_is_signed_is_refused(
        zone in "[a-zA-Z0-9._-]{0,32}",
        weight in 1_u32..=100,
        is_draining: bool,
        flipped: usize,
    ) {
        let status = if is_draining { Status::Drain } else { Status::Up };
        let said = Announcement { zone, weight, status, ..said() };
        let signed = Sent::signed(&said, SECRET);
        let trust = with_key(SECRET);
        prop_assert!(signed.read(&trust).is_ok());

        let mut sent = signed.clone();
        // `txtvers` says nothing yet, so it is not signed.
        let texts = sent.txt.iter_mut().filter(|(key, _)| key != "txtvers").map(|(_, value)| value);
        let mut texts: Vec<&mut String> = texts.collect();
        texts.push(&mut sent.fullname);
        flip(&mut texts, flipped);
        prop_assert!(sent.read(&trust).is_err(), "{:?}", sent);

        let sent = Sent { port: signed.port ^ (1 << (flipped % 16)), ..signed.clone() };
        prop_assert!(sent.read(&trust).is_err());
        let addr = Ipv4Addr::from_bits(HERE.to_bits() ^ (1 << (flipped % 32)));
        let sent = Sent { addrs: vec![(addr, LO)], ..signed };
        prop_assert!(sent.read(&trust).is_err());
    }
}
