//! The client's wire against servers that are slow, broken or hostile: no answer may ever reach another's caller, and
//! nothing may wait for ever or grow without end.

mod support {
    pub(crate) mod peer;
}

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bramble::resolve::Resolver;
use bramble::transport::client::{Deadline, Error, Phase, Settings, Wire};
use http_client::HttpClient;
use http_types::{Body, Method, Request, Response, Url};
use smol::io::AsyncReadExt;
use support::peer::{Door, Peer, run, serve};

fn settings() -> Settings {
    Settings { resolver: Resolver::with_servers(vec![], ""), ..Settings::default() }
}

fn wire() -> Wire {
    Wire::new(settings()).expect("no CA file")
}

fn request(method: Method, addr: SocketAddr) -> Request {
    Request::new(method, Url::parse(&format!("http://{addr}/")).expect("a URL"))
}

fn within(mut request: Request, time: Duration) -> Request {
    request.ext_mut().insert(Deadline(Instant::now() + time));
    request
}

async fn get(wire: &Wire, addr: SocketAddr) -> Result<String, http_types::Error> {
    wire.send(request(Method::Get, addr)).await?.body_string().await
}

async fn body_of(wire: &Wire, addr: SocketAddr) -> String {
    get(wire, addr).await.expect("an answer")
}

/// The error of the wire, whether it came with the head or with the body.
async fn failure(wire: &Wire, request: Request) -> String {
    let error = match wire.send(request).await {
        Ok(mut response) => response.body_bytes().await.expect_err("the answer is not whole"),
        Err(error) => error,
    };
    format!("{:?}", Error::of(&error).unwrap_or_else(|| panic!("an untyped error: {error:?}")))
}

fn is_timeout(error: &http_types::Error, phase: Phase) -> bool {
    matches!(Error::of(error), Some(Error::TimedOut { phase: in_phase, .. }) if *in_phase == phase)
}

#[test]
fn the_late_answer_of_one_request_never_reaches_the_next_caller() {
    let (timed_out, wait) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut first = door.accept();
        first.head();
        wait.recv().expect("the client goes on");
        let _ = first.0.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        let mut second = door.accept();
        second.head();
        second.answer("right");
    });
    run(async {
        let wire = wire();
        let error = wire.send(within(request(Method::Get, addr), Duration::from_millis(50))).await.expect_err("late");
        assert!(is_timeout(&error, Phase::Head), "{error:?}");
        assert_eq!(error.status(), 504);
        assert_eq!(wire.idle_connections(), 0);
        timed_out.send(()).expect("the server waits");
        assert_eq!(body_of(&wire, addr).await, "right");
    });
    server.join().expect("the server's part");
}

#[test]
fn a_connection_whose_body_was_not_read_is_closed() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", "x".repeat(100_000)));
        first.sees_close();
        let mut second = door.accept();
        second.head();
        second.answer("right");
    });
    run(async {
        let wire = wire();
        let unread = wire.send(request(Method::Get, addr)).await.expect("a head");
        assert_eq!(unread.len(), Some(300_000));
        drop(unread);
        assert_eq!(wire.idle_connections(), 0);
        assert_eq!(body_of(&wire, addr).await, "right");
    });
    server.join().expect("the server's part");
}

#[test]
fn a_call_that_is_cancelled_closes_its_connection() {
    let (arrived, wait) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        arrived.send(()).expect("the client waits");
        peer.sees_close();
    });
    run(async {
        let wire = wire();
        let call = wire.send(request(Method::Get, addr));
        let arrival = smol::unblock(move || wait.recv().expect("the request arrives"));
        let cancelled = smol::future::or(async { Some(call.await) }, async {
            arrival.await;
            None
        });
        assert!(cancelled.await.is_none());
        assert_eq!(wire.idle_connections(), 0);
    });
    server.join().expect("the server's part");
}

