//! The server against peers of every kind, byte by byte over real sockets on loopback.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use bramble::transport::server::{Drained, Limits, Options, PortTaken, Snapshot, Stats, listen, serve};
use futures_lite::prelude::*;
use futures_lite::{future, stream};
use smol::Executor;
use smol::channel::{Receiver, Sender, bounded, unbounded};
use tide::{Body, Request, Response};

/// No test may take longer, hung or not.
const GUARD: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(60);
const LATER: Duration = Duration::from_secs(60);

/// Generous in everything: a test narrows what it is about.
fn limits() -> Limits {
    Limits {
        max_connections: 64,
        header_timeout: LATER,
        body_timeout: LATER,
        idle_timeout: LATER,
        write_timeout: LATER,
        drain_timeout: LATER,
        max_body: 64 << 10,
    }
}

struct Server {
    addr: SocketAddr,
    stats: Arc<Stats>,
    stop: Sender<()>,
    ended: Receiver<Drained>,
    /// Handlers of `/gate` wait for a message here, and say when they begin and when they are dropped.
    gate: Sender<()>,
    begun: Receiver<()>,
    dropped: Receiver<()>,
}

struct OnDrop(Sender<()>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// An endless reader; says when it is dropped.
struct Endless(#[expect(dead_code, reason = "its drop is what counts")] OnDrop);

impl AsyncRead for Endless {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        into: &mut [u8],
    ) -> std::task::Poll<io::Result<usize>> {
        into.fill(b'e');
        std::task::Poll::Ready(Ok(into.len()))
    }
}

/// What a body is made of, part by part: `Ok` bytes or an error.
fn parts(of: impl Stream<Item = io::Result<Vec<u8>>> + Unpin + Send + Sync + 'static, len: Option<usize>) -> Body {
    struct Parts<S>(S);
    impl<S: Stream<Item = io::Result<Vec<u8>>> + Unpin> AsyncRead for Parts<S> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            into: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            self.0.poll_next(cx).map(|part| {
                let part = part.transpose()?.unwrap_or_default();
                into[..part.len()].copy_from_slice(&part);
                Ok(part.len())
            })
        }
    }
    Body::from_reader(futures_lite::io::BufReader::new(Parts(of)), len)
}

fn app(gate: Receiver<()>, begun: Sender<()>, dropped: Sender<()>) -> tide::Server<()> {
    let mut app = tide::Server::new();
    app.at("/hello").get(|_| async { Ok("hello") });
    app.at("/echo").post(|mut request: Request<()>| async move { request.body_string().await });
    app.at("/ignore").post(|_| async { Ok("ignored") });
    app.at("/path/*rest").get(|request: Request<()>| async move { Ok(request.url().as_str().to_owned()) });
    app.at("/*any").get(|request: Request<()>| async move { Ok(request.url().as_str().to_owned()) });
    app.at("/peers").get(|request: Request<()>| async move {
        Ok(format!("{} {}", request.peer_addr().unwrap_or("none"), request.local_addr().unwrap_or("none")))
    });
    app.at("/names").get(|request: Request<()>| async move {
        let mut names: Vec<_> = request.header_names().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        let many = request.header("x-many").map_or(0, |values| values.iter().count());
        Ok(format!("{} {many}", names.join(",")))
    });
    app.at("/panic").get(|_| async {
        if true {
            panic!("on purpose");
        }
        Ok("")
    });
    app.at("/body-panic").get(|_| async {
        let panicking = stream::poll_fn(|_| -> std::task::Poll<Option<io::Result<Vec<u8>>>> { panic!("on purpose") });
        Ok(Response::builder(200).body(parts(panicking, None)).build())
    });
    app.at("/gate").get({
        let (gate, begun, dropped) = (gate.clone(), begun, dropped.clone());
        move |_| {
            let (gate, begun, dropped) = (gate.clone(), begun.clone(), dropped.clone());
            async move {
                let _dropped = OnDrop(dropped);
                begun.send(()).await.expect("the test listens");
                gate.recv().await.expect("the test opens the gate");
                Ok("through")
            }
        }
    });
    app.at("/events").get(move |_| {
        let events = Box::pin(gate.clone().map(|()| Ok(b"data: tick\n\n".to_vec())));
        async move { Ok(Response::builder(200).content_type("text/event-stream").body(parts(events, None)).build()) }
    });
    let broken = |len| {
        let items = [Ok(b"half".to_vec()), Err(io::Error::other("source lost"))];
        Ok(Response::builder(200).body(parts(stream::iter(items), len)).build())
    };
    app.at("/broken").get(move |_| async move { broken(None) });
    app.at("/short").get(move |_| async move {
        let items = [Ok(b"half".to_vec())];
        Ok(Response::builder(200).body(parts(stream::iter(items), Some(8))).build())
    });
    app.at("/endless").get(move |_| {
        let reader = futures_lite::io::BufReader::new(Endless(OnDrop(dropped.clone())));
        async move { Ok(Response::builder(200).body(Body::from_reader(reader, None)).build()) }
    });
    app.at("/odd").get(|_| async {
        let mut response = Response::new(200);
        response.insert_header("x-odd", "one\r\nx-smuggled: two");
        response.insert_header("content-length", "99");
        response.set_body("odd");
        Ok(response)
    });
    app.at("/big").get(|_| async { Ok("0123456789abcdef".repeat(20_000)) });
    app
}

