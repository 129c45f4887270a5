//! The end of connections and of the server.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};

use async_io::Async;
use bramble::transport::server::{Drained, Limits, PortTaken, listen};
use futures_lite::prelude::*;

use crate::{GET, SOON, limits, with_server};

#[test]
fn shutdown_closes_idle_connections_at_once_and_lets_busy_ones_finish() {
    with_server(limits(), async |server| {
        let (mut fresh, mut used, mut busy) = (server.connect().await, server.connect().await, server.connect().await);
        used.send(GET).await;
        used.answer().await;
        busy.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.begun.recv().await.unwrap();
        server.until(|stats| stats.open_connections == 3).await;

        server.stop.send(()).await.unwrap();
        assert_eq!((fresh.rest().await, used.rest().await), (String::new(), String::new()));
        let refused = Async::<TcpStream>::connect(server.addr).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(server.ended.is_empty(), "one is still busy");

        server.gate.send(()).await.unwrap();
        let answer = busy.rest().await;
        assert!(answer.contains("connection: close") && answer.ends_with("through"), "{answer}");
        assert_eq!(server.ended.recv().await.unwrap(), Drained { cut: 0 });
        assert_eq!(server.stats.snapshot().open_connections, 0);
    });
}

#[test]
fn shutdown_cuts_what_does_not_end_and_counts_it() {
    let limits = Limits { drain_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let (mut idle, mut busy) = (server.connect().await, server.connect().await);
        busy.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.begun.recv().await.unwrap();
        server.until(|stats| stats.open_connections == 2).await;
        server.stop.send(()).await.unwrap();
        assert_eq!(idle.rest().await, "");
        assert_eq!(server.ended.recv().await.unwrap(), Drained { cut: 1 });
        server.dropped.recv().await.unwrap();
        assert_eq!(busy.whatever_comes().await, "");
    });
}

/// Open files this process may have.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[test]
fn a_thousand_idle_connections_are_kept_and_cost_little() {
    let count = 1000.min((open_files() - 200) / 2); // both ends are ours
    with_server(Limits { max_connections: 1000, ..limits() }, async |server| {
        server.is_well().await;
        let before = resident_kib();
        let mut peers = Vec::with_capacity(count);
        for _ in 0..count {
            let mut peer = server.connect().await;
            peer.send(GET).await;
            let mut answer = [0; 512];
            assert!(peer.stream.read(&mut answer).await.unwrap() > 0);
            peers.push(peer);
        }
        assert_eq!(server.stats.snapshot().open_connections, count);
        let each = (resident_kib() - before) * 1024 / count;
        assert!(each <= 16 << 10, "{each} bytes a connection, both ends together");
        for peer in &mut peers {
            peer.send(GET).await;
            assert_eq!(peer.answer().await.status, 200);
        }
        server.stop.send(()).await.unwrap();
        assert_eq!(server.ended.recv().await.unwrap(), Drained { cut: 0 });
    });
}

#[test]
fn a_taken_port_is_named() {
    let taken = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = taken.get_ref().local_addr().unwrap();
    let error = listen(addr).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("port {} is taken", addr.port())), "{error}");
    assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&PortTaken(addr)));
}

#[test]
fn a_peer_that_only_ends_its_side_has_left() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.begun.recv().await.unwrap();
        peer.stream.get_ref().shutdown(Shutdown::Write).unwrap();
        server.dropped.recv().await.unwrap();
    });
}