/// The server closes the idle connection; `method` must work on a new one as if nothing had been.
fn closed_while_idle(method: Method) {
    let (kept, wait_for_kept) = mpsc::channel();
    let (closed, wait) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        wait_for_kept.recv().expect("the client goes on");
        drop(first);
        closed.send(()).expect("the client waits");
        let mut second = door.accept();
        assert!(second.head().starts_with(method.as_ref()));
        second.answer("two");
        drop(second);
        assert!(door.knock().is_none());
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(wire.idle_connections(), 1);
        kept.send(()).expect("the server waits");
        wait.recv().expect("the server closes");
        let mut answer = wire.send(request(method, addr)).await.expect("a new connection");
        assert_eq!(answer.body_string().await.expect("a body"), "two");
    });
    server.join().expect("the server's part");
}

#[test]
fn an_idle_connection_closed_by_the_server_is_replaced_unnoticed() {
    closed_while_idle(Method::Get);
}

#[test]
fn even_for_a_post_because_nothing_was_sent_on_it() {
    closed_while_idle(Method::Post);
}

#[test]
fn a_get_is_sent_once_more_when_a_kept_connection_breaks_under_it() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        first.head();
        drop(first);
        let mut second = door.accept();
        second.head();
        second.answer("two");
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(body_of(&wire, addr).await, "two");
    });
    server.join().expect("the server's part");
}

#[test]
fn but_not_twice_and_not_on_a_new_connection() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        first.head();
        drop(first);
        let mut second = door.accept();
        second.head();
        drop(second);
        door
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert!(failure(&wire, request(Method::Get, addr)).await.starts_with("Closed"));
    });
    assert!(server.join().expect("the server's part").knock().is_none(), "a third try");
}

#[test]
fn a_post_is_never_sent_twice() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        first.head();
        drop(first);
        door
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert!(failure(&wire, request(Method::Post, addr)).await.starts_with("Closed"));
    });
    assert!(server.join().expect("the server's part").knock().is_none(), "the POST was sent again");
}

#[test]
fn a_get_whose_answer_has_begun_is_not_sent_again() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        first.head();
        first.send("HTTP/1.1 2");
        drop(first);
        door
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert!(failure(&wire, request(Method::Get, addr)).await.starts_with("Closed"));
    });
    assert!(server.join().expect("the server's part").knock().is_none());
}

#[test]
fn a_second_answer_to_one_request_is_thrown_away_with_its_connection() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
        first.sees_close();
        let mut second = door.accept();
        second.head();
        second.answer("two");
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(wire.idle_connections(), 0);
        assert_eq!(body_of(&wire, addr).await, "two");
    });
    server.join().expect("the server's part");
}

#[test]
fn an_answer_sent_while_nobody_asks_is_thrown_away_with_its_connection() {
    let (asked, wait) = mpsc::channel();
    let (done, sent) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        wait.recv().expect("the client goes on");
        first.answer("wrong");
        done.send(()).expect("the client waits");
        let mut second = door.accept();
        second.head();
        second.answer("two");
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(wire.idle_connections(), 1);
        asked.send(()).expect("the server waits");
        sent.recv().expect("the server sends");
        assert_eq!(body_of(&wire, addr).await, "two");
    });
    server.join().expect("the server's part");
}

/// What a GET comes to when the server sends `bytes` and closes.
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

/// What a GET comes to when the server sends `start`, then `more` for ever, and how much of it the client let in.
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
        let wire = Wire::new(Settings { max_answer: 100_000, ..settings() }).expect("no CA file");
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
        let wire = Wire::new(Settings { max_answer: 100_000, ..settings() }).expect("no CA file");
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

/// A listener whose queue is full: who connects hears nothing.
fn silent(addr: &str) -> (SocketAddr, socket2::Socket, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&addr.parse::<SocketAddr>().expect("an address").into()).expect("a free port");
    socket.listen(0).expect("bound");
    let addr = socket.local_addr().ok().and_then(|addr| addr.as_socket()).expect("bound");
    let mut queue = Vec::new();
    while let Ok(waiting) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        queue.push(waiting);
        assert!(queue.len() < 10, "the queue has no end");
    }
    (addr, socket, queue)
}

