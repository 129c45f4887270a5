//! A question to one server: both families in two datagrams over one socket, TCP for what does not fit.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use async_io::Async;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::message::{DnsQuery, DnsReply, RecordType, parse_answer};
use crate::timeout::timeout_at;

/// Without EDNS an answer is at most 512 bytes long (RFC 1035, 4.2.1); some servers send more.
const MAX_DATAGRAM: usize = 4096;

/// Datagrams looked at for one question; more is a flood.
const MAX_DATAGRAMS: usize = 64;

/// How long one family waits for the other once it has addresses (RFC 8305, 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Answer of a server about a name.
#[derive(Debug)]
pub(super) enum ServerAnswer {
    Addresses {
        addrs: Vec<IpAddr>,
        ttl: Duration,
        /// Whether the other family was answered for, too.
        is_whole: bool,
    },
    /// The name exists without an address.
    Empty,
    NoSuchName,
}

/// Why a server is of no use.
#[derive(Debug)]
pub(super) enum ServerFailure {
    /// The name cannot be sent.
    BadName,
    Silent,
    Failed(u16),
    Io(io::Error),
}

/// Asks `server` for the addresses of `name` until `deadline`.
pub(super) async fn ask(server: SocketAddr, name: &str, deadline: Instant) -> Result<ServerAnswer, ServerFailure> {
    let ids = unpredictable();
    let questions =
        [DnsQuery { id: ids[0], name, kind: RecordType::A }, DnsQuery { id: ids[1], name, kind: RecordType::Aaaa }];
    let mut replies = [None, None];
    let asked = timeout_at(deadline, by_datagram(server, &questions, &mut replies)).await;
    if let Some(Err(useless)) = asked {
        return Err(useless);
    }
    for (question, reply) in questions.iter().zip(&mut replies) {
        if *reply == Some(DnsReply::Truncated) {
            *reply = timeout_at(deadline, by_stream(server, question)).await.transpose().map_err(ServerFailure::Io)?;
        }
    }
    sum_up(replies)
}

/// Sums up the replies for both families.
fn sum_up(replies: [Option<DnsReply>; 2]) -> Result<ServerAnswer, ServerFailure> {
    let mut addrs = Vec::new();
    let mut ttl = Duration::MAX;
    let (mut exists, mut missing, mut failed) = (false, false, None);
    let mut silent = false;
    for reply in replies {
        match reply {
            Some(DnsReply::Addresses(more, lives)) => {
                addrs.extend(more);
                ttl = ttl.min(lives);
            }
            Some(DnsReply::Empty) => exists = true,
            Some(DnsReply::NoSuchName) => missing = true,
            Some(DnsReply::Failed(code)) => failed = Some(code),
            Some(DnsReply::Truncated) | None => silent = true,
        }
    }
    match failed {
        _ if !addrs.is_empty() => Ok(ServerAnswer::Addresses { addrs, ttl, is_whole: failed.is_none() && !silent }),
        Some(code) => Err(ServerFailure::Failed(code)),
        // A name that does not exist has neither family (RFC 8020), so one reply is enough to know.
        None if missing && !exists => Ok(ServerAnswer::NoSuchName),
        None if silent => Err(ServerFailure::Silent),
        None => Ok(ServerAnswer::Empty),
    }
}

/// Fills `replies` as they come; returns when both are there, or one has addresses and the other is late.
async fn by_datagram(
    server: SocketAddr,
    questions: &[DnsQuery<'_>; 2],
    replies: &mut [Option<DnsReply>; 2],
) -> Result<(), ServerFailure> {
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Port 0: the system chooses one at random. Connected: datagrams of other senders are not even seen.
    let socket = Async::<UdpSocket>::bind((local, 0)).map_err(ServerFailure::Io)?;
    socket.get_ref().connect(server).map_err(ServerFailure::Io)?;
    for question in questions {
        let datagram = question.encode().ok_or(ServerFailure::BadName)?;
        socket.send(&datagram).await.map_err(ServerFailure::Io)?;
    }
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut late = None;
    for _ in 0..MAX_DATAGRAMS {
        let receive = socket.recv(&mut buffer);
        let received = match late {
            None => Some(receive.await),
            Some(instant) => timeout_at(instant, receive).await,
        };
        let Some(received) = received else { break };
        let datagram = &buffer[..received.map_err(ServerFailure::Io)?];
        for (question, reply) in questions.iter().zip(replies.iter_mut()) {
            if reply.is_none() {
                *reply = parse_answer(datagram, question);
            }
        }
        if replies.iter().all(Option::is_some) {
            break;
        }
        let has_addresses = replies.iter().any(|reply| matches!(reply, Some(DnsReply::Addresses(..))));
        if has_addresses && late.is_none() {
            late = Some(Instant::now() + RESOLUTION_DELAY);
        }
    }
    Ok(())
}

/// The same question over TCP, each message behind its length (RFC 1035, 4.2.2).
async fn by_stream(server: SocketAddr, question: &DnsQuery<'_>) -> io::Result<DnsReply> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer over TCP is not one to the question");
    let message = question.encode().ok_or_else(invalid)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&u16::try_from(message.len()).map_err(|_| invalid())?.to_be_bytes());
    framed.extend_from_slice(&message);
    let mut stream = Async::<TcpStream>::connect(server).await?;
    stream.write_all(&framed).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await?;
    parse_answer(&answer, question).ok_or_else(invalid)
}

/// Two different ids that cannot be guessed: the standard library keys its hash with the system's random numbers.
fn unpredictable() -> [u16; 2] {
    let bits = RandomState::new().build_hasher().finish();
    let [first, second] = [bits as u16, (bits >> 16) as u16];
    [first, if second == first { !second } else { second }]
}
