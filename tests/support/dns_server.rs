//! A DNS server on loopback that answers well, badly, late or not at all.

#![allow(dead_code)] // each test file uses a part

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

/// Longer than anything here takes.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Udp,
    Tcp,
}

/// Question of a query.
pub(crate) struct Question<'a> {
    pub(crate) name: String,
    pub(crate) ipv6: bool,
    pub(crate) over: Protocol,
    query: &'a Packet<'a>,
}

impl Question<'_> {
    /// An answer without records.
    pub(crate) fn reply(&self) -> Packet<'_> {
        let mut reply = Packet::new_reply(self.query.id());
        reply.questions.clone_from(&self.query.questions);
        reply
    }

    /// An answer with these records.
    pub(crate) fn records<'a>(&'a self, records: Vec<ResourceRecord<'a>>) -> Vec<Vec<u8>> {
        let mut reply = self.reply();
        reply.answers = records;
        bytes(&reply)
    }

    /// An answer with this code.
    pub(crate) fn code(&self, code: RCODE) -> Vec<Vec<u8>> {
        let mut reply = self.reply();
        *reply.rcode_mut() = code;
        bytes(&reply)
    }
}

pub(crate) fn bytes(packet: &Packet<'_>) -> Vec<Vec<u8>> {
    vec![packet.build_bytes_vec_compressed().expect("a valid packet")]
}

pub(crate) fn record<'a>(name: &'a str, rdata: RData<'a>) -> ResourceRecord<'a> {
    ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 60, rdata)
}

pub(crate) fn a(name: &str, last: u8) -> ResourceRecord<'_> {
    record(name, RData::A(A::from(Ipv4Addr::new(192, 0, 2, last))))
}

pub(crate) fn aaaa(name: &str, last: u16) -> ResourceRecord<'_> {
    record(name, RData::AAAA(AAAA::from(v6(last))))
}

pub(crate) fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

pub(crate) fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// A DNS server on loopback, at the same port of UDP and TCP.
pub(crate) struct Dns {
    pub(crate) addr: SocketAddr,
    queries: Arc<AtomicUsize>,
    names: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Dns {
    /// Answers each query with the datagrams that `respond` makes of it.
    pub(crate) fn new(respond: impl Fn(&Question<'_>) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = sockets();
        let addr = udp.local_addr().expect("bound");
        let (queries, names) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let stop = Arc::new(AtomicBool::new(false));
        let respond = {
            let (queries, names) = (Arc::clone(&queries), Arc::clone(&names));
            Arc::new(move |query: &[u8], over| {
                let query = Packet::parse(query).expect("a valid query");
                assert!(query.has_flags(PacketFlag::RECURSION_DESIRED));
                let [question] = &*query.questions else { panic!("one question") };
                let asked = Question {
                    name: question.qname.to_string(),
                    ipv6: question.qtype == QTYPE::TYPE(TYPE::AAAA),
                    over,
                    query: &query,
                };
                queries.fetch_add(1, Ordering::SeqCst);
                if !asked.ipv6 {
                    names.lock().expect("not poisoned").push(asked.name.clone());
                }
                respond(&asked)
            })
        };
        let (stopped, also) = (Arc::clone(&stop), Arc::clone(&respond));
        let by_udp = thread::spawn(move || {
            let mut buffer = [0; 512];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((n, peer)) = udp.recv_from(&mut buffer) else { continue };
                for datagram in also(&buffer[..n], Protocol::Udp) {
                    udp.send_to(&datagram, peer).expect("loopback takes it");
                }
            }
        });
        let stopped = Arc::clone(&stop);
        let by_tcp = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).expect("a stream can be");
                stream.set_read_timeout(Some(GUARD)).expect("not zero");
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("a length");
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).expect("a query");
                for answer in respond(&query, Protocol::Tcp) {
                    let length = u16::try_from(answer.len()).expect("short");
                    stream.write_all(&length.to_be_bytes()).expect("the client reads");
                    stream.write_all(&answer).expect("the client reads");
                }
            }
        });
        Self { addr, queries, names, stop, threads: vec![by_udp, by_tcp] }
    }

    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.names.lock().expect("not poisoned").clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server's part failed");
        }
    }
}

/// The same port twice, which may take some tries.
pub(crate) fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")) else { continue };
        tcp.set_nonblocking(true).expect("a listener can be");
        udp.set_read_timeout(Some(Duration::from_millis(5))).expect("not zero");
        return (udp, tcp);
    }
    panic!("no port is free for both");
}
