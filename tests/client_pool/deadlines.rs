//! Deadlines: no request waits for ever.

use std::io::Write;
use std::time::{Duration, Instant};

use bramble::internals::transport::client::{Error, HttpTransport, HttpTransportSettings, Phase};
use http_client::HttpClient;
use http_types::Method;

use crate::peer::{Door, run, serve};
use crate::{body_of, is_timeout, request, settings, silent, wire, within};

#[test]
fn the_deadline_covers_the_connection() {
    let (addr, _socket, _queue) = silent("127.0.0.1:0");
    run(async {
        let begin = Instant::now();
        let request = within(request(Method::Get, addr), Duration::from_millis(100));
        let error = wire().send(request).await.expect_err("no server accepts");
        assert!(is_timeout(&error, Phase::Connect), "{error:?}");
        assert!(Error::of(&error).is_some_and(Error::is_before_sending));
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    });
}

#[test]
fn so_does_the_connect_timeout_without_a_deadline() {
    let (addr, _socket, _queue) = silent("127.0.0.1:0");
    run(async {
        let begin = Instant::now();
        let wire =
            HttpTransport::new(HttpTransportSettings { connect_timeout: Duration::from_millis(100), ..settings() });
        let error = wire.expect("no CA file").send(request(Method::Get, addr)).await.expect_err("no server accepts");
        assert!(is_timeout(&error, Phase::Connect), "{error:?}");
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    });
}

#[test]
fn the_deadline_covers_the_body_however_slowly_it_drips() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while peer.0.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    run(async {
        let wire = wire();
        let begin = Instant::now();
        let request = within(request(Method::Get, addr), Duration::from_millis(200));
        let mut answer = wire.send(request).await.expect("a head");
        let error = answer.body_bytes().await.expect_err("too slow");
        assert!(is_timeout(&error, Phase::Body), "{error:?}");
        assert!((200..1000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
        assert_eq!(wire.idle_connections(), 0);
    });
    server.join().expect("the server's part");
}

#[test]
fn without_a_deadline_the_default_holds_and_later_exchanges_have_their_own() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        for _ in 0..3 {
            peer.head();
            peer.answer("quick");
            std::thread::sleep(Duration::from_millis(60));
        }
        peer.head();
        peer.sees_close();
    });
    run(async {
        let wire = HttpTransport::new(HttpTransportSettings { timeout: Duration::from_millis(100), ..settings() })
            .expect("no CA file");
        // Together longer than one deadline, on one connection.
        for _ in 0..3 {
            assert_eq!(body_of(&wire, addr).await, "quick");
            smol::Timer::after(Duration::from_millis(60)).await;
        }
        let begin = Instant::now();
        let error = wire.send(request(Method::Get, addr)).await.expect_err("no answer");
        assert!(is_timeout(&error, Phase::Head), "{error:?}");
        assert!((100..1000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}

#[test]
fn a_shorter_deadline_than_the_one_before_holds_on_the_same_connection() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        peer.head();
        peer.answer("quick");
        peer.head();
        peer.sees_close();
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "quick");
        let begin = Instant::now();
        let request = within(request(Method::Get, addr), Duration::from_millis(100));
        let error = wire.send(request).await.expect_err("no answer");
        assert!(is_timeout(&error, Phase::Head), "{error:?}");
        assert!((100..1000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    });
    server.join().expect("the server's part");
}

#[test]
fn a_deadline_that_has_passed_costs_no_connection() {
    let door = Door::new("127.0.0.1:0".parse().expect("an address"));
    run(async {
        let error = wire().send(within(request(Method::Get, door.addr()), Duration::ZERO)).await.expect_err("late");
        assert!(Error::of(&error).is_some_and(Error::is_timeout), "{error:?}");
    });
    assert!(door.try_accept().is_none());
}

#[test]
fn answers_without_a_body_give_their_connection_back_at_once() {
    let (addr, server) = serve(|door| {
        let mut peer = door.accept();
        for answer in [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            peer.head();
            peer.send(answer);
        }
        peer.sees_close();
        assert!(door.try_accept().is_none());
    });
    run(async {
        let wire = wire();
        for (method, status) in [(Method::Get, 204), (Method::Get, 304), (Method::Head, 200), (Method::Get, 200)] {
            let answer = wire.send(request(method, addr)).await.expect("an answer");
            assert_eq!(answer.status() as u16, status);
            assert_eq!(answer.len(), Some(0));
            assert_eq!(wire.idle_connections(), 1, "after {status} to {method}");
            assert!(answer.header("content-type").is_none(), "the server sent none");
        }
    });
    server.join().expect("the server's part");
}