#[test]
fn the_deadline_covers_the_connection() {
    let (addr, _socket, _queue) = silent("127.0.0.1:0");
    run(async {
        let begin = Instant::now();
        let request = within(request(Method::Get, addr), Duration::from_millis(100));
        let error = wire().send(request).await.expect_err("nobody accepts");
        assert!(is_timeout(&error, Phase::Connect), "{error:?}");
        assert!(Error::of(&error).is_some_and(Error::is_before_sending));
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    });
}

#[test]
fn so_does_the_connect_timeout_without_a_deadline() {
    let (addr, _socket, _queue) = silent("127.0.0.1:0");
    run(async {
        let begin = Instant::now();
        let wire = Wire::new(Settings { connect_timeout: Duration::from_millis(100), ..settings() });
        let error = wire.expect("no CA file").send(request(Method::Get, addr)).await.expect_err("nobody accepts");
        assert!(is_timeout(&error, Phase::Connect), "{error:?}");
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    });
}

#[test]
fn the_deadline_covers_the_body_however_slowly_it_drips() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while peer.0.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    run(async {
        let wire = wire();
        let begin = Instant::now();
        let request = within(request(Method::Get, addr), Duration::from_millis(200));
        let mut answer = wire.send(request).await.expect("a head");
        let error = answer.body_bytes().await.expect_err("too slow");
        assert!(is_timeout(&error, Phase::Body), "{error:?}");
        assert!((200..1000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
        assert_eq!(wire.idle_connections(), 0);
    });
    server.join().expect("the server's part");
}

#[test]
fn without_a_deadline_the_default_holds_and_later_exchanges_have_their_own() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        for _ in 0..3 {
            peer.head();
            peer.answer("quick");
            std::thread::sleep(Duration::from_millis(60));
        }
        peer.head();
        peer.sees_close();
    });
    run(async {
        let wire = Wire::new(Settings { timeout: Duration::from_millis(100), ..settings() }).expect("no CA file");
        // Together longer than one deadline, on one connection.
        for _ in 0..3 {
            assert_eq!(body_of(&wire, addr).await, "quick");
            smol::Timer::after(Duration::from_millis(60)).await;
        }
        let begin = Instant::now();
        let error = wire.send(request(Method::Get, addr)).await.expect_err("no answer");
        assert!(is_timeout(&error, Phase::Head), "{error:?}");
        assert!((100..1000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}

#[test]
fn a_shorter_deadline_than_the_one_before_holds_on_the_same_connection() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.answer("quick");
        peer.head();
        peer.sees_close();
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "quick");
        let begin = Instant::now();
        let request = within(request(Method::Get, addr), Duration::from_millis(100));
        let error = wire.send(request).await.expect_err("no answer");
        assert!(is_timeout(&error, Phase::Head), "{error:?}");
        assert!((100..1000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}

#[test]
fn a_deadline_that_has_passed_costs_no_connection() {
    let door = Door::new("127.0.0.1:0".parse().expect("an address"));
    run(async {
        let error = wire().send(within(request(Method::Get, door.addr()), Duration::ZERO)).await.expect_err("late");
        assert!(Error::of(&error).is_some_and(Error::is_timeout), "{error:?}");
    });
    assert!(door.knock().is_none());
}

#[test]
fn answers_without_a_body_give_their_connection_back_at_once() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        for answer in [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            peer.head();
            peer.send(answer);
        }
        peer.sees_close();
        assert!(door.knock().is_none());
    });
    run(async {
        let wire = wire();
        for (method, status) in [(Method::Get, 204), (Method::Get, 304), (Method::Head, 200), (Method::Get, 200)] {
            let answer = wire.send(request(method, addr)).await.expect("an answer");
            assert_eq!(answer.status() as u16, status);
            assert_eq!(answer.len(), Some(0));
            assert_eq!(wire.idle_connections(), 1, "after {status} to {method}");
            assert!(answer.header("content-type").is_none(), "the server sent none");
        }
    });
    server.join().expect("the server's part");
}

