//! Probes instances: asks by HTTP whether an instance is at an address. A TCP connect alone does not tell it from a
//! stranger that has got its address or its port.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_io::Async;
use futures_lite::future::poll_fn;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use smol::{Executor, Timer};

use super::Directory;
use super::table::ProbeResult;
use crate::ID_HEADER;
use crate::timeout::timeout;

/// After this time without an answer of one address the next one is probed as well (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// The answer to `GET /healthz` must have come within this time of the connect.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Bytes that are read of the answer: the head of ours has some 200.
const MAX_HEAD: usize = 4096;

/// Makes the probes that `directory` wants, for as long as it is polled.
pub(super) async fn keep_probing(directory: &Directory) {
    let tasks: Executor<'static> = Executor::new();
    let begin = async {
        loop {
            let more = directory.wants_probe();
            for request in directory.due_probes(Instant::now()) {
                let directory = directory.clone();
                let probe = async move {
                    let result = probe(&request.addrs, &request.id, request.connects_within).await;
                    directory.probed(&request, result, Instant::now());
                };
                tasks.spawn(probe).detach();
            }
            let next = async {
                match directory.next_probe() {
                    Some(at) => drop(Timer::at(at).await),
                    None => std::future::pending().await,
                }
            };
            more.or(next).await;
        }
    };
    tasks.run(begin).await;
}

/// Asks at the first address, and after a head start, or once that has failed, at the others.
async fn probe(addrs: &[SocketAddr], id: &str, connects_within: Duration) -> ProbeResult {
    let Some((first, others)) = addrs.split_first() else { return ProbeResult::Absent };
    let mut first = pin!(probe_one(*first, id, connects_within));
    let alone = async {
        if others.is_empty() {
            std::future::pending().await
        } else {
            Timer::after(HEAD_START).await
        };
        None
    };
    let mut known = async { Some((&mut first).await) }.or(alone).await;
    if others.is_empty() || matches!(known, Some(ProbeResult::Answered(_))) {
        return known.unwrap_or(ProbeResult::Absent);
    }
    let mut others = pin!(Box::pin(probe(others, id, connects_within)));
    let mut other = None;
    poll_fn(|cx| {
        if known.is_none() {
            known = ready(first.as_mut().poll(cx));
        }
        if other.is_none() {
            other = ready(others.as_mut().poll(cx));
        }
        match (known, other) {
            (Some(found @ ProbeResult::Answered(_)), _) | (_, Some(found @ ProbeResult::Answered(_))) => {
                Poll::Ready(found)
            }
            (Some(unclear_or_absent), Some(_)) => Poll::Ready(unclear_or_absent),
            _ => Poll::Pending,
        }
    })
    .await
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

async fn probe_one(addr: SocketAddr, id: &str, connects_within: Duration) -> ProbeResult {
    let stream = match within(connects_within, Async::<TcpStream>::connect(addr)).await {
        Ok(stream) => stream,
        Err(error) => {
            log::debug!("probe of {id} at {addr}: {error}");
            return if is_absence(&error) { ProbeResult::Absent } else { ProbeResult::Unclear };
        }
    };
    match within(ANSWERS_WITHIN, ask(stream, addr)).await.map(|head| id_of(&head)) {
        Ok(Some(found)) if found == id => ProbeResult::Answered(addr),
        Ok(other) => {
            log::debug!("probe of {id} at {addr}: {} answers there", other.as_deref().unwrap_or("something else"));
            ProbeResult::Absent
        }
        Err(error) => {
            log::debug!("probe of {id} at {addr}: it accepts connections, but {error}");
            ProbeResult::Unclear
        }
    }
}

/// Whether the error says that nothing is there. Others, as that there are too many open files, say nothing of it.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
    )
}

/// Sends the request and reads the head of the answer.
async fn ask(mut stream: Async<TcpStream>, addr: SocketAddr) -> io::Result<Vec<u8>> {
    let request =
        format!("GET /healthz HTTP/1.1\r\nhost: {addr}\r\nuser-agent: bramble-probe\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut part = [0; 512];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let length = stream.read(&mut part).await?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&part[..length]);
        if head.len() > MAX_HEAD {
            break; // no answer of ours, whatever follows
        }
    }
    Ok(head)
}

