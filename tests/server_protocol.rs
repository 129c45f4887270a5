//! The server against peers of every kind, byte by byte over real sockets on loopback.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "server_protocol/admission.rs"]
mod admission;
#[path = "server_protocol/answers.rs"]
mod answers;
#[path = "server_protocol/bodies.rs"]
mod bodies;
#[path = "server_protocol/handlers.rs"]
mod handlers;
#[path = "server_protocol/patience.rs"]
mod patience;
#[path = "server_protocol/requests.rs"]
mod requests;
#[path = "server_protocol/shutdown.rs"]
mod shutdown;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use bramble::internals::transport::server::{
    Drained, Limits, Options, ServerSnapshot, Stats, listen, serve, time_left,
};
use bramble::limit::LimiterSettings;
use futures_lite::prelude::*;
use futures_lite::{future, stream};
use smol::Executor;
use smol::channel::{Receiver, Sender, bounded, unbounded};
use tide::{Body, Request, Response};

/// No test may take longer, hung or not.
const GUARD: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(60);
const LATER: Duration = Duration::from_secs(60);
/// The id of the server's process.
const ID: &str = "greeter-00000000000000aa";

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
        requests: LimiterSettings::default(),
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

/// Makes a body of parts: `Ok` bytes or an error.
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
    app.at("/healthz").get(|_| async { Ok("alive") });
    app.at("/time-left").get(|request: Request<()>| async move {
        Ok(time_left(request.as_ref()).map_or("none".into(), |left| left.as_millis().to_string()))
    });
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
    let options = Options {
        stats: Arc::clone(&stats),
        id: Some(ID.into()),
        unlimited: &["/healthz"],
        ..Options::new(limits, Arc::clone(&executor))
    };
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

    async fn until(&self, what: impl Fn(&ServerSnapshot) -> bool) {
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

    async fn ask_whatever(&mut self, request: &str) -> String {
        self.send(request).await;
        self.read_available().await
    }

    /// All until the end of the connection, reset or not.
    async fn read_available(&mut self) -> String {
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

    /// Reads an answer with a content-length.
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