#[test]
fn nobody_at_the_port_is_a_refusal() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    run(async {
        let error = get(&wire(), gone).await.expect_err("nobody listens");
        let error = Error::of(&error).expect("typed");
        assert!(error.is_refused() && error.is_before_sending() && !error.is_timeout(), "{error:?}");
        assert!(error.to_string().contains(&gone.to_string()), "{error}");
    });
}

/// Answers each request on each connection with `body` until `connections` have come and gone.
fn echo(door: &Door, connections: usize, body: &'static str) -> usize {
    let serve = |mut peer: Peer| {
        let mut answered = 0;
        while peer.try_head().is_some() {
            peer.answer(body);
            answered += 1;
        }
        answered
    };
    let peers: Vec<_> = (0..connections)
        .map(|_| {
            let peer = door.accept();
            std::thread::spawn(move || serve(peer))
        })
        .collect();
    let answered = peers.into_iter().map(|peer| peer.join().expect("a connection's part")).sum();
    assert!(door.knock().is_none(), "one connection more than {connections}");
    answered
}

#[test]
fn a_hundred_requests_in_turn_use_one_connection() {
    let (addr, server) = serve(|door| echo(&door, 1, "hello"));
    run(async {
        let wire = wire();
        for _ in 0..100 {
            assert_eq!(body_of(&wire, addr).await, "hello");
            assert_eq!(wire.idle_connections(), 1);
        }
    });
    assert_eq!(server.join().expect("the server's part"), 100);
}

#[test]
fn also_when_each_comes_from_another_task_on_another_thread() {
    let (addr, server) = serve(|door| echo(&door, 1, "hello"));
    let wire = wire();
    for _ in 0..20 {
        let wire = wire.clone();
        std::thread::spawn(move || run(async move { assert_eq!(body_of(&wire, addr).await, "hello") }))
            .join()
            .expect("a caller's part");
    }
    drop(wire);
    assert_eq!(server.join().expect("the server's part"), 20);
}

#[test]
fn fifty_at_a_time_use_fifty_connections_and_few_are_kept() {
    let (addr, server) = serve(|door| {
        let mut peers: Vec<Peer> = (0..50).map(|_| door.accept()).collect();
        for peer in &mut peers {
            peer.head();
        }
        for peer in &mut peers {
            peer.answer("hello");
        }
        // All but the kept ones are closed.
        let mut kept: Vec<Peer> = Vec::new();
        for mut peer in peers {
            peer.0.set_read_timeout(Some(Duration::from_millis(300))).expect("not zero");
            match std::io::Read::read(&mut peer.0, &mut [0]) {
                Ok(0) => (),
                _ => kept.push(peer),
            }
        }
        assert!(door.knock().is_none());
        kept.len()
    });
    run(async {
        let wire = Wire::new(Settings { max_idle_per_endpoint: 8, ..settings() }).expect("no CA file");
        let executor = smol::Executor::new();
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let wire = wire.clone();
                executor.spawn(async move { body_of(&wire, addr).await })
            })
            .collect();
        executor
            .run(async {
                for call in calls {
                    assert_eq!(call.await, "hello");
                }
            })
            .await;
        assert_eq!(wire.idle_connections(), 8);
        let kept = smol::unblock(move || server.join().expect("the server's part")).await;
        assert_eq!(kept, 8);
    });
}

