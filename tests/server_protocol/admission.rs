//! Admission: which requests are worked on, which wait, and what the others are told.

use std::time::Duration;

use async_io::Timer;
use bramble::internals::transport::server::Limits;
use bramble::limit::LimiterSettings;

use crate::{GET, ID, Peer, SOON, Server, limits, status, with_server};

const GATE: &str = "GET /gate HTTP/1.1\r\nhost: a\r\n\r\n";

/// Limits by which one request runs, and `queue` wait.
fn one_at_a_time(queue: usize) -> Limits {
    Limits { requests: LimiterSettings { concurrency: 1, queue, ..LimiterSettings::default() }, ..limits() }
}

/// A peer whose request runs until the gate opens.
async fn occupy(server: &Server) -> Peer {
    let mut peer = server.connect().await;
    peer.send(GATE).await;
    server.begun.recv().await.unwrap();
    peer
}

async fn send_and_wait(server: &Server, request: &str, waiting: usize) -> Peer {
    let mut peer = server.connect().await;
    peer.send(request).await;
    server.until(|stats| stats.requests_waiting == waiting).await;
    peer
}

#[test]
fn a_refused_request_is_told_why_and_when_and_the_connection_goes_on() {
    with_server(one_at_a_time(0), async |server| {
        let mut running = occupy(&server).await;
        let mut peer = server.connect().await;
        for _ in 0..3 {
            peer.send(GET).await;
            let answer = peer.answer().await;
            assert_eq!(answer.status, 503);
            for header in
                ["retry-after: 1\r\n", "x-bramble-retry-after-ms: 100\r\n", "content-type: application/json\r\n"]
            {
                assert!(answer.head.contains(header), "{header} in {}", answer.head);
            }
            assert!(!answer.head.contains("connection: close"), "{}", answer.head);
            assert!(
                answer.body.starts_with(r#"{"error":{"code":"overloaded","message":"the queue"#),
                "{}",
                answer.body
            );
        }
        server.gate.send(()).await.unwrap();
        assert_eq!(running.answer().await.body, "through");
        peer.send(GET).await;
        assert_eq!(peer.answer().await.body, "hello");
        let stats = server.stats.snapshot();
        assert_eq!((stats.requests_refused, stats.answers), (3, [0, 2, 0, 0, 3]));
    });
}

#[test]
fn a_refused_request_with_a_body_is_answered_before_the_body_comes() {
    with_server(one_at_a_time(0), async |server| {
        let _running = occupy(&server).await;
        let mut peer = server.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\nhalf").await;
        assert_eq!(peer.answer().await.status, 503);
        let mut peer = server.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
        let answer = peer.answer().await;
        assert_eq!(answer.status, 503, "the body is not asked for: {}", answer.head);
    });
}

#[test]
fn requests_are_served_in_the_order_they_came() {
    with_server(one_at_a_time(8), async |server| {
        let mut running = occupy(&server).await;
        let mut first = send_and_wait(&server, GATE, 1).await;
        let mut second = send_and_wait(&server, GATE, 2).await;
        for peer in [&mut running, &mut first, &mut second] {
            server.gate.send(()).await.unwrap();
            assert_eq!(peer.answer().await.body, "through");
        }
        assert!(server.stats.snapshot().requests_waited > Duration::ZERO);
    });
}

#[test]
fn no_handler_runs_for_a_caller_that_left_the_queue() {
    with_server(one_at_a_time(8), async |server| {
        let mut running = occupy(&server).await;
        let left = send_and_wait(&server, GATE, 1).await;
        let mut stays = send_and_wait(&server, GATE, 2).await;
        drop(left);
        server.until(|stats| stats.requests_left == 1).await;
        for peer in [&mut running, &mut stays] {
            server.gate.send(()).await.unwrap();
            assert_eq!(peer.answer().await.body, "through");
        }
        server.begun.recv().await.unwrap();
        assert!(server.begun.is_empty(), "a handler ran for the caller that had left");
    });
}

#[test]
fn a_caller_that_leaves_its_running_handler_gives_the_permit_back() {
    with_server(one_at_a_time(8), async |server| {
        for _ in 0..3 {
            let running = occupy(&server).await;
            let mut waits = send_and_wait(&server, GET, 1).await;
            drop(running);
            assert_eq!(waits.answer().await.body, "hello");
        }
    });
}

#[test]
fn no_handler_runs_for_a_request_whose_time_is_over() {
    with_server(one_at_a_time(8), async |server| {
        let mut running = occupy(&server).await;
        let request = "GET /gate HTTP/1.1\r\nhost: a\r\nx-envoy-expected-rq-timeout-ms: 40\r\n\r\n";
        let mut late = send_and_wait(&server, request, 1).await;
        Timer::after(SOON).await; // the time that the caller has
        server.gate.send(()).await.unwrap();
        assert_eq!(running.answer().await.body, "through");
        let answer = late.answer().await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("after the caller's timeout"), "{}", answer.body);
        assert!(server.begun.is_empty(), "a handler ran");
        assert_eq!(server.stats.snapshot().requests_late, 1);
        server.is_well().await;
    });
}

