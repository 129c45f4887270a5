//! Bodies of requests: too large, unread, late, damaged.

use std::net::Shutdown;

use bramble::internals::transport::server::Limits;
use futures_lite::prelude::*;

use crate::{GET, SOON, limits, status, with_server};

#[test]
fn a_body_is_413_by_its_length_at_once_and_by_its_chunks_when_too_many() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 65537\r\n\r\n").await;
        let answer = peer.rest().await;
        assert_eq!(status(&answer), "413", "{answer}");
        assert!(answer.contains("connection: close") && answer.contains("body_too_large"), "{answer}");

        let full = format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 65536\r\n\r\n{}", "x".repeat(65536));
        let mut peer = server.connect().await;
        peer.send(full).await;
        assert_eq!(peer.answer().await.body.len(), 65536, "just at the limit");

        let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        let chunked =
            format!("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(4));
        let mut peer = server.connect().await;
        peer.send(format!("{chunked}0\r\n\r\n")).await;
        assert_eq!(peer.answer().await.body.len(), 65536, "just at the limit, in chunks");
        let answer = server.ask(format!("{chunked}1\r\nx\r\n0\r\n\r\n{GET}")).await;
        assert_eq!(status(&answer), "413", "{answer}");
        assert!(answer.contains("connection: close") && answer.contains("body_too_large"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    });
}

#[test]
fn a_body_of_64_mib_is_answered_with_413() {
    with_server(limits(), async |server| {
        for head in ["content-length: 67108864", "transfer-encoding: chunked"] {
            let mut peer = server.connect().await;
            peer.send(format!("POST /echo HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n")).await;
            let chunk = format!("fff0\r\n{}\r\n", "x".repeat(0xfff0));
            for _ in 0..1024 {
                if peer.stream.write_all(chunk.as_bytes()).await.is_err() {
                    break;
                }
            }
            let answer = peer.read_available().await;
            assert_eq!(status(&answer), "413", "{head}: {answer}");
        }
        server.is_well().await;
    });
}

#[test]
fn an_endless_chunk_line_ends() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;").await;
        while peer.stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        server.is_well().await;
    });
}

#[test]
fn a_body_is_continued_only_if_the_handler_reads_it() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\ncontent-length: 5\r\n\r\n").await;
        assert_eq!(peer.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        peer.send("hello").await;
        assert_eq!(peer.answer().await.body, "hello");

        let head = "POST /ignore HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        let answer = server.ask(head).await;
        assert_eq!(status(&answer), "200", "no 100 for a body that is not read: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    });
}

#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    with_server(limits(), async |server| {
        let inner = GET.len();
        let answer =
            server.ask(format!("POST /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{GET}", inner + 9)).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.ends_with("ignored"), "{answer}");
    });
}

#[test]
fn a_body_that_comes_after_its_answer_is_no_request_either() {
    let limits = Limits { header_timeout: SOON, idle_timeout: SOON * 2, ..limits() };
    with_server(limits, async |server| {
        for body in ["\ncontent-length: 1\ntransfer-encoding: chunked\n", "PRI * HTTP/2.0", "GET /hello HT"] {
            let mut peer = server.connect().await;
            let head = format!("POST /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
            peer.send(head).await;
            assert_eq!(peer.answer().await.body, "ignored");
            let _ = peer.stream.write_all(body.as_bytes()).await; // the server may be gone, and rightly
            assert_eq!(peer.read_available().await, "", "after {body:?}");

            // Head and first chunk fill hyper's reads to the byte, so that it skips the rest when the answer is out.
            let length = 16384 + body.len();
            let start = format!("POST /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nx: ");
            let mut peer = server.connect().await;
            let pad = "x".repeat(8192 - 4 - start.len());
            peer.send(format!("{start}{pad}\r\n\r\n{}{body}", "x".repeat(16384))).await;
            assert_eq!(peer.answer().await.body, "ignored");
            assert_eq!(peer.read_available().await, "", "after {body:?} at once");
        }
    });
}

#[test]
fn no_damaged_request_makes_anything_panic() {
    let whole = [
        "GET /path/a%20b?c=d HTTP/1.1\r\nhost: a:81\r\naccept: */*\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: [::1]\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "GET http://a/path/x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ];
    let spice = b"\0\r\n\t /:@?#%[]*\\,;\x7f\x80\xc3\xbc\xff";
    let limits = Limits { header_timeout: SOON, body_timeout: SOON, idle_timeout: SOON, ..limits() };
    with_server(limits, async |server| {
        let mut random = fastrand::Rng::with_seed(8088);
        for _ in 0..600 {
            let mut request = whole[random.usize(..whole.len())].as_bytes().to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..request.len());
                match random.u8(..4) {
                    0 => drop(request.remove(at)),
                    1 => request.insert(at, spice[random.usize(..spice.len())]),
                    2 => request[at] = random.u8(..),
                    _ => request[at] = spice[random.usize(..spice.len())],
                }
            }
            let mut peer = server.connect().await;
            peer.send(&request).await;
            peer.stream.get_ref().shutdown(Shutdown::Write).unwrap();
            peer.read_available().await;
            let shown = String::from_utf8_lossy(&request);
            assert_eq!(server.stats.snapshot().handler_panics, 0, "{shown:?}");
        }
        server.is_well().await;
    });
}

#[test]
fn a_hundred_requests_at_once_are_answered_in_order() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        let requests: String = (0..100).map(|i| format!("GET /path/{i} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        peer.send(requests).await;
        for i in 0..100 {
            assert_eq!(peer.answer().await.body, format!("http://a/path/{i}"));
        }
        peer.send(GET).await;
        assert_eq!(peer.answer().await.body, "hello");
    });
}

#[test]
fn requests_sent_while_one_is_handled_wait_their_turn() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("GET /gate HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.begun.recv().await.unwrap();
        peer.send(format!("{GET}GET /path/b HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        server.gate.send(()).await.unwrap();
        assert_eq!(peer.answer().await.body, "through");
        assert_eq!(peer.answer().await.body, "hello");
        assert_eq!(peer.answer().await.body, "http://a/path/b");
    });
}
