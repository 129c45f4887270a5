//! `bramble health`: whether the service on this machine is alive, for the health check of a container and for scripts.
//! An image from scratch has no curl, and a check that runs every few seconds must cost next to nothing: one blocking
//! socket, no executor, no discovery.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bramble::config::Config;
use bramble::discovery::dns::Resolver;
use surf::Url;

use crate::Failure;
use crate::args::Health;
use crate::roles::PROGRAM;

/// Bytes that are read of an answer at most; that of `/healthz` has a tenth of it.
const MOST: u64 = 4096;
const ALIVE: &str = "/healthz";

pub(crate) fn run(options: &Health) -> Result<(), Failure> {
    // Never exit code 2: Docker reserves it, and a check that cannot be made is a failed check.
    let said = check(options).map_err(Failure::Running)?;
    let printed = writeln!(io::stdout(), "{said}");
    printed.map_err(|error| Failure::Running(format!("standard output: {error}")))
}

fn check(options: &Health) -> Result<String, String> {
    let timeout = options.timeout;
    if let Some(port) = options.port {
        return asked(&Place::here(port), timeout);
    }
    match options.what.as_deref() {
        Some(url) if url.contains("://") => asked(&Place::of_url(url, timeout)?, timeout),
        what => one_of(&configured(what, &load(options)?)?, timeout),
    }
}

fn load(options: &Health) -> Result<Config, String> {
    options.settings.load(&PROGRAM, Vec::new()).map_err(Failure::into_sentence)
}

/// Where and what to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    addr: SocketAddr,
    path: String,
}

impl Place {
    /// On loopback.
    fn here(port: u16) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// URL of the service that listens at `addr`: on loopback if it listens everywhere.
    fn at(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self { addr: SocketAddr::new(ip, addr.port()), path: ALIVE.into() }
    }

    fn of_url(text: &str, timeout: Duration) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text}: {why}; write http://HOST:PORT");
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        let host = url.host_str().filter(|_| url.scheme() == "http").ok_or_else(|| wrong("not a URL to ask"))?;
        let found = smol::block_on(Resolver::from_system().lookup(host, Instant::now() + timeout));
        let ip = *found.map_err(|error| error.to_string())?.addrs.first().ok_or_else(|| wrong("no address"))?;
        let path = if url.path() == "/" { ALIVE } else { url.path() };
        Ok(Self { addr: SocketAddr::new(ip, url.port().unwrap_or(80)), path: path.into() })
    }
}

/// Where `what` serves by its settings. Without a role: where any may serve.
fn configured(what: Option<&str>, config: &Config) -> Result<Vec<Place>, String> {
    let producer = bramble_producer::SERVICE;
    let (consumer, registry) = (bramble_consumer::service(config), bramble_registry::service(config));
    let services = match what {
        None => vec![producer, consumer, registry],
        Some("producer") => vec![producer],
        Some("consumer") => vec![consumer],
        Some("registry") => vec![registry],
        Some("upstream-sim") => vec![bramble_upstream_sim::SERVICE],
        Some(other) => {
            return Err(format!(
                "no fixed port is known of {other}: write producer, consumer, registry or http://HOST:PORT"
            ));
        }
    };
    let mut places: Vec<Place> = Vec::new();
    for addr in services.iter().map(|service| service.listen_addr(config)).filter(|addr| addr.port() != 0) {
        let place = Place::at(addr);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() {
        return Err("the service takes any free port, so it cannot be found: set [server] listen \
             (BRAMBLE__SERVER__LISTEN=0.0.0.0:8080), or say --port PORT"
            .into());
    }
    Ok(places)
}

/// Asks each place. A place where no service listens is skipped, for another role may run instead; each service that
/// does listen must be healthy.
fn one_of(places: &[Place], timeout: Duration) -> Result<String, String> {
    let mut told = Vec::new();
    for place in places {
        match ask(place, timeout) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            answer => told.push(judged(place, answer)?),
        }
    }
    if told.is_empty() {
        let at: Vec<String> = places.iter().map(|place| place.addr.to_string()).collect();
        return Err(not_listening(&at.join(" or ")));
    }
    Ok(told.join("; "))
}

