//! Health of a service as its surroundings see it: `bramble health` as the health check of a container runs it, the end
//! that SIGTERM begins, and the messages to systemd.

mod support {
    pub(crate) mod bramble;
    pub(crate) mod patience;
    pub(crate) mod redis_server;
    pub(crate) mod until;
}

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::bramble::Service;

/// `bramble health WORDS` with these variables.
fn health(words: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bramble"));
    command.arg("health").args(words).envs(settings.iter().copied());
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let said = String::from_utf8(if status.success() { stdout } else { stderr }).expect("text");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    (status.code(), said.trim_end().to_owned())
}

#[test]
fn a_service_that_answers_is_well_however_it_is_named() {
    let consumer = Service::start(&["consumer"], &[]);
    let (addr, port) = (consumer.addr().to_string(), consumer.addr().port().to_string());
    let everywhere = format!("0.0.0.0:{port}");
    let url = format!("http://localhost:{port}/readyz");
    let listens = [("BRAMBLE__SERVER__LISTEN", everywhere.as_str())];
    let ways = [health(&["--port", &port], &[]), health(&[&url], &[]), health(&[], &listens)];
    for (code, said) in ways {
        assert!(said.starts_with("consumer-") && said.ends_with(&format!(" at {addr} is well")), "{said}");
        assert_eq!(code, Some(0));
    }
}

#[test]
fn the_check_fails_where_no_service_listens_and_says_so() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let (code, said) = health(&["--port", &port.to_string()], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("no service listens at 127.0.0.1:{port}")), "{said}");
}

#[test]
fn a_service_that_accepts_but_never_answers_fails_the_check_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port().to_string();
    let started = Instant::now();
    let (code, said) = health(&["--port", &port, "--timeout", "300ms"], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("did not answer in time"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn a_wrong_answer_and_no_answer_of_http_fail_the_check() {
    for (answer, sentence) in [
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "answered 503 to /healthz"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "is not HTTP"),
    ] {
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = other.local_addr().expect("bound").port().to_string();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().expect("asked");
            stream.write_all(answer.as_bytes()).expect("answered");
            // Closed only after what it was asked has been read, or the close would throw its answer away.
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).expect("asked");
        });
        let (code, said) = health(&["--port", &port], &[]);
        answering.join().expect("no panic");
        assert_eq!(code, Some(1));
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn what_cannot_be_asked_is_a_failed_check_too() {
    for words in [&["producer"][..], &["gateway"], &["--config", "/nonexistent/bramble.toml"], &["ftp://localhost:1"]] {
        assert_eq!(health(words, &[]).0, Some(1), "{words:?}");
    }
}

/// Body of `/readyz`, unless the service has just ended.
fn readyz(addr: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn systemd_is_told_when_it_serves_that_it_lives_and_that_it_ends() {
    let path = std::env::temp_dir().join(format!("bramble-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&path); // of a run that was killed
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a valid time");
    let receive = || {
        let mut buffer = [0; 256];
        loop {
            match manager.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {} // by a signal to this process
                received => return received.map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()),
            }
        }
    };
    let heard = || receive().expect("it says something");
    let path = path.to_str().expect("text").to_owned();
    let mut consumer = Service::start(&["consumer"], &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "200000")]);
    assert_eq!(heard(), format!("READY=1\nSTATUS=serving at http://{}", consumer.addr()));
    assert_eq!([heard(), heard(), heard()], ["WATCHDOG=1"; 3]);
    consumer.signal("STOP"); // a process that hangs
    manager.set_read_timeout(Some(Duration::from_secs(1))).expect("a valid time");
    assert!((0..5).any(|_| receive().is_err()), "it gives no sign of life");
    manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a valid time");
    consumer.signal("CONT");
    assert_eq!(heard(), "WATCHDOG=1");
    consumer.signal("TERM");
    let news = std::iter::repeat_with(heard).find(|said| said != "WATCHDOG=1").expect("endless");
    assert!(news.starts_with("STOPPING=1\nSTATUS=ending"), "{news}");
    assert!(consumer.ends().success());
    std::fs::remove_file(path).expect("the test's own");
}

#[test]
fn a_service_told_to_end_says_so_and_serves_on_while_a_name_may_still_lead_to_it() {
    serves_on_after(&["TERM"]);
    serves_on_after(&["HUP"]);
}

#[test]
fn a_signal_that_comes_twice_at_once_as_from_timeout_counts_as_one() {
    serves_on_after(&["TERM", "TERM"]);
}

fn serves_on_after(signals: &[&str]) {
    let consumer = Service::start(&["consumer"], &[]);
    let (_, instances) = consumer.get("/instances");
    assert!(instances.contains("off: [discovery] mdns is false"), "{instances}");
    assert_eq!(consumer.get("/readyz").0, 200);
    let told = Instant::now();
    signals.iter().for_each(|signal| consumer.signal(signal));
    let addr = consumer.addr();
    let mut drained = false;
    while TcpStream::connect(addr).is_ok() {
        drained |= readyz(addr).is_some_and(|head| head.starts_with("HTTP/1.1 503"));
        assert!(told.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(drained, "it says that it is draining");
    assert!(told.elapsed() > Duration::from_millis(1400), "it served on for {:?}", told.elapsed());
}
