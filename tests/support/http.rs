//! A plain HTTP client: one connection a request, nothing of the code under test.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any service takes to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Status and body of a GET.
pub(crate) fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    ask(addr, "GET", path, "").unwrap_or_else(|error| panic!("GET http://{addr}{path}: {error}"))
}

/// Status and body, or what was in the way of a whole answer.
pub(crate) fn ask(addr: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let broken = || io::Error::new(io::ErrorKind::InvalidData, format!("not a whole answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok((status, body.to_owned()))
}
