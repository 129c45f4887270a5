//! Questions and answers of the DNS (RFC 1035). Any host that can reach the socket may have written the bytes, so
//! reading them is a pure function that trusts nothing and keeps little.
//!
//! The only file that names simple_dns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question as RawQuestion, RCODE, TYPE};

/// Addresses taken from one answer: as many as discovery keeps instances of a service. Fewer would show another part of
/// a longer list each time, since servers shuffle.
const MAX_ADDRESSES: usize = 256;

/// Aliases followed within one answer.
const MAX_ALIASES: usize = 8;

/// The shortest record: root name, type, class, TTL, length (RFC 1035, 4.1.3).
const SHORTEST_RECORD: usize = 11;

/// Names are re-read at least this often, however long their owner lets them live.
const LONGEST_TTL: Duration = Duration::from_secs(300);

/// A TTL of zero would be a query a connection.
const SHORTEST_TTL: Duration = Duration::from_secs(1);

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// Name and type of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsQuery<'a> {
    /// Connects the answer with the question.
    pub id: u16,
    /// Absolute, without the dot at its end.
    pub name: &'a str,
    /// The family.
    pub kind: RecordType,
}

/// Reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsReply {
    /// The name has these addresses for so long; at least one.
    Addresses(Vec<IpAddr>, Duration),
    /// The name exists, and has no address of this family.
    Empty,
    /// The name does not exist.
    NoSuchName,
    /// The answer did not fit into the datagram: ask again over TCP.
    Truncated,
    /// The server did not answer the question; its code (RFC 1035, 4.1.1).
    Failed(u16),
}

impl DnsQuery<'_> {
    /// The question as it is sent. None if the name cannot be one.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(self.name).ok()?;
        packet.questions.push(RawQuestion::new(name, self.qtype(), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().ok()
    }

    fn qtype(&self) -> QTYPE {
        QTYPE::TYPE(match self.kind {
            RecordType::A => TYPE::A,
            RecordType::Aaaa => TYPE::AAAA,
        })
    }
}

/// Answer of `packet` to `question`. None: it is no answer to it, whatever its sender, and must be ignored.
pub fn parse_answer(packet: &[u8], question: &DnsQuery<'_>) -> Option<DnsReply> {
    if !is_plausible(packet) {
        return None;
    }
    let packet = Packet::parse(packet).ok()?;
    let [asked] = &*packet.questions else { return None };
    let is_ours = packet.id() == question.id
        && packet.has_flags(PacketFlag::RESPONSE)
        && asked.qtype == question.qtype()
        && asked.qclass == QCLASS::CLASS(CLASS::IN)
        && is_same(&asked.qname, &Name::new_unchecked(question.name));
    if !is_ours {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(DnsReply::Truncated);
    }
    Some(match packet.rcode() {
        RCODE::NoError => addresses(&packet, question),
        RCODE::NameError => DnsReply::NoSuchName,
        other => DnsReply::Failed(other as u16),
    })
}

/// Whether the counts in the header can be true. The parser reserves memory by them.
fn is_plausible(packet: &[u8]) -> bool {
    let Some((header, rest)) = packet.split_at_checked(12) else { return false };
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    count(4) == 1 && (count(6) + count(8) + count(10)) * SHORTEST_RECORD <= rest.len()
}

/// Follows the aliases from the question's name to its addresses.
fn addresses(packet: &Packet<'_>, question: &DnsQuery<'_>) -> DnsReply {
    let mut name = Name::new_unchecked(question.name);
    let mut ttl = LONGEST_TTL;
    for _ in 0..=MAX_ALIASES {
        let mut found = Vec::new();
        let mut alias = None;
        for record in packet.answers.iter().filter(|record| record.class == CLASS::IN && is_same(&record.name, &name)) {
            let addr: IpAddr = match (&record.rdata, question.kind) {
                (RData::A(a), RecordType::A) => Ipv4Addr::from(a.address).into(),
                (RData::AAAA(a), RecordType::Aaaa) => Ipv6Addr::from(a.address).into(),
                (RData::CNAME(target), _) => {
                    alias = Some((target.0.clone(), record.ttl));
                    continue;
                }
                _ => continue,
            };
            ttl = ttl.min(Duration::from_secs(record.ttl.into()));
            if found.len() < MAX_ADDRESSES && !found.contains(&addr) {
                found.push(addr);
            }
        }
        if !found.is_empty() {
            return DnsReply::Addresses(found, ttl.max(SHORTEST_TTL));
        }
        let Some((target, lives)) = alias else { break };
        ttl = ttl.min(Duration::from_secs(lives.into()));
        name = target;
    }
    DnsReply::Empty
}

