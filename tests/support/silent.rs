//! An address that answers nothing, not even the connect.

use std::net::SocketAddr;
use std::time::Duration;

/// A listener whose queue is full: a connect hears nothing.
pub(crate) fn silent(addr: &str) -> (SocketAddr, socket2::Socket, Vec<std::net::TcpStream>) {
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
