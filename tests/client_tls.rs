//! The HTTP client over TLS: which certificates it trusts, why it refuses others, and that an end that may be an
//! attacker's is no end.

mod support {
    pub(crate) mod peer;
}

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bramble::Service;
use bramble::config::Config;
use bramble::internals::resolve::Resolver;
use bramble::internals::transport::client::{Deadline, Error, HttpTransport, HttpTransportSettings, Phase};
use bramble::internals::transport::tls;
use bramble::serve::Host;
use http_client::HttpClient;
use http_types::Request;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::peer::{Door, run, serve};

type Tls = StreamOwned<ServerConnection, std::net::TcpStream>;

/// An authority, its certificate in a file, and the file's end.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(test: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, test);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let file = std::env::temp_dir().join(format!("bramble-tls-{}-{test}.pem", std::process::id()));
        std::fs::write(&file, issuer.pem()).expect("a writable folder");
        Self { issuer, file }
    }

    /// A server's configuration with a certificate for `name`.
    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .expect("a key that fits");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn wire(&self) -> HttpTransport {
        HttpTransport::new(HttpTransportSettings { ca_file: Some(self.file.clone()), ..settings() })
            .expect("a good CA file")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn settings() -> HttpTransportSettings {
    HttpTransportSettings {
        resolver: Resolver::with_servers(vec![], "127.0.0.1 pi.example other.example"),
        ..HttpTransportSettings::default()
    }
}

/// Reads a request's head; None if the connection ends or breaks before.
fn head(tls: &mut Tls) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match tls.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

fn accept(door: &Door, config: &Arc<ServerConfig>) -> Tls {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).expect("a good configuration"), door.accept().0)
}

/// A server with `config` that answers each request on one connection with `answer`, then does what `end` does.
fn tls_server(
    config: Arc<ServerConfig>,
    answer: &'static str,
    end: impl FnOnce(Tls) + Send + 'static,
) -> (SocketAddr, JoinHandle<usize>) {
    serve(move |door| {
        let mut tls = accept(&door, &config);
        let mut answered = 0;
        while head(&mut tls).is_some() {
            tls.write_all(answer.as_bytes()).expect("the client reads");
            answered += 1;
            if !answer.contains("keep-alive") {
                break;
            }
        }
        end(tls);
        answered
    })
}

async fn get(wire: &HttpTransport, url: &str) -> Result<String, http_types::Error> {
    wire.send(Request::get(url)).await?.body_string().await
}

/// Why `wire` does not trust a server that shows `config`, called as `host`.
fn refusal(wire: &HttpTransport, host: &str, config: Arc<ServerConfig>) -> tls::Error {
    let (addr, server) = tls_server(config, "HTTP/1.1 204 Never\r\n\r\n", drop);
    let error = run(get(wire, &format!("https://{host}:{}/", addr.port()))).expect_err("it must not be trusted");
    assert_eq!(server.join().expect("the server's part"), 0, "a request was sent to a server not trusted");
    let Some(Error::Tls(refusal)) = Error::of(&error) else { panic!("{error:?}") };
    assert!(Error::of(&error).is_some_and(Error::is_before_sending));
    refusal.clone()
}

#[test]
fn a_server_with_the_right_certificate_is_trusted_and_its_connection_kept() {
    let authority = Authority::new("right");
    let config = authority.server("pi.example", |_| ());
    let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello";
    let (addr, server) = tls_server(config, answer, drop);
    run(async {
        let wire = authority.wire();
        for _ in 0..10 {
            let body = get(&wire, &format!("https://pi.example:{}/", addr.port())).await;
            assert_eq!(body.expect("trusted"), "hello");
            assert_eq!(wire.idle_connections(), 1);
        }
    });
    assert_eq!(server.join().expect("the server's part"), 10);
}

