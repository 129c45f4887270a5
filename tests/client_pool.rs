//! The client's wire against servers that are slow, broken or hostile: no answer may ever reach another's caller, and
//! nothing may wait for ever or grow without end.

#[path = "client_pool/addresses.rs"]
mod addresses;
#[path = "client_pool/apart.rs"]
mod apart;
#[path = "client_pool/bodies.rs"]
mod bodies;
#[path = "client_pool/deadlines.rs"]
mod deadlines;
#[path = "client_pool/malformed.rs"]
mod malformed;
#[path = "client_pool/many.rs"]
mod many;
#[path = "support/peer.rs"]
mod peer;
#[path = "client_pool/reuse.rs"]
mod reuse;
#[path = "support/silent.rs"]
mod silent;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bramble::internals::resolve::Resolver;
use bramble::internals::transport::client::{Deadline, Error, HttpTransport, HttpTransportSettings, Phase};
use http_client::HttpClient;
use http_types::{Method, Request, Url};
use peer::{Door, Peer};
use silent::silent;

fn settings() -> HttpTransportSettings {
    HttpTransportSettings { resolver: Resolver::with_servers(vec![], ""), ..HttpTransportSettings::default() }
}

fn wire() -> HttpTransport {
    HttpTransport::new(settings()).expect("no CA file")
}

fn request(method: Method, addr: SocketAddr) -> Request {
    Request::new(method, Url::parse(&format!("http://{addr}/")).expect("a URL"))
}

fn within(mut request: Request, time: Duration) -> Request {
    request.ext_mut().insert(Deadline(Instant::now() + time));
    request
}

async fn get(wire: &HttpTransport, addr: SocketAddr) -> Result<String, http_types::Error> {
    wire.send(request(Method::Get, addr)).await?.body_string().await
}

async fn body_of(wire: &HttpTransport, addr: SocketAddr) -> String {
    get(wire, addr).await.expect("an answer")
}

/// The error of the wire, whether it came with the head or with the body.
async fn failure(wire: &HttpTransport, request: Request) -> String {
    let error = match wire.send(request).await {
        Ok(mut response) => response.body_bytes().await.expect_err("the answer is not whole"),
        Err(error) => error,
    };
    format!("{:?}", Error::of(&error).unwrap_or_else(|| panic!("an untyped error: {error:?}")))
}

fn is_timeout(error: &http_types::Error, phase: Phase) -> bool {
    matches!(Error::of(error), Some(Error::TimedOut { phase: in_phase, .. }) if *in_phase == phase)
}

/// Answers each request on each connection with `body` until `connections` have come and gone.
fn echo(door: &Door, connections: usize, body: &'static str) -> usize {
    let serve = |mut peer: Peer| {
        let mut answered = 0;
        while peer.try_head().is_some() {
            peer.answer(body);
            answered += 1;
        }
        answered
    };
    let peers: Vec<_> = (0..connections)
        .map(|_| {
            let peer = door.accept();
            std::thread::spawn(move || serve(peer))
        })
        .collect();
    let answered = peers.into_iter().map(|peer| peer.join().expect("a connection's part")).sum();
    assert!(door.try_accept().is_none(), "one connection more than {connections}");
    answered
}
