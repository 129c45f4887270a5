//! A producer whose manners can be changed while it runs: a plain thread a connection, nothing of the code under test.

#![allow(dead_code)] // each test file uses a part

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The header by which an answer names its instance.
const ID: &str = "x-bramble-id: producer-0000000000000001\r\n";

/// Behaviour towards a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Answers with this status.
    Answer(u16),
    /// Answers with this status after this time.
    Late(Duration, u16),
    /// Never answers.
    Hang,
    /// Closes the connection.
    Close,
    /// 429 with `Retry-After` in seconds.
    Limit(u64),
    /// Answers with this status, but without the id of an instance: not a producer, but something else at its address.
    Stranger(u16),
    /// Says these bytes, whatever it is asked, and closes the connection.
    Say(&'static str),
}

#[derive(Debug)]
struct State {
    behaviour: Mutex<Behaviour>,
    /// The head of each request, in small letters.
    heads: Mutex<Vec<String>>,
    /// The body of each request that had a length.
    bodies: Mutex<Vec<Vec<u8>>>,
    /// When a connection was closed by the caller before it was answered.
    abandoned: Mutex<Vec<Instant>>,
}

/// Serves on a port of its own until dropped.
#[derive(Debug)]
pub(crate) struct FakeProducer {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
    listener: TcpListener,
}

impl FakeProducer {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let (heads, bodies, abandoned) = (Mutex::default(), Mutex::default(), Mutex::default());
        let state = State { behaviour: Mutex::new(behaviour), heads, bodies, abandoned };
        let fake = Self { addr: listener.local_addr().expect("bound"), state: Arc::new(state), listener };
        let (state, listener) = (Arc::clone(&fake.state), fake.listener.try_clone().expect("a second handle"));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                thread::spawn(move || state.serve(stream));
            }
        });
        fake
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().expect("no panic") = behaviour;
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().expect("no panic").clone()
    }

    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.state.bodies.lock().expect("no panic").clone()
    }

    /// How many requests came.
    pub(crate) fn calls(&self) -> usize {
        self.heads().len()
    }

    /// How many callers went away before they were answered.
    pub(crate) fn abandoned(&self) -> usize {
        self.state.abandoned.lock().expect("no panic").len()
    }
}

impl Drop for FakeProducer {
    fn drop(&mut self) {
        // Wakes the thread that accepts, which then ends.
        self.listener.set_nonblocking(true).expect("own socket");
        let _ = TcpStream::connect(self.addr);
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).expect("own socket");
        let mut reader = BufReader::new(stream);
        while let Some(head) = read_head(&mut reader) {
            let behaviour = *self.behaviour.lock().expect("no panic");
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if let Some(length) = length {
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    return;
                }
                self.bodies.lock().expect("no panic").push(body);
            }
            self.heads.lock().expect("no panic").push(head);
            if let Behaviour::Say(answer) = behaviour {
                let _ = reader.get_mut().write_all(answer.as_bytes()); // a caller that has gone wants no answer
                return;
            }
            let (status, extra) = match behaviour {
                Behaviour::Answer(status) => (status, ID.to_owned()),
                Behaviour::Stranger(status) => (status, String::new()),
                Behaviour::Limit(seconds) => (429, format!("{ID}retry-after: {seconds}\r\n")),
                Behaviour::Late(time, status) if !self.is_abandoned(&mut reader, time) => (status, ID.to_owned()),
                Behaviour::Hang if !self.is_abandoned(&mut reader, Duration::from_secs(60)) => (200, ID.to_owned()),
                Behaviour::Late(..) | Behaviour::Hang | Behaviour::Close | Behaviour::Say(_) => return,
            };
            // The body tells which question it answers, so that a mix-up shows.
            let length = path.len();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n{extra}\r\n{path}");
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Waits for `time`, or for the caller to go away.
    fn is_abandoned(&self, reader: &mut BufReader<TcpStream>, time: Duration) -> bool {
        let stream = reader.get_mut();
        stream.set_read_timeout(Some(time)).expect("a time");
        let gone = match stream.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        stream.set_read_timeout(None).expect("no time");
        if gone {
            self.abandoned.lock().expect("no panic").push(Instant::now());
        }
        gone
    }
}

fn read_head(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        match reader.read_line(&mut head) {
            Ok(0) | Err(_) => return None,
            Ok(_) if head.get(before..) == Some("\r\n") => return Some(head.to_ascii_lowercase()),
            Ok(_) => {}
        }
    }
}