#[test]
fn a_producers_handshake_with_the_weather_api_may_take_longer_than_one_within_the_lan() {
    let authority = Authority::new("slow");
    let server = authority.server("127.0.0.1", |_| ());
    let (addr, server) = serve(move |door| {
        let mut tls = accept(&door, &server);
        std::thread::sleep(Duration::from_millis(1200)); // the fault: this server is slow
        assert!(head(&mut tls).is_some(), "the client has waited for the handshake");
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").expect("the client reads");
    });
    let mut config = Config::default();
    config.discovery.mdns = false;
    let host = Host::new(Service::named("producer"), config, Arc::default()).expect("a host");
    let client = host.outside_with(Duration::from_secs(5), Some(&authority.file)).expect("a certificate");
    let body = run(async {
        let mut request = Request::get(format!("https://{addr}/").as_str());
        request.ext_mut().insert(Deadline(std::time::Instant::now() + Duration::from_secs(5)));
        client.send(request).await?.body_string().await
    });
    assert_eq!(body.expect("an answer"), "hello");
    server.join().expect("the server's part");
}

#[test]
fn the_protocol_agreed_on_is_http_1_1() {
    let authority = Authority::new("alpn");
    let config = authority.server("pi.example", |_| ());
    let (agreed, wait) = std::sync::mpsc::channel();
    let (addr, server) = tls_server(config, "HTTP/1.1 204 No Content\r\n\r\n", move |tls| {
        agreed.send(tls.conn.alpn_protocol().map(<[u8]>::to_vec)).expect("the test waits");
    });
    run(get(&authority.wire(), &format!("https://pi.example:{}/", addr.port()))).expect("trusted");
    server.join().expect("the server's part");
    assert_eq!(wait.recv().expect("said"), Some(b"http/1.1".to_vec()));
}

#[test]
fn a_certificate_for_an_address_is_good_for_that_address() {
    let authority = Authority::new("address");
    let config = authority.server("127.0.0.1", |_| ());
    let (addr, server) = tls_server(config, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", drop);
    assert_eq!(run(get(&authority.wire(), &format!("https://{addr}/"))).expect("trusted"), "ok");
    server.join().expect("the server's part");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("name");
    let config = authority.server("other.example", |_| ());
    assert_eq!(refusal(&authority.wire(), "pi.example", config), tls::Error::WrongName("pi.example".into()));
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new("expired");
    let config = authority.server("pi.example", |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_eq!(refusal(&authority.wire(), "pi.example", config), tls::Error::Expired("pi.example".into()));
}

#[test]
fn a_certificate_of_the_future_is_refused() {
    let authority = Authority::new("future");
    let config = authority.server("pi.example", |params| params.not_before = date_time_ymd(4000, 1, 1));
    assert_eq!(refusal(&authority.wire(), "pi.example", config), tls::Error::NotValidYet("pi.example".into()));
}

#[test]
fn an_authority_that_is_not_in_the_ca_file_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let config = theirs.server("pi.example", |_| ());
    assert_eq!(refusal(&ours.wire(), "pi.example", config), tls::Error::UnknownAuthority("pi.example".into()));
}

#[test]
fn a_server_that_speaks_no_tls_is_said_to() {
    let authority = Authority::new("plain");
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = peer.0.read_to_end(&mut Vec::new());
    });
    let error = run(get(&authority.wire(), &format!("https://pi.example:{}/", addr.port()))).expect_err("no TLS");
    assert!(matches!(Error::of(&error), Some(Error::Tls(tls::Error::Handshake { .. }))), "{error:?}");
    server.join().expect("the server's part");
}

#[test]
fn the_deadline_covers_the_handshake() {
    let authority = Authority::new("silent");
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        let _ = peer.0.read_to_end(&mut Vec::new());
    });
    run(async {
        let mut request = Request::get(&*format!("https://pi.example:{}/", addr.port()));
        request.ext_mut().insert(Deadline(std::time::Instant::now() + Duration::from_millis(100)));
        let error = authority.wire().send(request).await.expect_err("a silent server");
        assert!(matches!(Error::of(&error), Some(Error::TimedOut { phase: Phase::Tls, .. })), "{error:?}");
    });
    server.join().expect("the server's part");
}

