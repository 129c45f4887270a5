//! A plain HTTP client: one connection a request, nothing of the code under test.

#![allow(dead_code)] // each test file uses a part

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::patience::patience;

/// Longer than any service takes to answer.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(30));

/// Status and body of a GET.
pub(crate) fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    ask(addr, "GET", path, "").unwrap_or_else(|error| panic!("GET http://{addr}{path}: {error}"))
}

/// Status and body, or what was in the way of a whole answer.
pub(crate) fn ask(addr: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    ask_until(addr, method, path, body, Instant::now() + *PATIENCE)
}

/// The same, until a moment.
pub(crate) fn ask_until(
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
    deadline: Instant,
) -> io::Result<(u16, String)> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok::<_, io::Error>(left),
    };
    let mut stream = TcpStream::connect_timeout(&addr, left()?)?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part)? {
            0 => break,
            count => answer.extend(part.iter().take(count)),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let broken = || io::Error::new(io::ErrorKind::InvalidData, format!("not a whole answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok((status, body.to_owned()))
}
