//! Answers, whole and broken, to peers that read them or leave.

use std::io;
use std::net::TcpStream;

use bramble::internals::transport::server::{Drained, Limits};

use crate::{GET, SOON, limits, with_server};

#[test]
fn a_peer_that_leaves_takes_its_handler_with_it() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.begun.recv().await.unwrap();
        drop(peer);
        server.dropped.recv().await.unwrap();
        server.until(|stats| stats.open_connections == 0).await;
        assert_eq!(server.stats.snapshot().answers, [0; 5]);
    });
}

#[test]
fn an_event_is_sent_when_it_happens() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let head = peer.until("\r\n\r\n").await;
        assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
        for _ in 0..3 {
            server.gate.send(()).await.unwrap();
            assert_eq!(peer.until("\n\n\r\n").await, "C\r\ndata: tick\n\n\r\n");
        }
        drop(server.gate);
        peer.until("0\r\n\r\n").await;
    });
}

#[test]
fn an_answer_that_fails_midway_never_ends_cleanly() {
    with_server(limits(), async |server| {
        let answer = server.connect().await.ask_whatever("GET /broken HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        let answer = server.connect().await.ask_whatever("GET /short HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.is_empty() || (answer.contains("content-length: 8") && answer.ends_with("half")), "{answer}");
        server.until(|stats| stats.open_connections == 0).await;
    });
}

#[test]
fn an_endless_answer_to_a_fast_peer_lets_others_run() {
    let limits = Limits { drain_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let addr = server.addr;
        let fast = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            io::Write::write_all(&mut stream, b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let _ = io::copy(&mut stream, &mut io::sink()); // until cut
        });
        server.until(|stats| stats.answers[1] == 1).await;
        for _ in 0..10 {
            server.is_well().await;
        }
        server.stop.send(()).await.unwrap();
        assert_eq!(server.ended.recv().await.unwrap(), Drained { cut: 1 });
        server.dropped.recv().await.unwrap();
        smol::unblock(|| fast.join()).await.unwrap();
    });
}

#[test]
fn a_large_answer_arrives_whole() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        for _ in 0..2 {
            peer.send("GET /big HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert!(peer.answer().await.body == "0123456789abcdef".repeat(20_000));
        }
    });
}

#[test]
fn head_is_get_without_the_body() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send(format!("HEAD /hello HTTP/1.1\r\nhost: a\r\n\r\n{GET}")).await;
        let head = peer.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 5\r\n"), "{head}");
        assert_eq!(peer.answer().await.body, "hello", "what follows is the next answer");
        peer.send(format!("HEAD /events HTTP/1.1\r\nhost: a\r\n\r\n{GET}")).await;
        assert!(peer.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        assert_eq!(peer.answer().await.body, "hello");
    });
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    with_server(limits(), async |server| {
        let answer = server.ask("GET /hello HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        let mut peer = server.connect().await;
        for _ in 0..2 {
            peer.send("GET /hello HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").await;
            let answer = peer.answer().await;
            assert!(answer.head.contains("connection: keep-alive"), "{}", answer.head);
        }
        let answer = server.ask("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
        server.gate.send(()).await.unwrap();
        server.gate.close();
        let answer = server.ask("GET /events HTTP/1.0\r\n\r\n").await;
        assert!(!answer.contains("chunked") && answer.ends_with("\r\n\r\ndata: tick\n\n"), "{answer}");
    });
}
