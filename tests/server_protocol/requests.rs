//! Requests, and bytes that are refused as none.

use async_io::Timer;
use futures_lite::prelude::*;

use crate::{GET, SOON, limits, status, with_server};

#[test]
fn a_request_is_answered_and_the_connection_kept() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        for _ in 0..3 {
            peer.send(GET).await;
            let answer = peer.answer().await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
            assert!(answer.head.contains("\r\ndate: "), "{}", answer.head);
            assert!(!answer.head.contains("connection:"), "{}", answer.head);
        }
        assert_eq!(server.stats.snapshot().answers, [0, 3, 0, 0, 0]);
        assert_eq!(server.stats.snapshot().open_connections, 1);
        drop(peer);
        server.until(|stats| stats.open_connections == 0).await;
    });
}

#[test]
fn what_no_two_parsers_read_alike_is_400_and_the_connection_ends() {
    let cases: &[(&str, &str)] = &[
        ("plus in the length", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello"),
        ("negative length", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\nhello"),
        ("length list", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\nhello"),
        ("two lengths", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        ("huge length", "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nhello"),
        ("folded header", "GET /hello HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n"),
        ("bare CR in a value", "GET /hello HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n"),
        ("bare CR before the end", "GET /hello HTTP/1.1\r\nhost: a\rx: 1\r\n\r\n"),
        ("space before the colon", "GET /hello HTTP/1.1\r\nhost: a\r\nx : 1\r\n\r\n"),
        ("space before a header", "GET /hello HTTP/1.1\r\n host: a\r\n\r\n"),
        ("NUL in a value", "GET /hello HTTP/1.1\r\nhost: a\r\nx: 1\0\r\n\r\n"),
        ("NUL in the target", "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("no Host", "GET /hello HTTP/1.1\r\n\r\n"),
        ("two Hosts", "GET /hello HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        ("two Hosts in HTTP/1.0", "GET /hello HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("empty Host", "GET /hello HTTP/1.1\r\nhost:\r\n\r\n"),
        ("Host with a path", "GET /hello HTTP/1.1\r\nhost: a/b\r\n\r\n"),
        ("Host with a user", "GET /hello HTTP/1.1\r\nhost: u@a\r\n\r\n"),
        ("Host with a space", "GET /hello HTTP/1.1\r\nhost: a b\r\n\r\n"),
        ("Host not ASCII", "GET /hello HTTP/1.1\r\nhost: b\u{fc}snau\r\n\r\n"),
        ("Host with a wrong port", "GET /hello HTTP/1.1\r\nhost: a:99999\r\n\r\n"),
        ("invalid Host beside an absolute target", "GET http://a/hello HTTP/1.1\r\nhost: a/b\r\n\r\n"),
        ("foreign scheme", "GET ftp://a/hello HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("target without a path", "GET hello HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("asterisk without OPTIONS", "GET * HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("no target", "GET HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("junk", "\u{1}\u{2}\u{3} what\r\n\r\n"),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n"),
        ("HTTP/3.0", "GET /hello HTTP/3.0\r\nhost: a\r\n\r\n"),
        ("chunked is not last", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("only gzip", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n"),
        ("chunked in HTTP/1.0", "POST /echo HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    with_server(limits(), async |server| {
        for (what, request) in cases {
            let answer = server.ask(format!("{request}{GET}")).await;
            assert_eq!(status(&answer), "400", "{what}: {answer}");
            assert_eq!(
                answer.matches("HTTP/1.1 ").count() + answer.matches("HTTP/1.0 ").count(),
                1,
                "{what}: {answer}"
            );
        }
        assert_eq!(server.stats.snapshot().answers[3], cases.len() as u64);
        assert_eq!(server.stats.snapshot().answers[1], 0);
        server.is_well().await;
    });
}

#[test]
fn a_request_with_two_lengths_smuggles_nothing() {
    let smuggled = "0\r\n\r\nGET /hello HTTP/1.1\r\nhost: evil\r\n\r\n";
    let orders = [
        "POST /echo HTTP/1.1\r\nhost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        "\r\nGET /hello HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n",
    ];
    with_server(limits(), async |server| {
        for head in orders {
            let answer = server.ask(format!("{head}{smuggled}")).await;
            assert_eq!(status(&answer), "400", "{answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
            assert!(answer.ends_with(r#""message":"Content-Length and Transfer-Encoding exclude each other"}}"#));
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        }
        // In pieces the head is hyper's alone: it goes by the chunks, and closes (RFC 9112, 6.3).
        for head in orders {
            let mut peer = server.connect().await;
            let (first, rest) = head.split_at(30);
            peer.send(first).await;
            server.until(|stats| stats.open_connections == 1).await;
            Timer::after(SOON).await; // so that the pieces are read one by one
            peer.send(format!("{rest}{smuggled}")).await;
            let answer = peer.rest().await;
            assert!(["200", "400"].contains(&status(&answer)), "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "the smuggled request was answered: {answer}");
            server.until(|stats| stats.open_connections == 0).await;
        }
    });
}

#[test]
fn a_chunk_that_looks_like_a_length_is_only_a_chunk() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send(
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n11\r\n\ncontent-length: \r\n0\r\n\r\n",
        )
        .await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "\ncontent-length: "));
        peer.send(GET).await;
        assert_eq!(peer.answer().await.body, "hello");
    });
}

#[test]
fn what_is_not_offered_is_said_so() {
    let cases = [
        ("501", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "501",
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("501", "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
        ("501", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"),
        ("501", "get /hello HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("417", "POST /echo HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 5\r\n\r\nhello"),
        ("505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    with_server(limits(), async |server| {
        for (wanted, request) in cases {
            let answer = server.ask(request).await;
            assert_eq!(status(&answer), wanted, "{request:?}: {answer}");
            assert!(answer.contains("connection: close"), "{answer}");
            let body = answer.split("\r\n\r\n").nth(1).unwrap();
            let error: serde_json::Value = serde_json::from_str(body).expect(body);
            assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string(), "{body}");
        }
    });
}

#[test]
fn heads_are_bounded_however_they_grow() {
    with_server(limits(), async |server| {
        let long = "x".repeat(9_000);
        assert_eq!(status(&server.ask(format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")).await), "414");
        assert_eq!(
            status(&server.ask(format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {long}{long}\r\n\r\n")).await),
            "431"
        );
        let many = "x: y\r\n".repeat(200);
        assert_eq!(status(&server.ask(format!("GET /hello HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await), "431");
        for start in ["GET /", "GET /hello HTTP/1.1\r\nhost: a\r\nx: "] {
            let mut peer = server.connect().await;
            peer.send(start).await;
            // Ends by the server's reset, else by the guard.
            while peer.stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            let answer = peer.read_available().await;
            assert_eq!(status(&answer), if start == "GET /" { "414" } else { "431" }, "{answer}");
        }
        server.is_well().await;
    });
}
