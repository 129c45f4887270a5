//! Where a name leads, and the errors that callers see.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bramble::internals::resolve::Resolver;
use bramble::internals::transport::client::{Error, HttpTransport, HttpTransportSettings};
use http_client::HttpClient;
use http_types::Request;

use crate::peer::{run, serve};
use crate::{echo, failure, get, settings, silent, wire};

#[test]
fn a_port_without_a_listener_is_a_refusal() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    run(async {
        let error = get(&wire(), gone).await.expect_err("no server listens");
        let error = Error::of(&error).expect("typed");
        assert!(error.is_refused() && error.is_before_sending() && !error.is_timeout(), "{error:?}");
        assert!(error.to_string().contains(&gone.to_string()), "{error}");
    });
}

#[test]
fn surf_shows_the_typed_error() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    run(async {
        let error = wire().into_surf().get(format!("http://{gone}/")).await.expect_err("no server listens");
        assert!(error.downcast_ref::<Error>().is_some_and(Error::is_refused), "{error:?}");
        assert_eq!(error.status(), 502);
    });
}

#[test]
fn other_schemes_and_unknown_names_are_typed_errors() {
    run(async {
        let wire = wire();
        for (url, expected) in
            [("ftp://127.0.0.1/", "Url"), ("http://no.such.host/?appid=secret", "Resolve"), ("mailto:a@b", "Url")]
        {
            let outcome = failure(&wire, Request::get(url)).await;
            assert!(outcome.starts_with(expected) && !outcome.contains("secret"), "{outcome} for {url}");
        }
    });
}

fn named(hosts: &str) -> HttpTransport {
    HttpTransport::new(HttpTransportSettings { resolver: Resolver::with_servers(vec![], hosts), ..settings() })
        .expect("no CA file")
}

#[test]
fn a_refusing_address_gives_way_to_the_next_at_once() {
    let (addr, server) = serve(|door| echo(&door, 1, "second"));
    run(async {
        let wire = named("127.0.0.9 both\n127.0.0.1 both\n");
        let begin = Instant::now();
        let url = format!("http://both:{}/", addr.port());
        let answer = wire.send(Request::get(&*url)).await.expect("an answer").body_string().await;
        assert_eq!(answer.expect("a body"), "second");
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}

#[test]
fn a_silent_address_gives_way_after_its_head_start() {
    let (addr, server) = serve(|door| echo(&door, 1, "second"));
    let (_, _socket, _queue) = silent(&format!("127.0.0.9:{}", addr.port()));
    run(async {
        let wire = named("127.0.0.9 both\n127.0.0.1 both\n");
        let begin = Instant::now();
        let url = format!("http://both:{}/", addr.port());
        let answer = wire.send(Request::get(&*url)).await.expect("an answer").body_string().await;
        assert_eq!(answer.expect("a body"), "second");
        assert!((250..900).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}
