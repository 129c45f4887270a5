//! Asks a service how it is, with as little as possible between: no client of ours, nothing that could hang with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bramble::timeout::timeout;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::net::TcpStream;

const WITHIN: Duration = Duration::from_secs(2);

/// Answer of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The service is well.
    Well,
    /// Another answer.
    Unwell,
    /// No answer in time, or none that is HTTP.
    None,
}

/// Asks for `/healthz`.
pub(crate) async fn ask(addr: SocketAddr) -> Answer {
    match timeout(WITHIN, exchange(addr)).await {
        Some(Ok(answer)) => answer,
        _ => Answer::None,
    }
}

async fn exchange(addr: SocketAddr) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(judge(&status))
}

fn judge(status: &[u8; 12]) -> Answer {
    match status {
        b"HTTP/1.1 200" => Answer::Well,
        [b'H', b'T', b'T', b'P', b'/', ..] => Answer::Unwell,
        _ => Answer::None,
    }
}

/// Where to ask a service that has said `listening on http://ADDR:PORT`; for "all addresses", on loopback.
pub(crate) fn address(line: &str) -> Option<SocketAddr> {
    let addr: SocketAddr = line.strip_prefix("listening on http://")?.trim().parse().ok()?;
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(SocketAddr::new(ip, addr.port()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_service_on_all_addresses_is_asked_on_loopback() {
        let at = |line: &str| address(line).map(|addr| addr.to_string());
        assert_eq!(at("listening on http://0.0.0.0:8088").as_deref(), Some("127.0.0.1:8088"));
        assert_eq!(at("listening on http://[::]:8088").as_deref(), Some("[::1]:8088"));
        assert_eq!(at("listening on http://192.0.2.7:80").as_deref(), Some("192.0.2.7:80"));
        assert_eq!(at("something else"), None);
    }

    #[test]
    fn a_busy_service_answers_and_a_closed_port_does_not() {
        for (says, means) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Answer::Well),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Answer::Unwell),
            ("SSH-2.0-dropbear\r\n", Answer::None),
            ("", Answer::None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let addr = listener.local_addr().expect("bound");
            let served = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let _ = stream.read(&mut [0; 256]);
                stream.write_all(says.as_bytes()).expect("written");
            });
            assert_eq!(smol::block_on(ask(addr)), means, "{says}");
            served.join().expect("no panic");
            assert_eq!(smol::block_on(ask(addr)), Answer::None, "no listener is left");
        }
    }
}
