//! Connections that ask nothing more, as many as a producer takes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;

use crate::cluster::{Cluster, ms};
use crate::people::{Crowd, Score, Target};
use crate::support::http::get;
use crate::support::process::PATIENCE;

/// `[server] max_connections`.
const MAX_CONNECTIONS: usize = 512;

/// A connection that has been answered once and is kept.
fn kept(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(*PATIENCE)).expect("a valid time");
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: {addr}\r\n\r\n").expect("sent");
    let read = stream.read(&mut [0; 1024]).expect("an answer");
    assert!(read > 0, "answered");
    stream
}

#[test]
fn a_producer_full_of_idle_connections_is_alive_and_answers_those_it_knows_and_others_are_sent_elsewhere() {
    let (_cluster, producers, form) = Cluster::with_producers::<2>("idle");
    let crowd = Crowd::come(Target::Form(form.addr), 20);
    sleep(ms(2000));
    let full = producers[0].addr;
    let idle: Vec<_> = (0..MAX_CONNECTIONS).map(|_| kept(full)).collect();
    let (status, body) = get(full, "/weather?zip=70569&country=DE");
    assert_eq!(status, 503, "it takes no more connections: {body}");
    let (status, body) = get(full, "/healthz");
    assert_eq!(status, 200, "it is alive: {body}");
    sleep(ms(8000)); // health is asked every second, and twice before an instance is lost
    let score = Score::of(&crowd.end());
    println!("512 idle connections at 1 of 2: {score}");
    assert_eq!(score.good, score.asked, "{score}");
    assert_eq!(form.finds("producer"), 2, "it is not lost");
    drop(idle);
}