/// Answers each request with its own path, in its own time and shape, until the client closes.
fn mirror(mut peer: Peer) {
    while let Some(head) = peer.try_head() {
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        let n: usize = path.rsplit('/').next().and_then(|n| n.parse().ok()).expect("a number at its end");
        if n % 7 == 0 {
            std::thread::sleep(Duration::from_millis(30)); // beyond the client's patience
        }
        let filler = ".".repeat([0, 10, 5_000, 100_000][n % 4]);
        let body = format!("{path}{filler}");
        let answer = match n % 3 {
            0 => {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        };
        let (begin, end) = answer.split_at(answer.len() / (1 + n % 2));
        if peer.0.write_all(begin.as_bytes()).and_then(|()| peer.0.write_all(end.as_bytes())).is_err() || n % 31 == 0 {
            return;
        }
    }
}

/// Calls one after the other, each with a path of its own; returns how many were answered and how many were late.
async fn calls(wire: Wire, addr: SocketAddr, task: usize) -> (usize, usize) {
    let (mut answered, mut late) = (0, 0);
    for n in 1..=100 {
        let path = format!("/{task}/{n}");
        let get = Request::get(&*format!("http://{addr}{path}"));
        let time = Duration::from_millis(if n % 7 == 0 { 10 } else { 5_000 });
        let outcome = async { wire.send(within(get, time)).await?.body_string().await }.await;
        match outcome {
            Ok(body) => {
                assert_eq!(body.trim_end_matches('.'), path, "somebody else's answer");
                answered += 1;
            }
            Err(error) => {
                assert!(n % 7 == 0 && Error::of(&error).is_some_and(Error::is_timeout), "{path}: {error:?}");
                late += 1;
            }
        }
    }
    (answered, late)
}

#[test]
fn among_slow_answers_large_ones_and_closing_servers_everyone_gets_the_own_answer() {
    const TASKS: usize = 16;
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let (addr, server) = serve(move |door| {
        let mut peers = Vec::new();
        loop {
            let peer = door.accept();
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            peers.push(std::thread::spawn(move || mirror(peer)));
        }
        for peer in peers {
            peer.join().expect("a connection's part");
        }
    });
    let wire = wire();
    let executor = Arc::new(smol::Executor::new());
    // Two threads, so that a connection changes tasks and threads.
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
            std::thread::spawn(move || smol::block_on(executor.run(stopped.recv())).is_err())
        })
        .collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let wire = wire.clone();
            executor.spawn(calls(wire, addr, task))
        })
        .collect();
    let (mut answered, mut late) = (0, 0);
    run(async {
        for task in tasks {
            let (more, later) = task.await;
            answered += more;
            late += later;
        }
    });
    drop(stop);
    for thread in threads {
        assert!(thread.join().expect("an executor's part"), "stopped by the end of the channel");
    }
    drop(wire);
    over.store(true, Ordering::SeqCst);
    drop(std::net::TcpStream::connect(addr).expect("the server is there"));
    server.join().expect("the server's part");
    // An answer that is there already when the late caller looks is taken.
    assert!(answered + late == TASKS * 100 && late > 0, "{answered} answered, {late} late");
}

#[test]
fn the_number_of_endpoints_with_idle_connections_is_bounded() {
    let servers: Vec<_> = (0..5).map(|_| serve(|door| echo(&door, 1, "hello"))).collect();
    run(async {
        let wire = Wire::new(Settings { max_endpoints: 3, ..settings() }).expect("no CA file");
        for (addr, _) in &servers {
            assert_eq!(body_of(&wire, *addr).await, "hello");
        }
        assert_eq!(wire.idle_connections(), 3);
    });
    for (_, server) in servers {
        server.join().expect("a server's part");
    }
}

#[test]
fn a_connection_idle_for_too_long_is_not_used_again() {
    let (addr, server) = serve(|door| echo(&door, 2, "hello"));
    run(async {
        let wire = Wire::new(Settings { idle_timeout: Duration::from_millis(50), ..settings() }).expect("no CA file");
        assert_eq!(body_of(&wire, addr).await, "hello");
        smol::Timer::after(Duration::from_millis(60)).await;
        assert_eq!(wire.idle_connections(), 1);
        assert_eq!(body_of(&wire, addr).await, "hello");
        assert_eq!(wire.idle_connections(), 1);
    });
    server.join().expect("the server's part");
}

