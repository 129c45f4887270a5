//! A server that does exactly what a test says, right or wrong, on plain sockets; nothing in it waits for ever.

#![allow(dead_code)] // each test file uses a part

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// No test takes as long, unless something hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

/// Runs `test`, which must end within [`GUARD`].
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    smol::block_on(smol::future::or(test, async {
        smol::Timer::after(GUARD).await;
        panic!("the test hangs");
    }))
}

/// A listener on loopback, handed to `script` in a thread of its own.
pub(crate) fn serve<T: Send + 'static>(script: impl FnOnce(Door) -> T + Send + 'static) -> (SocketAddr, JoinHandle<T>) {
    let door = Door::new("127.0.0.1:0".parse().expect("an address"));
    let addr = door.addr();
    (addr, thread::spawn(move || script(door)))
}

/// A listener.
pub(crate) struct Door(TcpListener);

impl Door {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be");
        Self(listener)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// The connection that comes.
    pub(crate) fn accept(&self) -> Peer {
        let end = Instant::now() + GUARD;
        loop {
            if let Some(peer) = self.try_accept() {
                return peer;
            }
            assert!(Instant::now() < end, "no client connects");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The connection that is there already, if one is.
    pub(crate) fn try_accept(&self) -> Option<Peer> {
        match self.0.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("a stream can be");
                stream.set_read_timeout(Some(GUARD)).expect("not zero");
                stream.set_write_timeout(Some(GUARD)).expect("not zero");
                Some(Peer(stream))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }
}

/// The other end of a client's connection.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    /// Reads the head of a request.
    pub(crate) fn head(&mut self) -> String {
        self.try_head().expect("a request")
    }

    /// Reads the head of a request; None if the connection ends before its first byte.
    pub(crate) fn try_head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) if head.is_empty() => return None,
                Err(error) if head.is_empty() && error.kind() == ErrorKind::ConnectionReset => return None,
                other => panic!("half a request: {other:?}, {:?}", String::from_utf8_lossy(&head)),
            }
        }
        Some(String::from_utf8(head).expect("ASCII"))
    }

    /// Reads `n` bytes of a body.
    pub(crate) fn body(&mut self, n: usize) -> String {
        let mut body = vec![0; n];
        self.0.read_exact(&mut body).expect("a body");
        String::from_utf8(body).expect("UTF-8")
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the client reads");
    }

    /// A whole answer.
    pub(crate) fn answer(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }

    /// Waits until the client closes; whatever it sends before is an error.
    pub(crate) fn sees_close(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("the client does not close: {error}"),
            _ => assert_eq!(String::from_utf8_lossy(&rest), "", "the client sent more before it closed"),
        }
    }
}