/// The id in the head of an HTTP answer.
fn id_of(head: &[u8]) -> Option<String> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.next().filter(|line| line.starts_with(b"HTTP/1."))?;
    let fields =
        lines.take_while(|line| !line.is_empty()).filter_map(|line| std::str::from_utf8(line).ok()?.split_once(':'));
    let mut ids = fields.filter(|(name, _)| name.eq_ignore_ascii_case(ID_HEADER)).map(|(_, value)| value.trim());
    ids.next().map(str::to_owned)
}

async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work).await.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
}

/// A service at a free port of loopback that answers each request with `id`, for as long as `executor` runs.
#[cfg(test)]
pub(super) fn answering(id: &'static str, executor: &Executor<'static>) -> SocketAddr {
    answering_with(format!("HTTP/1.1 200 OK\r\nX-Bramble-Id: {id}\r\ncontent-length: 0\r\n\r\n"), executor)
}

#[cfg(test)]
fn answering_with(answer: String, executor: &Executor<'static>) -> SocketAddr {
    let listener = Async::<std::net::TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a free port");
    let addr = listener.get_ref().local_addr().expect("bound");
    let serve = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 512];
            let _ = stream.read(&mut request).await; // the answer is the same to every request
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    };
    executor.spawn(serve).detach();
    addr
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "producer-a";
    const SECOND: Duration = Duration::from_secs(1);

    fn probed(answer: &str) -> (ProbeResult, SocketAddr) {
        let executor = Executor::new();
        let addr = answering_with(answer.into(), &executor);
        (smol::block_on(executor.run(probe(&[addr], ID, SECOND))), addr)
    }

    /// A port of loopback where nothing listens, for as long as the listener's socket is bound and not listening.
    fn refusing() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    }

    #[test]
    fn only_an_answer_with_the_id_proves_that_an_instance_is_there() {
        for answer in [
            "HTTP/1.1 200 OK\r\nX-Bramble-ID:  producer-a \r\n\r\n",
            "HTTP/1.1 503 No\r\nx-bramble-id: producer-a\r\n\r\n",
        ] {
            let (result, addr) = probed(answer);
            assert_eq!(result, ProbeResult::Answered(addr), "{answer}");
        }
        let long =
            format!("HTTP/1.1 200 OK\r\nserver: {}\r\nx-bramble-id: producer-a\r\n\r\n", "x".repeat(2 * MAX_HEAD));
        for answer in [
            "HTTP/1.1 200 OK\r\nx-bramble-id: producer-b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nserver: nginx\r\n\r\nx-bramble-id: producer-a\r\n\r\n",
            "x-bramble-id: producer-a\r\n\r\n",
            &long,
        ] {
            assert_eq!(probed(answer).0, ProbeResult::Absent, "{answer}");
        }
    }

    #[test]
    fn a_connection_that_breaks_before_the_answer_says_nothing() {
        assert_eq!(probed("HTTP/1.1 200 OK\r\n").0, ProbeResult::Unclear);
        assert_eq!(probed("").0, ProbeResult::Unclear);
    }

    #[test]
    fn the_next_address_is_probed_when_one_refuses_or_another_service_answers_there() {
        let executor = Executor::new();
        let addrs = [refusing(), answering("producer-b", &executor), answering(ID, &executor)];
        let began = Instant::now();
        let result = smol::block_on(executor.run(probe(&addrs, ID, SECOND)));
        assert_eq!(result, ProbeResult::Answered(addrs[2]));
        assert!(began.elapsed() < HEAD_START, "no head start for an address that has failed");
        assert_eq!(smol::block_on(executor.run(probe(&addrs[..2], ID, SECOND))), ProbeResult::Absent);
    }

    #[test]
    fn the_next_address_is_probed_while_the_first_one_is_silent() {
        let executor = Executor::new();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"); // accepts and never answers
        let addrs = [silent.local_addr().expect("bound"), answering(ID, &executor)];
        let began = Instant::now();
        let result = smol::block_on(executor.run(probe(&addrs, ID, SECOND)));
        assert_eq!(result, ProbeResult::Answered(addrs[1]));
        assert!((HEAD_START..ANSWERS_WITHIN).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(smol::block_on(executor.run(probe(&addrs[..1], ID, SECOND))), ProbeResult::Unclear);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = id_of(&head);
        }
    }
}
