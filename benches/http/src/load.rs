//! A closed loop: every connection asks, waits for the whole answer, asks again. One thread and one system call a
//! question and an answer, so that the generator takes little of the machine from what it measures.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench_http::{ANSWER, QUESTION};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Result;
use crate::process::Interrupt;

/// Without one answer for so long, the measurement has failed.
const STALL: Duration = Duration::from_secs(5);
/// Head and body; ours and all peers' are below 600 bytes.
const LARGEST: usize = 4096;

/// Request and number of connections of a load.
pub(crate) struct Load {
    pub(crate) addr: SocketAddr,
    /// Number of connections that ask at the same time.
    pub(crate) connections: usize,
    /// All of them together.
    pub(crate) questions: usize,
}

/// Results of a load. The connections stay open until this is dropped.
pub(crate) struct LoadResult {
    pub(crate) took: Duration,
    /// From the question's first byte to the answer's last, ascending; one a question.
    pub(crate) latencies: Vec<Duration>,
    _connections: Vec<Connection>,
}

impl LoadResult {
    /// The latency that the share `of` (0-1) of all questions had at most.
    pub(crate) fn quantile(&self, of: f64) -> Duration {
        let at = (self.latencies.len() as f64 * of) as usize;
        self.latencies.get(at).or(self.latencies.last()).copied().unwrap_or_default()
    }
}

impl Load {
    pub(crate) fn run(&self, interrupt: &Interrupt) -> Result<LoadResult> {
        let mut poll = Poll::new()?;
        let question = question(self.addr);
        let mut connections = Vec::with_capacity(self.connections);
        for number in 0..self.connections.min(self.questions) {
            let stream = std::net::TcpStream::connect(self.addr)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            connections.push(Connection::new(stream));
        }
        let began = Instant::now();
        for connection in &mut connections {
            connection.ask(&question)?;
        }
        let mut asked = connections.len();
        let mut latencies = Vec::with_capacity(self.questions);
        let mut events = Events::with_capacity(self.connections);
        while latencies.len() < self.questions {
            interrupt.check()?;
            match poll.poll(&mut events, Some(STALL)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => done?,
            }
            if events.is_empty() {
                return Err(format!("no answer for {STALL:?}").into());
            }
            for event in &events {
                let connection = &mut connections[event.token().0];
                let Some(latency) = connection.hear()? else { continue };
                latencies.push(latency);
                if asked < self.questions {
                    asked += 1;
                    connection.ask(&question)?;
                }
            }
        }
        let took = began.elapsed();
        latencies.sort_unstable();
        Ok(LoadResult { took, latencies, _connections: connections })
    }
}

/// Bytes of a request.
pub(crate) fn question(addr: SocketAddr) -> Vec<u8> {
    format!("GET {QUESTION} HTTP/1.1\r\nhost: {addr}\r\nuser-agent: bench\r\naccept: */*\r\n\r\n").into_bytes()
}

struct Connection {
    stream: TcpStream,
    asked: Instant,
    answer: Answer,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, asked: Instant::now(), answer: Answer::default() }
    }

    fn ask(&mut self, question: &[u8]) -> Result<()> {
        self.asked = Instant::now();
        // A fresh socket buffer takes a hundred bytes at once, or something is wrong.
        Ok(self.stream.write_all(question)?)
    }

    /// The latency, if the answer is whole now.
    fn hear(&mut self) -> Result<Option<Duration>> {
        match self.answer.read(&mut self.stream) {
            Ok(true) => Ok(Some(self.asked.elapsed())),
            Ok(false) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// An answer on its way.
pub(crate) struct Answer {
    bytes: [u8; LARGEST],
    /// How many of `bytes` have come.
    filled: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Self { bytes: [0; LARGEST], filled: 0 }
    }
}

impl Answer {
    /// Reads once. True: the answer was whole and the right one, and the next may be read.
    pub(crate) fn read(&mut self, stream: &mut impl io::Read) -> io::Result<bool> {
        let count = stream.read(&mut self.bytes[self.filled..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        let came = &self.bytes[..self.filled];
        if !came.ends_with(ANSWER.as_bytes()) {
            return if self.filled < LARGEST { Ok(false) } else { Err(wrong(came)) };
        }
        if !came.starts_with(b"HTTP/1.1 200 ") {
            return Err(wrong(came));
        }
        self.filled = 0;
        Ok(true)
    }
}

fn wrong(answer: &[u8]) -> io::Error {
    let start = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
    io::Error::new(io::ErrorKind::InvalidData, format!("not the answer expected: {start}"))
}
