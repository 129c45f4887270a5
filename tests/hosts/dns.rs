//! mDNS packets as anyone on a LAN can send them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::{A, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);
const SERVICE: &str = "_bramble._tcp.local";

/// Claims of a record.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) addr: SocketAddr,
    /// Seconds; 0 says goodbye.
    pub(crate) ttl: u32,
    /// Types of the records.
    pub(crate) kinds: &'static str,
}

impl Claim {
    /// A claim with everything that a producer announces.
    pub(crate) fn whole(id: &str, addr: SocketAddr) -> Self {
        Self { id: id.into(), host: id.into(), addr, ttl: 120, kinds: "ptr srv txt a" }
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let full = format!("{}.{SERVICE}", self.id);
        let host = format!("{}.local", self.host);
        let txt = [
            "txtvers=1".to_owned(),
            "cl=bramble".to_owned(),
            "svc=producer".to_owned(),
            format!("id={}", self.id),
            "path=/".to_owned(),
            "w=100".to_owned(),
            "st=up".to_owned(),
        ];
        let mut packet = Packet::new_reply(0);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        let ip = match self.addr.ip() {
            std::net::IpAddr::V4(ip) => ip,
            std::net::IpAddr::V6(_) => panic!("IPv4 alone is used"),
        };
        for kind in self.kinds.split(' ') {
            let (owner, data) = match kind {
                "ptr" => (SERVICE.to_owned(), RData::PTR(PTR(name(&full)))),
                "srv" => {
                    let srv = SRV { priority: 0, weight: 0, port: self.addr.port(), target: name(&host) };
                    (full.clone(), RData::SRV(srv))
                }
                "txt" => {
                    let mut data = TXT::new();
                    for text in &txt {
                        data.add_string(text).expect("a short text");
                    }
                    (full.clone(), RData::TXT(data.into_owned()))
                }
                _ => (host.clone(), RData::A(A::from(ip))),
            };
            let record = ResourceRecord::new(name(&owner), CLASS::IN, self.ttl, data);
            packet.answers.push(record.with_cache_flush(kind != "ptr"));
        }
        packet.build_bytes_vec().expect("a small packet")
    }
}

fn name(text: &str) -> Name<'static> {
    Name::new_unchecked(text).into_owned()
}

/// Where mDNS is spoken, from the thread's own host.
pub(crate) struct Announcer(UdpSocket);

impl Announcer {
    /// From the port that responders use.
    pub(crate) fn open() -> Self {
        // A process that another test is just starting holds a copy of every socket for a moment.
        let began = Instant::now();
        loop {
            match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GROUP.1)) {
                Ok(socket) => return Self(socket),
                Err(error) => assert!(began.elapsed() < Duration::from_secs(5), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn say(&self, packet: &[u8]) {
        // A full queue is no failure: so much the less is sent.
        let _ = self.0.send_to(packet, GROUP);
    }
}

/// Every address that the host called `id` has by mDNS, asked as a plain resolver does, by unicast.
pub(crate) fn addresses_of(id: &str) -> Vec<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a valid time");
    let mut question = Packet::new_query(7);
    let host = name(&format!("{id}.local"));
    question.questions.push(Question::new(host, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    let question = question.build_bytes_vec().expect("a small packet");
    let mut found = BTreeSet::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        socket.send_to(&question, GROUP).expect("the network is up");
        let mut buffer = [0; 9000];
        while let Ok(length) = socket.recv(&mut buffer) {
            let answer = Packet::parse(&buffer[..length]).expect("a DNS packet");
            for record in answer.answers.iter().chain(&answer.additional_records) {
                if let RData::A(a) = &record.rdata {
                    found.insert(Ipv4Addr::from(a.address));
                }
            }
        }
    }
    found.into_iter().collect()
}