fn asked(place: &Place, timeout: Duration) -> Result<String, String> {
    judged(place, ask(place, timeout))
}

fn not_listening(addr: &str) -> String {
    format!("no service listens at {addr}; is it running, and is that its port?")
}

/// Sentence for an answer: `Ok` if the service is healthy.
fn judged(place: &Place, answer: io::Result<(u16, String)>) -> Result<String, String> {
    let Place { addr, path } = place;
    match answer {
        Ok((200, body)) => {
            let id = serde_json::from_str::<serde_json::Value>(&body).ok();
            let id = id.as_ref().and_then(|told| told["id"].as_str()).unwrap_or("the service");
            Ok(format!("{id} at {addr} is well"))
        }
        Ok((status, _)) => Err(format!("{addr} answered {status} to {path}; its log says why")),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused => not_listening(&addr.to_string()),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                format!("{addr} did not answer in time; it hangs, or the machine is overloaded")
            }
            _ => format!("{addr} could not be asked: {error}"),
        }),
    }
}

/// Status and body of a GET, whole within `timeout`.
fn ask(place: &Place, timeout: Duration) -> io::Result<(u16, String)> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&place.addr, timeout)?;
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    stream.set_write_timeout(Some(left()?))?;
    let Place { addr, path } = place;
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nuser-agent: bramble-health\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while (answer.len() as u64) < MOST {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let (status, body) =
        status.zip(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "what it says is not HTTP; is another program at that port?")
        })?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: Option<&str>) -> Config {
        let mut config = Config::default();
        config.server.listen = listen.map(|addr| addr.parse().expect("an address"));
        config
    }

    fn addrs(what: Option<&str>, listen: Option<&str>) -> Result<Vec<String>, String> {
        Ok(configured(what, &config(listen))?.iter().map(|place| place.addr.to_string()).collect())
    }

    #[test]
    fn a_service_that_listens_everywhere_is_asked_on_loopback() {
        assert_eq!(addrs(None, Some("0.0.0.0:8080")).as_deref(), Ok(&["127.0.0.1:8080".to_owned()][..]));
        assert_eq!(addrs(None, Some("[::]:8080")).as_deref(), Ok(&["[::1]:8080".to_owned()][..]));
        assert_eq!(addrs(Some("producer"), Some("10.0.9.3:1")).as_deref(), Ok(&["10.0.9.3:1".to_owned()][..]));
    }

    #[test]
    fn without_a_word_each_port_that_is_known_is_asked() {
        assert_eq!(addrs(None, None).as_deref(), Ok(&["127.0.0.1:8088".to_owned(), "127.0.0.1:8761".to_owned()][..]));
        assert_eq!(addrs(Some("registry"), None).as_deref(), Ok(&["127.0.0.1:8761".to_owned()][..]));
    }

    #[test]
    fn a_producer_at_any_port_cannot_be_found_and_the_sentence_says_what_to_set() {
        let error = addrs(Some("producer"), None).expect_err("no port");
        assert!(error.contains("BRAMBLE__SERVER__LISTEN") && error.contains("--port"), "{error}");
    }

    #[test]
    fn a_url_is_asked_for_health_unless_it_has_a_path() {
        let timeout = Duration::from_secs(1);
        let place = |url| Place::of_url(url, timeout).map(|place| format!("{} {}", place.addr, place.path));
        assert_eq!(place("http://localhost:81").as_deref(), Ok("127.0.0.1:81 /healthz"));
        assert_eq!(place("http://[::1]/readyz").as_deref(), Ok("[::1]:80 /readyz"));
        assert!(place("https://localhost:81").is_err_and(|said| said.contains("write http://HOST:PORT")));
    }
}
