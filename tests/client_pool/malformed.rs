//! Bytes that are no answer, or have no end.

use std::io::Write;

use bramble::internals::transport::client::{Error, HttpTransport, HttpTransportSettings};
use http_client::HttpClient;
use http_types::Method;

use crate::peer::{run, serve};
use crate::{body_of, failure, get, request, settings, wire};

/// Outcome of a GET when the server sends `bytes` and closes.
fn outcome(bytes: &'static [u8]) -> String {
    let (addr, server) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send(bytes);
    });
    let outcome = run(async {
        let wire = wire();
        let outcome = failure(&wire, request(Method::Get, addr)).await;
        assert_eq!(wire.idle_connections(), 0);
        outcome
    });
    server.join().expect("the server's part");
    outcome
}

#[test]
fn an_answer_that_ends_early_is_an_error_and_never_a_short_answer() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n12345",
    ] {
        let outcome = outcome(bytes);
        assert!(outcome.starts_with("Closed"), "{outcome} for {:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn what_is_not_http_is_a_protocol_error() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n12345\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let outcome = outcome(bytes);
        assert!(outcome.starts_with("Protocol"), "{outcome} for {:?}", String::from_utf8_lossy(bytes));
    }
}

/// Outcome of a GET when the server sends `start`, then `more` for ever, and how much of it the client let in.
fn flooded(start: &'static str, more: &'static str) -> (String, usize) {
    let (addr, server) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send(start);
        let more = more.repeat(1 + 4096 / more.len());
        let mut sent = 0;
        while peer.0.write_all(more.as_bytes()).is_ok() {
            sent += more.len();
            assert!(sent < 64 << 20, "the client reads without end");
        }
        sent
    });
    let outcome = run(async {
        let wire = HttpTransport::new(HttpTransportSettings { max_answer: 100_000, ..settings() }).expect("no CA file");
        failure(&wire, request(Method::Get, addr)).await
    });
    (outcome, server.join().expect("the server's part"))
}

#[test]
fn endless_heads_and_bodies_end_with_an_error_after_little() {
    for (start, more, expected) in [
        ("HTTP/1.1 200 OK\r\nX-Long: ", "a", "Protocol"),
        ("HTTP/1.1 200 OK\r\n", "X-Many: 1\r\n", "Protocol"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\n12345\r\n", "AnswerTooLarge"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", "extension", "Protocol"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-Trailer: 1\r\n", "Protocol"),
        ("HTTP/1.1 200 OK\r\n\r\n", "until the end", "AnswerTooLarge"),
    ] {
        let (outcome, sent) = flooded(start, more);
        assert!(outcome.starts_with(expected), "{outcome} after {start:?}");
        // Most of it lies in the two socket buffers.
        assert!(sent < 16 << 20, "{sent} bytes after {start:?}");
    }
}

#[test]
fn an_answer_announced_too_large_is_refused_at_its_head() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n");
        peer.sees_close();
    });
    run(async {
        let wire = HttpTransport::new(HttpTransportSettings { max_answer: 100_000, ..settings() }).expect("no CA file");
        let error = wire.send(request(Method::Get, addr)).await.expect_err("too large");
        assert!(Error::of(&error).is_some_and(Error::is_too_large), "{error:?}");
    });
    server.join().expect("the server's part");
}

#[test]
fn a_head_may_have_sixteen_kibibytes_and_no_more() {
    for (size, is_fine) in [(16_000, true), (17_000, false)] {
        let (addr, server) = serve(move |door| {
            let mut peer = door.accept();
            peer.head();
            let line = format!("X-Line: {}\r\n", "a".repeat(980));
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}\r\nok", line.repeat(size / 1000)));
        });
        run(async { assert_eq!(get(&wire(), addr).await.is_ok(), is_fine, "{size} bytes") });
        server.join().expect("the server's part");
    }
}

#[test]
fn provisional_answers_are_skipped() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        peer.answer("final");
    });
    run(async { assert_eq!(body_of(&wire(), addr).await, "final") });
    server.join().expect("the server's part");
}
