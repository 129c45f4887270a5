//! From a name to an open connection. A name may have addresses that lead nowhere (an IPv6 route that is gone, a dead
//! instance behind an alias), so a second one is tried before the first has failed (RFC 8305, "Happy Eyeballs").

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};

use super::connection::Connection;
use super::error::{Error, Phase};
use super::socket::{Socket, Stream, Watch};
use super::{Inner, Target};
use crate::timeout::timeout_at;

/// How long the first address is alone (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A new connection to `target`.
pub(super) async fn open(wire: &Inner, target: &Target<'_>, deadline: Instant) -> Result<Box<Connection>, Error> {
    let settings = &wire.settings;
    let answer = settings.resolver.lookup(target.host, deadline).await?;
    let addrs = in_turn(&answer.addrs, target.port);
    let timed_out = |phase| Error::TimedOut { host: target.key.to_owned(), phase };

    let latest = deadline.min(Instant::now() + settings.connect_timeout * (addrs.len() as u32));
    let each = settings.connect_timeout;
    let tcp = timeout_at(latest, race(&addrs, each)).await.unwrap_or_else(|| Err(timed_out(Phase::Connect)))?;
    let tcp = tcp.ok_or_else(|| timed_out(Phase::Connect))?;
    if let Err(error) = tcp.get_ref().set_nodelay(true) {
        log::debug!("no TCP_NODELAY towards {}: {error}", target.key);
    }

    let watch = Arc::new(Watch::default());
    let socket = Socket::new(tcp, Arc::clone(&watch));
    #[cfg(feature = "tls")]
    let stream = if target.https {
        let latest = deadline.min(Instant::now() + settings.connect_timeout);
        let handshake = wire.tls.connect(target.host, socket);
        Stream::Tls(Box::new(timeout_at(latest, handshake).await.ok_or_else(|| timed_out(Phase::Tls))??))
    } else {
        Stream::Plain(socket)
    };
    #[cfg(not(feature = "tls"))]
    let stream = Stream::Plain(socket); // Target::of has refused https
    Ok(Box::new(Connection::new(target.key.into(), target.https, stream, watch).await?))
}

/// `addrs` with the families in turn, so that a family without a route delays no request for long.
fn in_turn(addrs: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let first_is_v4 = addrs.first().is_some_and(IpAddr::is_ipv4);
    let mut first = addrs.iter().filter(|addr| addr.is_ipv4() == first_is_v4);
    let mut other = addrs.iter().filter(|addr| addr.is_ipv4() != first_is_v4);
    let mut sorted = Vec::with_capacity(addrs.len().min(MAX_ADDRESSES));
    while sorted.len() < MAX_ADDRESSES {
        let pair = [first.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        sorted.extend(pair.into_iter().flatten().map(|&addr| SocketAddr::new(addr, port)));
    }
    sorted.truncate(MAX_ADDRESSES);
    sorted
}

type Attempt = Pin<Box<dyn Future<Output = Result<Option<Async<TcpStream>>, (SocketAddr, io::Error)>> + Send>>;

/// The first of `addrs` that accepts; each has the time `each`, and all but the first wait for the one before to fail
/// or to have had its head start. None: none did in time.
async fn race(addrs: &[SocketAddr], each: Duration) -> Result<Option<Async<TcpStream>>, Error> {
    let mut waiting = addrs.iter().copied();
    let mut running: Vec<Attempt> = Vec::new();
    let mut next_start = Timer::never();
    let mut failure = None;
    poll_fn(|cx| {
        let mut start = running.is_empty() || Pin::new(&mut next_start).poll(cx).is_ready();
        loop {
            if start {
                if let Some(addr) = waiting.next() {
                    running.push(Box::pin(attempt(addr, each)));
                    next_start.set_after(HEAD_START);
                    // Registers the timer; it cannot have fired yet.
                    let _ = Pin::new(&mut next_start).poll(cx);
                }
            }
            start = false;
            let mut at = 0;
            while let Some(attempt) = running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok(Some(stream))) => return Poll::Ready(Ok(Some(stream))),
                    Poll::Ready(Ok(None)) => {
                        drop(running.remove(at));
                        start = true;
                    }
                    Poll::Ready(Err((addr, error))) => {
                        drop(running.remove(at));
                        failure = Some(worse(failure.take(), addr, error));
                        start = true;
                    }
                }
            }
            if !start || (running.is_empty() && waiting.len() == 0) {
                break;
            }
        }
        match running.is_empty() {
            true => Poll::Ready(failure.take().map_or(Ok(None), Err)),
            false => Poll::Pending,
        }
    })
    .await
}

async fn attempt(addr: SocketAddr, time: Duration) -> Result<Option<Async<TcpStream>>, (SocketAddr, io::Error)> {
    timeout_at(Instant::now() + time, Async::<TcpStream>::connect(addr))
        .await
        .transpose()
        .map_err(|error| (addr, error))
}

/// A refusal tells more than a missing route of the other family does. A reset before anything was sent is one too: the
/// listener closed with the connection still in its queue.
fn worse(known: Option<Error>, addr: SocketAddr, source: io::Error) -> Error {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset};
    match known {
        Some(refused @ Error::Refused(_)) => refused,
        _ if matches!(source.kind(), ConnectionRefused | ConnectionReset) => Error::Refused(addr),
        _ => Error::Connect { addr, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_the_order_within_one_stays() {
        let addrs: Vec<IpAddr> = ["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]
            .iter()
            .map(|addr| addr.parse().expect("an address"))
            .collect();
        let sorted: Vec<String> = in_turn(&addrs, 1).iter().map(|addr| addr.ip().to_string()).collect();
        assert_eq!(sorted, ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
        assert_eq!(in_turn(&[addrs[0]; 20], 1).len(), MAX_ADDRESSES);
    }
}