/// Names are the same whatever their case (RFC 4343).
fn is_same(a: &Name<'_>, b: &Name<'_>) -> bool {
    let (a, b) = (a.get_labels(), b.get_labels());
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.as_ref().eq_ignore_ascii_case(b.as_ref()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, AAAA, CNAME};

    use super::*;

    const QUESTION: DnsQuery<'static> = DnsQuery { id: 7, name: "pi.example.org", kind: RecordType::A };

    fn record(name: &'static str, ttl: u32, rdata: RData<'static>) -> ResourceRecord<'static> {
        ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, ttl, rdata)
    }

    fn a(last: u8) -> RData<'static> {
        RData::A(A::from(Ipv4Addr::new(192, 0, 2, last)))
    }

    fn alias(to: &'static str) -> RData<'static> {
        RData::CNAME(CNAME(Name::new_unchecked(to)))
    }

    fn reply(name: &'static str, answers: Vec<ResourceRecord<'static>>) -> Packet<'static> {
        let mut packet = Packet::new_reply(7);
        packet.questions.push(RawQuestion::new(
            Name::new_unchecked(name),
            QTYPE::TYPE(TYPE::A),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        packet.answers = answers;
        packet
    }

    fn read(packet: &Packet<'_>) -> Option<DnsReply> {
        parse_answer(&packet.build_bytes_vec_compressed().expect("a valid packet"), &QUESTION)
    }

    fn addrs(last: &[u8], ttl: u64) -> Option<DnsReply> {
        let addrs = last.iter().map(|&last| Ipv4Addr::new(192, 0, 2, last).into()).collect();
        Some(DnsReply::Addresses(addrs, Duration::from_secs(ttl)))
    }

    #[test]
    fn addresses_of_the_name_are_taken_whatever_its_case() {
        let records = vec![record("PI.example.org", 60, a(1)), record("pi.EXAMPLE.org", 30, a(2))];
        assert_eq!(read(&reply("Pi.Example.Org", records)), addrs(&[1, 2], 30));
    }

    #[test]
    fn addresses_of_another_name_are_not_taken() {
        assert_eq!(read(&reply("pi.example.org", vec![record("evil.example.org", 60, a(1))])), Some(DnsReply::Empty));
    }

    #[test]
    fn aliases_are_followed_in_any_order_with_the_shortest_ttl() {
        let records = vec![
            record("c.example.org", 60, a(3)),
            record("b.example.org", 20, alias("C.example.org")),
            record("pi.example.org", 40, alias("b.example.org")),
        ];
        assert_eq!(read(&reply("pi.example.org", records)), addrs(&[3], 20));
    }

    #[test]
    fn a_ring_of_aliases_ends() {
        let records = vec![
            record("pi.example.org", 60, alias("b.example.org")),
            record("b.example.org", 60, alias("pi.example.org")),
        ];
        assert_eq!(read(&reply("pi.example.org", records)), Some(DnsReply::Empty));
    }

    #[test]
    fn a_ttl_lies_between_one_second_and_five_minutes() {
        assert_eq!(read(&reply("pi.example.org", vec![record("pi.example.org", 0, a(1))])), addrs(&[1], 1));
        assert_eq!(read(&reply("pi.example.org", vec![record("pi.example.org", 1 << 30, a(1))])), addrs(&[1], 300));
    }

    #[test]
    fn another_id_name_type_or_direction_is_not_our_answer() {
        let good = reply("pi.example.org", vec![record("pi.example.org", 60, a(1))]);
        let mut id = good.clone();
        id.set_id(8);
        assert_eq!(read(&id), None);
        assert_eq!(read(&reply("po.example.org", vec![])), None);
        let mut query = good.clone();
        query.remove_flags(PacketFlag::RESPONSE);
        assert_eq!(read(&query), None);
        let bytes = good.build_bytes_vec().expect("a valid packet");
        assert_eq!(parse_answer(&bytes, &DnsQuery { kind: RecordType::Aaaa, ..QUESTION }), None);
    }

    #[test]
    fn codes_and_truncation_are_told_apart() {
        let mut packet = reply("pi.example.org", vec![]);
        assert_eq!(read(&packet), Some(DnsReply::Empty));
        for (code, expected) in [
            (RCODE::NameError, DnsReply::NoSuchName),
            (RCODE::ServerFailure, DnsReply::Failed(2)),
            (RCODE::Refused, DnsReply::Failed(5)),
        ] {
            *packet.rcode_mut() = code;
            assert_eq!(read(&packet), Some(expected));
        }
        packet.set_flags(PacketFlag::TRUNCATION);
        assert_eq!(read(&packet), Some(DnsReply::Truncated));
    }

    #[test]
    fn counts_that_cannot_be_true_are_refused_before_memory_is_reserved() {
        let mut bytes = reply("pi.example.org", vec![]).build_bytes_vec().expect("a valid packet");
        bytes[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(parse_answer(&bytes, &QUESTION), None);
    }

    #[test]
    fn ipv6_addresses_are_read() {
        let mut packet = reply("pi.example.org", vec![]);
        packet.questions[0].qtype = QTYPE::TYPE(TYPE::AAAA);
        packet.answers.push(record("pi.example.org", 60, RData::AAAA(AAAA::from(Ipv6Addr::LOCALHOST))));
        let bytes = packet.build_bytes_vec().expect("a valid packet");
        let reply = parse_answer(&bytes, &DnsQuery { kind: RecordType::Aaaa, ..QUESTION });
        assert_eq!(reply, Some(DnsReply::Addresses(vec![Ipv6Addr::LOCALHOST.into()], Duration::from_secs(60))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse_answer(&bytes, &QUESTION);
        }

        #[test]
        fn no_damage_to_a_good_answer_makes_it_panic(at in 0usize..200, value: u8, cut in 0usize..200) {
            let packet = reply("pi.example.org", vec![
                record("pi.example.org", 60, alias("b.example.org")),
                record("b.example.org", 60, a(1)),
            ]);
            let mut bytes = packet.build_bytes_vec_compressed().expect("a valid packet");
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = parse_answer(&bytes, &QUESTION);
        }
    }
}
