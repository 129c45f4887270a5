//! The memory of a service, read from outside: it runs as a process of its own, so nothing but its own work is
//! measured.

mod support {
    pub(crate) mod bramble;
    pub(crate) mod patience;
    pub(crate) mod redis_server;
    pub(crate) mod until;
}

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use support::bramble::Service;
use support::redis_server::PATIENCE;

/// Connections beside the measured ones: those of `/metrics`.
const ROOM: usize = 100;
/// Requests before the first measurement: what a process needs once is there then.
const WARM_UP: usize = 100;
/// Bytes that one connection may add. It was 14 KiB when this was written, of which hyper's read buffer has 8 KiB.
const MOST_A_CONNECTION: usize = 16 << 10;

/// Open files a process may have: the soft limit, which children inherit.
fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of open files");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

/// Asks for `/healthz` and leaves the connection open.
fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let (mut answer, mut part) = (Vec::new(), [0; 1 << 10]);
    while !is_whole(&answer) {
        let n = stream.read(&mut part).expect("an answer in time");
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..n]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&answer));
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()) == Some(body.len())
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, *PATIENCE).expect("it listens");
    stream.set_read_timeout(Some(*PATIENCE)).expect("not zero");
    stream
}

#[test]
fn a_thousand_idle_connections_are_kept_and_cost_little() {
    let count = 1000.min(open_files().saturating_sub(ROOM));
    let most = (count + ROOM).to_string();
    let settings = [("BRAMBLE__SERVER__MAX_CONNECTIONS", &*most), ("BRAMBLE__SERVER__IDLE_TIMEOUT", "10m")];
    let service = Service::start(&["upstream-sim"], &settings);
    let mut first = connect(service.addr());
    (0..WARM_UP).for_each(|_| ask(&mut first));
    drop(first);

    let before = service.anonymous_bytes();
    let connect_and_ask = |_| {
        let mut stream = connect(service.addr());
        ask(&mut stream);
        stream
    };
    let mut idle: Vec<TcpStream> = (0..count).map(connect_and_ask).collect();
    let each = service.anonymous_bytes().saturating_sub(before) / count;
    assert!((1 << 10..=MOST_A_CONNECTION).contains(&each), "{each} bytes a connection");

    assert!(service.metric("bramble_server_connections ") >= count as u64, "all are kept");
    idle.iter_mut().for_each(ask);
}
