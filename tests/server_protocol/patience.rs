//! Timeouts of clients that are too slow.

use std::time::{Duration, Instant};

use async_io::Timer;
use bramble::internals::transport::server::Limits;
use futures_lite::prelude::*;

use crate::{GET, SOON, limits, status, with_server};

#[test]
fn a_head_that_takes_too_long_is_408() {
    let limits = Limits { header_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let begun = Instant::now();
        let answer = server.ask("GET /hello HT").await;
        assert_eq!(status(&answer), "408", "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.contains("request_timeout"), "{answer}");
        assert!(begun.elapsed() >= SOON);
        assert_eq!(server.stats.snapshot().answers[3], 1);
    });
}

#[test]
fn a_head_byte_by_byte_is_408_although_bytes_keep_coming() {
    let limits = Limits { header_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let mut peer = server.connect().await;
        let begun = Instant::now();
        let head = format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(5_000));
        for byte in head.as_bytes() {
            if peer.stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            Timer::after(Duration::from_millis(2)).await;
            if begun.elapsed() > SOON * 4 {
                break;
            }
        }
        let answer = peer.read_available().await;
        assert_eq!(status(&answer), "408", "{answer}");
        server.is_well().await;
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let limits = Limits { idle_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let begun = Instant::now();
        assert_eq!(server.connect().await.rest().await, "", "never used");
        assert!(begun.elapsed() >= SOON);
        let mut used = server.connect().await;
        used.send(GET).await;
        assert_eq!(used.answer().await.status, 200);
        let answered = Instant::now();
        assert_eq!(used.rest().await, "", "used once");
        assert!(answered.elapsed() >= SOON - Duration::from_millis(10), "idle time begins with the answer");
    });
}

#[test]
fn a_busy_handler_outlives_the_idle_timeout() {
    let limits = Limits { idle_timeout: SOON, header_timeout: SOON, body_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let mut peer = server.connect().await;
        peer.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.begun.recv().await.unwrap();
        Timer::after(SOON * 3).await; // the time is what is tested
        server.gate.send(()).await.unwrap();
        assert_eq!(peer.answer().await.body, "through");
    });
}

#[test]
fn a_body_that_takes_too_long_is_408() {
    let limits = Limits { body_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let answer = server.ask("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhell").await;
        assert_eq!(status(&answer), "408", "{answer}");
        let mut slow = server.connect().await;
        slow.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10000\r\n\r\n").await;
        let begun = Instant::now();
        while begun.elapsed() < SOON * 4 && slow.stream.write_all(b"x").await.is_ok() {
            Timer::after(Duration::from_millis(2)).await;
        }
        let answer = slow.read_available().await;
        assert_eq!(status(&answer), "408", "{answer}");
        server.is_well().await;
    });
}

#[test]
fn a_peer_that_takes_nothing_is_cut() {
    let limits = Limits { write_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let mut peer = server.connect().await;
        peer.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.dropped.recv().await.unwrap();
        server.until(|stats| stats.open_connections == 0).await;
        assert!(!peer.read_available().await.ends_with("0\r\n\r\n"), "a cut answer must not look whole");
    });
}