#[test]
fn a_handler_knows_how_long_its_caller_still_waits() {
    let request =
        |told| format!("GET /time-left HTTP/1.1\r\nhost: a\r\nx-envoy-expected-rq-timeout-ms: {told}\r\n\r\n");
    with_server(one_at_a_time(8), async |server| {
        let mut peer = server.connect().await;
        for (told, left) in [
            ("60000", "60000"),
            (" 60000 ", "60000"),
            ("60000\r\nx-envoy-expected-rq-timeout-ms: 7", "7"),
            ("0", "0"),
            ("18446744073709551615", "18446744073709551615"),
            ("99999999999999999999999", "none"),
            ("1e3", "none"),
            ("-5", "none"),
            ("", "none"),
        ] {
            peer.send(request(told)).await;
            let answer = peer.answer().await;
            assert_eq!((answer.status, answer.body.as_str()), (200, left), "{told:?}");
        }
        let mut running = occupy(&server).await;
        let mut waits = send_and_wait(&server, &request("60000"), 1).await;
        let mut for_ever = send_and_wait(&server, &request("18446744073709551615"), 2).await;
        Timer::after(SOON).await; // the wait that is taken off
        server.gate.send(()).await.unwrap();
        assert_eq!(running.answer().await.status, 200);
        let left: u128 = waits.answer().await.body.parse().unwrap();
        assert!((30_000..=60_000 - SOON.as_millis()).contains(&left), "{left} ms");
        assert_eq!(for_ever.answer().await.status, 200);
    });
}

#[test]
fn health_is_told_whatever_else_waits() {
    with_server(one_at_a_time(1), async |server| {
        let _running = occupy(&server).await;
        let _waits = send_and_wait(&server, GET, 1).await;
        let mut peer = server.connect().await;
        for _ in 0..3 {
            peer.send("GET /healthz?now HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(peer.answer().await.body, "alive");
        }
        peer.send(GET).await;
        assert_eq!(peer.answer().await.status, 503);
    });
}

#[test]
fn a_body_that_comes_slowly_holds_up_no_other_request() {
    with_server(one_at_a_time(8), async |server| {
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut peer = server.connect().await;
            peer.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nsl").await;
            slow.push(peer);
            server.is_well().await;
        }
        for mut peer in slow {
            peer.send("ow").await;
            assert_eq!(peer.answer().await.body, "slow");
        }
    });
}

#[test]
fn every_answer_tells_which_process_gave_it() {
    let mark = format!("x-bramble-id: {ID}\r\n");
    let limits = Limits { header_timeout: SOON, max_body: 10, max_connections: 3, ..one_at_a_time(0) };
    with_server(limits, async |server| {
        for (request, code) in [
            ("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n", "200"),
            ("HEAD /hello HTTP/1.1\r\nhost: a\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", "200"),
            ("DELETE /hello HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
            ("GET /hello HTTP/1.1\r\n\r\n", "400"),
            ("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n", "500"),
            ("TRACE /hello HTTP/1.1\r\nhost: a\r\n\r\n", "501"),
            ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n", "413"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
            ("GET /hel", "408"),
        ] {
            let request = request.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
            let answer = server.connect().await.ask_whatever(&request).await;
            assert_eq!(status(&answer), code, "{request}: {answer}");
            assert!(answer.contains(&mark), "{request}: {answer}");
            server.until(|stats| stats.open_connections == 0).await;
        }
        let (_running, mut peer) = (occupy(&server).await, server.connect().await);
        peer.send(GET).await;
        let refused = peer.answer().await;
        assert!(refused.status == 503 && refused.head.contains(&mark), "{}", refused.head);
        let _third = server.connect().await;
        server.until(|stats| stats.open_connections == 3).await;
        let refused = server.ask(GET).await;
        assert!(status(&refused) == "503" && refused.contains(&mark), "{refused}");
        assert!(refused.contains("\r\nx-bramble-retry-after-ms: 1000\r\n"), "{refused}");
    });
}
