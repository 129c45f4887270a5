//! Requests and answers as they stand on the wire.

use std::sync::mpsc;

use http_client::HttpClient;
use http_types::{Body, Method, Response};
use smol::io::AsyncReadExt;

use crate::peer::{run, serve};
use crate::{body_of, failure, request, wire};

#[test]
fn a_large_answer_is_streamed_whole_and_its_connection_used_again() {
    let sent: Vec<u8> = (0..900_000u32).map(|i| (i / 7) as u8).collect();
    let expected = sent.clone();
    let (addr, server) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()));
        peer.send(&sent);
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in sent.chunks(10_000) {
            peer.send(format!("{:x}\r\n", piece.len()));
            peer.send(piece);
            peer.send("\r\n");
        }
        peer.send("0\r\nX-Trailer: 1\r\n\r\n");
        peer.head();
        peer.answer("last");
    });
    run(async {
        let wire = wire();
        for length in [Some(expected.len()), None] {
            let mut answer = wire.send(request(Method::Get, addr)).await.expect("a head");
            assert_eq!(answer.len(), length);
            let mut body = Vec::new();
            answer.take_body().read_to_end(&mut body).await.expect("a body");
            assert!(body == expected, "{} bytes", body.len());
            assert_eq!(wire.idle_connections(), 1);
        }
        assert_eq!(body_of(&wire, addr).await, "last");
    });
    server.join().expect("the server's part");
}

#[test]
fn a_body_that_comes_in_two_parts_is_one_body() {
    let (begun, wait) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
        wait.recv().expect("the client has the head");
        peer.send("67890");
        peer.sees_close();
    });
    run(async {
        let wire = wire();
        let mut answer: Response = wire.send(request(Method::Get, addr)).await.expect("a head");
        begun.send(()).expect("the server waits");
        assert_eq!(answer.body_string().await.expect("a body"), "1234567890");
        assert_eq!(wire.idle_connections(), 1);
    });
    server.join().expect("the server's part");
}

#[test]
fn request_bodies_have_their_length_or_come_in_chunks() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        let head = peer.head().to_ascii_lowercase();
        assert!(head.contains("\r\ncontent-length: 5\r\n") && !head.contains("transfer-encoding"), "{head}");
        assert_eq!(peer.body(5), "hello");
        peer.answer("one");
        let head = peer.head().to_ascii_lowercase();
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n") && !head.contains("content-length"), "{head}");
        assert_eq!(peer.body(15), "5\r\nhello\r\n0\r\n\r\n");
        peer.answer("two");
        let head = peer.head().to_ascii_lowercase();
        assert!(head.contains("\r\ncontent-length: 100000\r\n"), "{head}");
        assert_eq!(peer.body(100_000), "x".repeat(100_000));
        peer.answer("three");
    });
    run(async {
        let wire = wire();
        let unknown = Body::from_reader(smol::io::Cursor::new("hello"), None);
        let large = Body::from_string("x".repeat(100_000));
        for (body, expected) in [(Body::from("hello"), "one"), (unknown, "two"), (large, "three")] {
            let mut post = request(Method::Post, addr);
            post.set_body(body);
            let mut answer = wire.send(post).await.expect("an answer");
            assert_eq!(answer.body_string().await.expect("a body"), expected);
        }
    });
    server.join().expect("the server's part");
}

#[test]
fn a_body_shorter_than_it_said_is_an_error_and_no_request() {
    let (addr, server) = serve(|door| {
        if let Some(mut peer) = door.try_accept() {
            peer.sees_close();
        }
    });
    run(async {
        let mut post = request(Method::Post, addr);
        post.set_body(Body::from_reader(smol::io::Cursor::new("hello"), Some(10)));
        assert!(failure(&wire(), post).await.starts_with("Request"));
    });
    server.join().expect("the server's part");
}

#[test]
fn the_request_on_the_wire_is_plain_and_has_one_host() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        let head = peer.head();
        peer.answer("ok");
        head
    });
    run(async {
        let surf = wire().into_surf();
        let url = format!("http://{addr}/weather?zip=SW1A%201AA#part");
        let answer = surf.get(url).header("x-envoy-expected-rq-timeout-ms", "900").recv_string();
        assert_eq!(answer.await.expect("an answer"), "ok");
    });
    let head = server.join().expect("the server's part");
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    let host = format!("host: {addr}");
    assert_eq!(lines, ["GET /weather?zip=SW1A%201AA HTTP/1.1", &host, "x-envoy-expected-rq-timeout-ms: 900"]);
}

#[test]
fn headers_beyond_ascii_do_no_harm() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send(b"HTTP/1.1 200 OK\r\nX-City: B\xc3\xbcsnau\r\nX-Raw: \xff\xfe\r\nContent-Length: 2\r\n\r\nok");
    });
    run(async {
        let answer = wire().send(request(Method::Get, addr)).await.expect("an answer");
        assert_eq!(answer["x-city"], "B??snau");
        assert_eq!(answer["x-raw"], "??");
    });
    server.join().expect("the server's part");
}