#[test]
fn a_sweep_closes_what_is_too_old_or_was_closed_and_keeps_the_rest() {
    let (old_addr, old) = serve(|door| echo(&door, 1, "old"));
    let (kept, wait_for_kept) = mpsc::channel();
    let (gone, wait) = mpsc::channel();
    let (closing_addr, closing) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.answer("closing");
        wait_for_kept.recv().expect("the client goes on");
        drop(peer);
        gone.send(()).expect("the client waits");
    });
    let (young_addr, young) = serve(|door| echo(&door, 1, "young"));
    run(async {
        let wire = Wire::new(Settings { idle_timeout: Duration::from_millis(800), ..settings() }).expect("no CA file");
        assert_eq!(body_of(&wire, old_addr).await, "old");
        smol::Timer::after(Duration::from_millis(810)).await;
        assert_eq!(body_of(&wire, closing_addr).await, "closing");
        assert_eq!(body_of(&wire, young_addr).await, "young");
        assert_eq!(wire.idle_connections(), 3);
        kept.send(()).expect("the server waits");
        wait.recv().expect("the server closes");
        assert_eq!(wire.sweep(), 1);
        assert_eq!(body_of(&wire, young_addr).await, "young");
    });
    for server in [old, young] {
        server.join().expect("a server's part");
    }
    closing.join().expect("the server's part");
}

#[test]
fn a_tidied_wire_closes_idle_connections_while_nobody_calls() {
    let (addr, server) = serve(|door| echo(&door, 1, "hello"));
    run(async {
        let wire = Wire::new(Settings { idle_timeout: Duration::from_millis(50), ..settings() }).expect("no CA file");
        let tidy = async {
            wire.clone().keep_tidy().await;
        };
        smol::future::or(tidy, async {
            assert_eq!(body_of(&wire, addr).await, "hello");
            smol::unblock(move || server.join().expect("the server sees the connection closed")).await;
            assert_eq!(wire.idle_connections(), 0);
        })
        .await;
    });
}

#[test]
fn a_server_that_says_close_is_believed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nok",
    ] {
        let (addr, server) = serve(move |door| {
            let mut peer = door.accept();
            peer.head();
            peer.send(answer);
            let _ = peer.0.shutdown(std::net::Shutdown::Write);
            peer.sees_close();
        });
        run(async {
            let wire = wire();
            assert_eq!(body_of(&wire, addr).await, "ok", "{answer:?}");
            assert_eq!(wire.idle_connections(), 0, "{answer:?}");
        });
        server.join().expect("the server's part");
    }
}

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
        if let Some(mut peer) = door.knock() {
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

#[test]
fn surf_shows_the_typed_error() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    run(async {
        let error = wire().into_surf().get(format!("http://{gone}/")).await.expect_err("nobody listens");
        assert!(error.downcast_ref::<Error>().is_some_and(Error::is_refused), "{error:?}");
        assert_eq!(error.status(), 502);
    });
}

#[test]
fn other_schemes_and_unknown_names_are_typed_errors() {
    run(async {
        let wire = wire();
        for (url, expected) in
            [("ftp://127.0.0.1/", "Url"), ("http://no.such.host/?appid=secret", "Resolve"), ("mailto:a@b", "Url")]
        {
            let outcome = failure(&wire, Request::get(url)).await;
            assert!(outcome.starts_with(expected) && !outcome.contains("secret"), "{outcome} for {url}");
        }
    });
}

fn named(hosts: &str) -> Wire {
    Wire::new(Settings { resolver: Resolver::with_servers(vec![], hosts), ..settings() }).expect("no CA file")
}

#[test]
fn a_refusing_address_gives_way_to_the_next_at_once() {
    let (addr, server) = serve(|door| echo(&door, 1, "second"));
    run(async {
        let wire = named("127.0.0.9 both\n127.0.0.1 both\n");
        let begin = Instant::now();
        let url = format!("http://both:{}/", addr.port());
        let answer = wire.send(Request::get(&*url)).await.expect("an answer").body_string().await;
        assert_eq!(answer.expect("a body"), "second");
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}

#[test]
fn a_silent_address_gives_way_after_its_head_start() {
    let (addr, server) = serve(|door| echo(&door, 1, "second"));
    let (_, _socket, _queue) = silent(&format!("127.0.0.9:{}", addr.port()));
    run(async {
        let wire = named("127.0.0.9 both\n127.0.0.1 both\n");
        let begin = Instant::now();
        let url = format!("http://both:{}/", addr.port());
        let answer = wire.send(Request::get(&*url)).await.expect("an answer").body_string().await;
        assert_eq!(answer.expect("a body"), "second");
        assert!((250..900).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}
