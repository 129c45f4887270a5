//! Many endpoints: how many connections are opened, and how many are kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bramble::internals::transport::client::{HttpTransport, HttpTransportSettings};
use futures_lite::AsyncReadExt as _;
use futures_lite::AsyncWriteExt as _;
use smol::LocalExecutor;
use smol::net::{TcpListener, TcpStream};

use crate::peer::run;
use crate::{body_of, settings};

/// As many as discovery remembers of one service.
const ENDPOINTS: usize = bramble::discovery::MAX_PER_SERVICE;

/// Servers on loopback, each at a port of its own.
struct Servers {
    addrs: Vec<SocketAddr>,
    /// Connections that all of them have accepted.
    accepted: Arc<AtomicUsize>,
}

impl Servers {
    async fn start(count: usize, executor: &LocalExecutor<'_>) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut addrs = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            addrs.push(listener.local_addr().expect("bound"));
            let accepted = Arc::clone(&accepted);
            executor.spawn(accept(listener, accepted)).detach();
        }
        Self { addrs, accepted }
    }

    /// Connections accepted since the last question.
    fn new_connections(&self) -> usize {
        self.accepted.swap(0, Ordering::SeqCst)
    }

    async fn call_each(&self, wire: &HttpTransport) {
        for &addr in &self.addrs {
            assert_eq!(body_of(wire, addr).await, "hello");
        }
    }
}

async fn accept(listener: TcpListener, accepted: Arc<AtomicUsize>) {
    let executor = LocalExecutor::new();
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await.expect("room for a connection");
            accepted.fetch_add(1, Ordering::SeqCst);
            executor.spawn(answer(stream)).detach();
        }
    };
    executor.run(accepting).await;
}

/// Answers each request until the client closes.
async fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut part = [0; 1 << 10];
    while let Ok(n @ 1..) = stream.read(&mut part).await {
        head.extend_from_slice(&part[..n]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.is_err() {
                return;
            }
        }
    }
}

fn with_servers(count: usize, test: impl AsyncFnOnce(&Servers)) {
    let executor = LocalExecutor::new();
    run(executor.run(async {
        let servers = Servers::start(count, &executor).await;
        test(&servers).await;
    }));
}

#[test]
fn after_the_first_round_calls_to_256_endpoints_open_no_connection() {
    with_servers(ENDPOINTS, async |servers| {
        let wire = HttpTransport::new(settings()).expect("no CA file");
        servers.call_each(&wire).await;
        assert_eq!(servers.new_connections(), ENDPOINTS);
        for _ in 0..4 {
            servers.call_each(&wire).await;
            assert_eq!(servers.new_connections(), 0);
        }
        assert_eq!(wire.idle_connections(), ENDPOINTS);
    });
}

#[test]
fn at_the_bound_the_connections_idle_longest_are_closed_and_every_call_is_answered() {
    with_servers(40, async |servers| {
        let wire = HttpTransport::new(HttpTransportSettings { max_idle: 16, ..settings() }).expect("no CA file");
        for _ in 0..3 {
            for &addr in &servers.addrs {
                assert_eq!(body_of(&wire, addr).await, "hello");
                assert!(wire.idle_connections() <= 16, "{}", wire.idle_connections());
            }
        }
        // An eighth of 16 is closed at once, so 14 are kept for sure.
        servers.new_connections();
        for &addr in servers.addrs.iter().rev().take(14) {
            assert_eq!(body_of(&wire, addr).await, "hello");
        }
        assert_eq!(servers.new_connections(), 0, "the endpoints used last have theirs");
        assert_eq!(body_of(&wire, servers.addrs[0]).await, "hello");
        assert_eq!(servers.new_connections(), 1, "those used longest ago have none");
    });
}

#[test]
fn a_bound_of_one_keeps_the_connection_used_last() {
    with_servers(2, async |servers| {
        let wire = HttpTransport::new(HttpTransportSettings { max_idle: 1, ..settings() }).expect("no CA file");
        servers.call_each(&wire).await;
        assert_eq!((wire.idle_connections(), servers.new_connections()), (1, 2));
        assert_eq!(body_of(&wire, servers.addrs[1]).await, "hello");
        assert_eq!(servers.new_connections(), 0);
    });
}
