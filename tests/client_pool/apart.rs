//! No answer reaches another's caller, and nothing is sent twice that may count twice.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use bramble::internals::transport::client::Phase;
use http_client::HttpClient;
use http_types::Method;

use crate::peer::{Peer, run, serve};
use crate::{body_of, failure, is_timeout, request, wire, within};

#[test]
fn the_late_answer_of_one_request_never_reaches_the_next_caller() {
    let (timed_out, wait) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut first = door.accept();
        first.head();
        wait.recv().expect("the client goes on");
        let _ = first.0.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        let mut second = door.accept();
        second.head();
        second.answer("right");
    });
    run(async {
        let wire = wire();
        let error = wire.send(within(request(Method::Get, addr), Duration::from_millis(50))).await.expect_err("late");
        assert!(is_timeout(&error, Phase::Head), "{error:?}");
        assert_eq!(error.status(), 504);
        assert_eq!(wire.idle_connections(), 0);
        timed_out.send(()).expect("the server waits");
        assert_eq!(body_of(&wire, addr).await, "right");
    });
    server.join().expect("the server's part");
}

#[test]
fn a_connection_whose_body_was_not_read_is_closed() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", "x".repeat(100_000)));
        first.sees_close();
        let mut second = door.accept();
        second.head();
        second.answer("right");
    });
    run(async {
        let wire = wire();
        let unread = wire.send(request(Method::Get, addr)).await.expect("a head");
        assert_eq!(unread.len(), Some(300_000));
        drop(unread);
        assert_eq!(wire.idle_connections(), 0);
        assert_eq!(body_of(&wire, addr).await, "right");
    });
    server.join().expect("the server's part");
}

#[test]
fn a_call_that_is_cancelled_closes_its_connection() {
    let (arrived, wait) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        arrived.send(()).expect("the client waits");
        peer.sees_close();
    });
    run(async {
        let wire = wire();
        let call = wire.send(request(Method::Get, addr));
        let arrival = smol::unblock(move || wait.recv().expect("the request arrives"));
        let cancelled = smol::future::or(async { Some(call.await) }, async {
            arrival.await;
            None
        });
        assert!(cancelled.await.is_none());
        assert_eq!(wire.idle_connections(), 0);
    });
    server.join().expect("the server's part");
}

/// The server closes the idle connection; `method` must work on a new one as if nothing had been.
fn closed_while_idle(method: Method) {
    let (kept, wait_for_kept) = mpsc::channel();
    let (closed, wait) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        wait_for_kept.recv().expect("the client goes on");
        drop(first);
        closed.send(()).expect("the client waits");
        let mut second = door.accept();
        assert!(second.head().starts_with(method.as_ref()));
        second.answer("two");
        drop(second);
        assert!(door.try_accept().is_none());
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(wire.idle_connections(), 1);
        kept.send(()).expect("the server waits");
        wait.recv().expect("the server closes");
        let mut answer = wire.send(request(method, addr)).await.expect("a new connection");
        assert_eq!(answer.body_string().await.expect("a body"), "two");
    });
    server.join().expect("the server's part");
}

#[test]
fn an_idle_connection_closed_by_the_server_is_replaced_unnoticed() {
    closed_while_idle(Method::Get);
}

#[test]
fn even_for_a_post_because_nothing_was_sent_on_it() {
    closed_while_idle(Method::Post);
}

#[test]
fn a_get_is_sent_once_more_when_a_kept_connection_breaks_under_it() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        first.head();
        drop(first);
        let mut second = door.accept();
        second.head();
        second.answer("two");
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(body_of(&wire, addr).await, "two");
    });
    server.join().expect("the server's part");
}

/// A second request on a connection that `ends` after it: it fails, and no other connection is made.
fn fails_after_one_answer(method: Method, ends: fn(Peer)) {
    let (addr, server) = serve(move |door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        first.head();
        ends(first);
        door
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert!(failure(&wire, request(method, addr)).await.starts_with("Closed"));
    });
    assert!(server.join().expect("the server's part").try_accept().is_none(), "it was sent again");
}

#[test]
fn but_not_twice_and_not_on_a_new_connection() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        first.head();
        drop(first);
        let mut second = door.accept();
        second.head();
        drop(second);
        door
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert!(failure(&wire, request(Method::Get, addr)).await.starts_with("Closed"));
    });
    assert!(server.join().expect("the server's part").try_accept().is_none(), "a third try");
}

#[test]
fn a_post_is_never_sent_twice() {
    fails_after_one_answer(Method::Post, drop);
}

#[test]
fn a_get_whose_answer_has_begun_is_not_sent_again() {
    fails_after_one_answer(Method::Get, |mut peer| peer.send("HTTP/1.1 2"));
}

#[test]
fn a_second_answer_to_one_request_is_thrown_away_with_its_connection() {
    let (addr, server) = serve(|door| {
        let mut first = door.accept();
        first.head();
        first.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
        first.sees_close();
        let mut second = door.accept();
        second.head();
        second.answer("two");
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(wire.idle_connections(), 0);
        assert_eq!(body_of(&wire, addr).await, "two");
    });
    server.join().expect("the server's part");
}

#[test]
fn an_answer_sent_while_no_request_runs_is_thrown_away_with_its_connection() {
    let (asked, wait) = mpsc::channel();
    let (done, sent) = mpsc::channel();
    let (addr, server) = serve(move |door| {
        let mut first = door.accept();
        first.head();
        first.answer("one");
        wait.recv().expect("the client goes on");
        first.answer("wrong");
        done.send(()).expect("the client waits");
        let mut second = door.accept();
        second.head();
        second.answer("two");
    });
    run(async {
        let wire = wire();
        assert_eq!(body_of(&wire, addr).await, "one");
        assert_eq!(wire.idle_connections(), 1);
        asked.send(()).expect("the server waits");
        sent.recv().expect("the server sends");
        assert_eq!(body_of(&wire, addr).await, "two");
    });
    server.join().expect("the server's part");
}
