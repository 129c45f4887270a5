//! Memory of a program at rest, and of each silent connection: on a Pi every running service pays that all the time.
//! Measured on a process of its own, since an allocator seldom gives back what a load took.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::load::{Answer, question};
use crate::peers::{Bench, Peer};

/// Connections that rest after one answer each.
pub(crate) const RESTING: u64 = 1000;
/// Questions before the connections: code is mapped and the buffers are there, so that the rest is the connections'.
const WARM_UP: usize = 100;
/// Until what has started in the background is over.
const SETTLE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);

/// Resident memory in KiB.
#[derive(Default)]
pub(crate) struct Memory {
    /// Before the first question.
    pub(crate) idle: u64,
    /// With [`RESTING`] silent connections.
    pub(crate) resting: u64,
    /// Bytes that each of them adds.
    pub(crate) a_connection: f64,
    /// The most that was seen at the end of a round of load.
    pub(crate) loaded: u64,
}

/// All but `loaded`.
pub(crate) fn of(bench: &Bench, peer: Peer) -> Result<Memory> {
    let running = bench.start(peer, None)?;
    std::thread::sleep(SETTLE);
    let idle = running.process().rss()?;
    let mut first = connect(running.addr())?;
    ask(&mut first, running.addr(), WARM_UP)?;
    let warm = running.process().rss()?;
    let mut connections = Vec::new();
    for _ in 0..RESTING {
        bench.interrupt().check()?;
        let mut connection = connect(running.addr())?;
        ask(&mut connection, running.addr(), 1)?;
        connections.push(connection);
    }
    std::thread::sleep(SETTLE);
    let resting = running.process().rss()?;
    let a_connection = resting.saturating_sub(warm) as f64 / RESTING as f64;
    Ok(Memory { idle, resting, a_connection, loaded: 0 })
}

/// A connection on which nothing blocks for ever.
pub(crate) fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Asks `questions` times, one after the other.
pub(crate) fn ask(stream: &mut TcpStream, addr: SocketAddr, questions: usize) -> Result<()> {
    let question = question(addr);
    let mut answer = Answer::default();
    for _ in 0..questions {
        stream.write_all(&question)?;
        while !answer.read(stream)? {}
    }
    Ok(())
}