#[test]
fn a_whole_answer_needs_no_farewell() {
    let authority = Authority::new("farewell");
    let config = authority.server("pi.example", |_| ());
    // Dropped without close_notify.
    let (addr, server) = tls_server(config, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", drop);
    let body = run(get(&authority.wire(), &format!("https://pi.example:{}/", addr.port())));
    assert_eq!(body.expect("whole"), "hello");
    server.join().expect("the server's part");
}

#[test]
fn an_answer_whose_end_is_not_authenticated_is_refused() {
    let authority = Authority::new("cut");
    for (answer, close, expected) in [
        ("HTTP/1.1 200 OK\r\n\r\nhello", true, Some("hello")),
        ("HTTP/1.1 200 OK\r\n\r\nhello", false, None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", false, None),
    ] {
        let config = authority.server("pi.example", |_| ());
        let (addr, server) = tls_server(config, answer, move |mut tls| {
            if close {
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        });
        let body = run(get(&authority.wire(), &format!("https://pi.example:{}/", addr.port())));
        match (&body, expected) {
            (Ok(body), Some(expected)) => assert_eq!(body, expected),
            (Err(error), None) => assert!(Error::of(error).is_some_and(Error::is_closed), "{error:?}"),
            _ => panic!("{body:?} instead of {expected:?} for {answer:?}"),
        }
        server.join().expect("the server's part");
    }
}

#[test]
fn a_get_is_sent_once_more_when_the_server_says_farewell_under_it() {
    let authority = Authority::new("again");
    let config = authority.server("pi.example", |_| ());
    let (addr, server) = serve(move |door| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let mut first = accept(&door, &config);
        head(&mut first).expect("a request");
        first.write_all(answer).expect("read");
        head(&mut first).expect("a request on the kept connection");
        first.conn.send_close_notify();
        first.flush().expect("read");
        drop(first);
        let mut second = accept(&door, &config);
        head(&mut second).expect("the same request");
        second.write_all(answer).expect("read");
        let _ = head(&mut second);
    });
    run(async {
        let wire = authority.wire();
        for _ in 0..2 {
            let body = get(&wire, &format!("https://pi.example:{}/", addr.port())).await;
            assert_eq!(body.expect("an answer"), "ok");
        }
    });
    server.join().expect("the server's part");
}

#[test]
fn a_large_answer_comes_whole() {
    let authority = Authority::new("large");
    let config = authority.server("pi.example", |_| ());
    let (addr, server) = serve(move |door| {
        let mut tls = accept(&door, &config);
        head(&mut tls).expect("a request");
        let body = "0123456789".repeat(80_000);
        tls.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 800000\r\n\r\n{body}").as_bytes()).expect("read");
        let _ = head(&mut tls);
    });
    run(async {
        let wire = authority.wire();
        let body = get(&wire, &format!("https://pi.example:{}/", addr.port())).await.expect("an answer");
        assert!(body == "0123456789".repeat(80_000), "{} bytes", body.len());
        assert_eq!(wire.idle_connections(), 1);
    });
    server.join().expect("the server's part");
}

#[test]
fn a_useless_ca_file_is_an_error_at_the_start() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("bramble-tls-{}-empty.pem", std::process::id()));
    std::fs::write(&path, "no certificate in here\n").expect("a writable folder");
    let with = |path: PathBuf| HttpTransport::new(HttpTransportSettings { ca_file: Some(path), ..settings() }).err();
    assert_eq!(with(path.clone()), Some(tls::Error::Empty { path: path.clone() }));
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("writable");
    assert!(matches!(with(path.clone()), Some(tls::Error::Unreadable { .. })));
    std::fs::remove_file(&path).expect("the test's own file");
    let error = with(path.clone()).expect("gone");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}