/// Runs `test` against a server with `limits`, all on this thread.
fn with_server(limits: Limits, test: impl AsyncFnOnce(Server)) {
    let executor: Arc<Executor<'static>> = Arc::new(Executor::new());
    let (gate, gate_opens) = unbounded();
    let (begins, begun) = unbounded();
    let (drops, dropped) = unbounded();
    let (stop, stopped) = bounded::<()>(1);
    let (end, ended) = bounded(1);
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = listener.get_ref().local_addr().unwrap();
    let stats = Arc::new(Stats::default());
    let options = Options { limits, executor: Arc::clone(&executor), stats: Arc::clone(&stats) };
    let app = app(gate_opens, begins, drops);
    executor
        .spawn(async move {
            let shutdown = async {
                let _ = stopped.recv().await;
            };
            let _ = end.send(serve(listener, app, options, shutdown).await).await;
        })
        .detach();
    let server = Server { addr, stats, stop, ended, gate, begun, dropped };
    smol::block_on(executor.run(guarded(test(server))));
}

async fn guarded<T>(what: impl Future<Output = T>) -> T {
    future::or(what, async {
        Timer::after(GUARD).await;
        panic!("took longer than {GUARD:?}")
    })
    .await
}

impl Server {
    async fn connect(&self) -> Peer {
        Peer { stream: Async::<TcpStream>::connect(self.addr).await.unwrap(), read: Vec::new() }
    }

    /// Sends `request` on a connection of its own; all that comes until the server closes it.
    async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut peer = self.connect().await;
        peer.send(request).await;
        peer.rest().await
    }

    async fn until(&self, what: impl Fn(&Snapshot) -> bool) {
        while !what(&self.stats.snapshot()) {
            Timer::after(Duration::from_millis(1)).await;
        }
    }

    async fn is_well(&self) {
        let mut peer = self.connect().await;
        peer.send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(peer.answer().await.body, "hello");
    }
}

struct Peer {
    stream: Async<TcpStream>,
    read: Vec<u8>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Peer {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> io::Result<usize> {
        let mut part = [0; 4 << 10];
        let n = self.stream.read(&mut part).await?;
        self.read.extend_from_slice(&part[..n]);
        Ok(n)
    }

    /// All until the server closes; a reset is not a close.
    async fn rest(&mut self) -> String {
        while self.more().await.expect("closed, not reset") > 0 {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// All until the end of the connection, reset or not.
    async fn whatever_comes(&mut self) -> String {
        while self.more().await.is_ok_and(|n| n > 0) {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|w| w == end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            assert!(self.more().await.unwrap() > 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// One answer with a content-length.
    async fn answer(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect(&head).parse().unwrap();
        while self.read.len() < length {
            assert!(self.more().await.unwrap() > 0, "closed in the body");
        }
        let rest = self.read.split_off(length);
        let body = String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
        Answer { status, head, body }
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("none")
}

const GET: &str = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";

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
            let answer = peer.whatever_comes().await;
            assert_eq!(status(&answer), if start == "GET /" { "414" } else { "431" }, "{answer}");
        }
        server.is_well().await;
    });
}

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
        let answer = peer.whatever_comes().await;
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
        let answer = slow.whatever_comes().await;
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
        assert!(!peer.whatever_comes().await.ends_with("0\r\n\r\n"), "a cut answer must not look whole");
    });
}

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
fn whoever_sends_64_mib_reads_413() {
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
            let answer = peer.whatever_comes().await;
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
fn a_body_is_continued_only_if_somebody_reads_it() {
    with_server(limits(), async |server| {
        let mut peer = server.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\ncontent-length: 5\r\n\r\n").await;
        assert_eq!(peer.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        peer.send("hello").await;
        assert_eq!(peer.answer().await.body, "hello");

        let head = "POST /ignore HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        let answer = server.ask(head).await;
        assert_eq!(status(&answer), "200", "no 100 for a body nobody wants: {answer}");
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
            assert_eq!(peer.whatever_comes().await, "", "after {body:?}");

            // Head and first chunk fill hyper's reads to the byte, so that it skips the rest when the answer is out.
            let length = 16384 + body.len();
            let start = format!("POST /ignore HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nx: ");
            let mut peer = server.connect().await;
            let pad = "x".repeat(8192 - 4 - start.len());
            peer.send(format!("{start}{pad}\r\n\r\n{}{body}", "x".repeat(16384))).await;
            assert_eq!(peer.answer().await.body, "ignored");
            assert_eq!(peer.whatever_comes().await, "", "after {body:?} at once");
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
            peer.whatever_comes().await;
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
fn headers_that_are_not_ascii_are_left_out_and_harm_nobody() {
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

impl Peer {
    async fn ask_whatever(&mut self, request: &str) -> String {
        self.send(request).await;
        self.whatever_comes().await
    }
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
fn one_connection_too_many_is_503_and_the_others_are_served() {
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
        assert_eq!(server.stats.snapshot().refused_connections, 1);
        // A flood of peers that neither send nor close holds up nobody.
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
        assert_eq!(busy.whatever_comes().await, "");
    });
}

/// Open files this process may have.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[test]
fn a_thousand_idle_connections_are_kept_and_cost_little() {
    let count = 1000.min((open_files() - 200) / 2); // both ends are ours
    with_server(Limits { max_connections: 1000, ..limits() }, async |server| {
        server.is_well().await;
        let before = resident_kib();
        let mut peers = Vec::with_capacity(count);
        for _ in 0..count {
            let mut peer = server.connect().await;
            peer.send(GET).await;
            let mut answer = [0; 512];
            assert!(peer.stream.read(&mut answer).await.unwrap() > 0);
            peers.push(peer);
        }
        assert_eq!(server.stats.snapshot().open_connections, count);
        let each = (resident_kib() - before) * 1024 / count;
        assert!(each <= 16 << 10, "{each} bytes a connection, both ends together");
        for peer in &mut peers {
            peer.send(GET).await;
            assert_eq!(peer.answer().await.status, 200);
        }
        server.stop.send(()).await.unwrap();
        assert_eq!(server.ended.recv().await.unwrap(), Drained { cut: 0 });
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
