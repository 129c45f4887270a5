//! Asking a Pi over HTTP. Its answers may not come at all, so each question has little time.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Timeout of one question. QEMU's own network accepts a connection also while no program listens on the Pi, so a lost
/// question must not cost much; a form with no producer answers within 3 s.
const ONE: Duration = Duration::from_secs(4);

/// Status and body of a GET.
pub(crate) fn get(addr: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    get_within(addr, path, ONE)
}

/// The same as a browser asks.
pub(crate) fn page(addr: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    ask(addr, path, ONE, "text/html")
}

/// Status and body of a GET that has this much time.
pub(crate) fn get_within(addr: SocketAddr, path: &str, time: Duration) -> io::Result<(u16, String)> {
    ask(addr, path, time, "application/json")
}

fn ask(addr: SocketAddr, path: &str, time: Duration, accept: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, time)?;
    stream.set_read_timeout(Some(time))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {addr}\r\naccept: {accept}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let broken = || io::Error::new(io::ErrorKind::InvalidData, format!("not a whole answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok((status, body.to_owned()))
}

/// Asks until the answer is JSON that is as `wanted`, at most `within`.
pub(crate) fn until(addr: SocketAddr, path: &str, within: Duration, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let found = search(addr, path, Instant::now() + within, wanted);
    found.unwrap_or_else(|last| panic!("not within {within:?}: http://{addr}{path} last: {last}"))
}

/// The same until `deadline`; after it, the last answer.
pub(crate) fn search(
    addr: SocketAddr,
    path: &str,
    deadline: Instant,
    wanted: impl Fn(u16, &Value) -> bool,
) -> Result<Value, String> {
    loop {
        let answer = get(addr, path);
        if let Ok((status, body)) = &answer {
            let json = serde_json::from_str(body).unwrap_or(Value::Null);
            if wanted(*status, &json) {
                return Ok(json);
            }
        }
        if Instant::now() >= deadline {
            return Err(format!("{answer:?}"));
        }
        sleep(Duration::from_millis(100));
    }
}
