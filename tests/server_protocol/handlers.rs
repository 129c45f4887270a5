//! Handlers: the request as they see it, and what they can do wrong.

use bramble::internals::transport::server::Limits;

use crate::{GET, limits, status, with_server};

#[test]
fn a_target_means_what_it_says() {
    let cases = [
        ("/path/a%20b?c=d%26&e=%C3%BC", "a:81", "http://a:81/path/a%20b?c=d%26&e=%C3%BC"),
        ("//evil.example/x", "a", "http://a//evil.example/x"),
        ("/\\evil.example/x", "a", "http://a//evil.example/x"),
        ("http://b:82/path/x?y", "a", "http://b:82/path/x?y"),
        ("/path/../../x", "a", "http://a/x"),
        ("/x", "[::1]:8088", "http://[::1]:8088/x"),
        ("/x", "EXAMPLE.org", "http://example.org/x"),
    ];
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        for (target, host, url) in cases {
            peer.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            let answer = peer.answer().await;
            assert_eq!((answer.status, answer.body.as_str()), (200, url), "{target}");
        }
        peer.send("GET /x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        assert_eq!(peer.answer().await.body, format!("http://{}/x", server.addr));
    });
}

#[test]
fn headers_that_are_not_ascii_are_left_out_and_do_no_harm() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send(
            "GET /names HTTP/1.1\r\nhost: a\r\nx-city: B\u{fc}snau\r\nx-many: 1\r\nx-many: \u{fc}\r\nx-many: 3\r\n\r\n",
        )
        .await;
        assert_eq!(peer.answer().await.body, "host,x-many 2");
        peer.send(b"GET /names HTTP/1.1\r\nhost: a\r\nx-latin: B\xfcsnau\r\n\r\n").await;
        assert_eq!(peer.answer().await.body, "host 0");
    });
}

#[test]
fn a_handler_knows_both_addresses() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        let own = peer.stream.get_ref().local_addr().unwrap();
        peer.send("GET /peers HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(peer.answer().await.body, format!("{own} {}", server.addr));
    });
}

#[test]
fn a_panic_is_500_and_the_server_lives() {
    with_server(limits(), async |server| {
        let answer = server.ask("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(status(&answer), "500", "{answer}");
        assert!(!answer.contains("on purpose"), "what went wrong inside is not told outside: {answer}");
        let answer = server.connect().await.ask_whatever("GET /body-panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        assert_eq!(server.stats.snapshot().handler_panics, 2);
        server.until(|stats| stats.open_connections == 0).await;
        server.is_well().await;
    });
}

#[test]
fn an_answer_cannot_smuggle_a_header() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("GET /odd HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let answer = peer.answer().await;
        assert_eq!(answer.body, "odd", "the length is what is sent, not what a handler says");
        assert!(!answer.head.contains("smuggled"), "{}", answer.head);
    });
}

#[test]
fn one_connection_too_many_is_503_unless_it_asks_for_health_and_the_others_are_served() {
    let limits = Limits { max_connections: 2, ..limits() };
    with_server(limits, async |server| {
        let (mut one, mut two) = (server.connect().await, server.connect().await);
        for peer in [&mut one, &mut two] {
            peer.send(GET).await;
            assert_eq!(peer.answer().await.status, 200);
        }
        let answer = server.ask(GET).await;
        assert_eq!(status(&answer), "503", "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        let health = server.ask("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(health.starts_with("HTTP/1.1 200 ") && health.contains("\r\nconnection: close\r\n"), "{health}");
        assert_eq!(server.stats.snapshot().refused_connections, 1);
        // A flood of peers that neither send nor close holds up no request.
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(server.connect().await);
        }
        one.send(GET).await;
        assert_eq!(one.answer().await.status, 200);
        server.until(|stats| stats.refused_connections == 201).await;
        drop(two);
        server.until(|stats| stats.open_connections == 1).await;
        server.is_well().await;
    });
}
