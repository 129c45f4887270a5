//! The end of connections and of the server.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};

use async_io::Async;
use bramble::internals::transport::server::{Drained, Limits, PortTaken, listen};

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
        assert_eq!(busy.read_available().await, "");
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
