//! Reuse of connections: which are kept, for how long, and for which request.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bramble::internals::transport::client::{Error, HttpTransport, HttpTransportSettings};
use http_client::HttpClient;
use http_types::Request;

use crate::peer::{Peer, run, serve};
use crate::{body_of, echo, settings, wire, within};

#[test]
fn a_hundred_requests_in_turn_use_one_connection() {
    let (addr, server) = serve(|door| echo(&door, 1, "hello"));
    run(async {
        let wire = wire();
        for _ in 0..100 {
            assert_eq!(body_of(&wire, addr).await, "hello");
            assert_eq!(wire.idle_connections(), 1);
        }
    });
    assert_eq!(server.join().expect("the server's part"), 100);
}

#[test]
fn also_when_each_comes_from_another_task_on_another_thread() {
    let (addr, server) = serve(|door| echo(&door, 1, "hello"));
    let wire = wire();
    for _ in 0..20 {
        let wire = wire.clone();
        std::thread::spawn(move || run(async move { assert_eq!(body_of(&wire, addr).await, "hello") }))
            .join()
            .expect("a caller's part");
    }
    drop(wire);
    assert_eq!(server.join().expect("the server's part"), 20);
}

#[test]
fn fifty_at_a_time_use_fifty_connections_and_few_are_kept() {
    let (addr, server) = serve(|door| {
        let mut peers: Vec<Peer> = (0..50).map(|_| door.accept()).collect();
        for peer in &mut peers {
            peer.head();
        }
        for peer in &mut peers {
            peer.answer("hello");
        }
        // All but the kept ones are closed.
        let mut kept: Vec<Peer> = Vec::new();
        for mut peer in peers {
            peer.0.set_read_timeout(Some(Duration::from_millis(300))).expect("not zero");
            match std::io::Read::read(&mut peer.0, &mut [0]) {
                Ok(0) => (),
                _ => kept.push(peer),
            }
        }
        assert!(door.try_accept().is_none());
        kept.len()
    });
    run(async {
        let wire =
            HttpTransport::new(HttpTransportSettings { max_idle_per_endpoint: 8, ..settings() }).expect("no CA file");
        let executor = smol::Executor::new();
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let wire = wire.clone();
                executor.spawn(async move { body_of(&wire, addr).await })
            })
            .collect();
        executor
            .run(async {
                for call in calls {
                    assert_eq!(call.await, "hello");
                }
            })
            .await;
        assert_eq!(wire.idle_connections(), 8);
        let kept = smol::unblock(move || server.join().expect("the server's part")).await;
        assert_eq!(kept, 8);
    });
}

/// Answers each request with its own path, in its own time and shape, until the client closes.
fn mirror(mut peer: Peer) {
    while let Some(head) = peer.try_head() {
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        let n: usize = path.rsplit('/').next().and_then(|n| n.parse().ok()).expect("a number at its end");
        if n % 7 == 0 {
            std::thread::sleep(Duration::from_millis(30)); // beyond the client's patience
        }
        let filler = ".".repeat([0, 10, 5_000, 100_000][n % 4]);
        let body = format!("{path}{filler}");
        let answer = match n % 3 {
            0 => {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
            _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        };
        let (begin, end) = answer.split_at(answer.len() / (1 + n % 2));
        if peer.0.write_all(begin.as_bytes()).and_then(|()| peer.0.write_all(end.as_bytes())).is_err() || n % 31 == 0 {
            return;
        }
    }
}

/// Calls one after the other, each with a path of its own; returns how many were answered and how many were late.
async fn calls(wire: HttpTransport, addr: SocketAddr, task: usize) -> (usize, usize) {
    let (mut answered, mut late) = (0, 0);
    for n in 1..=100 {
        let path = format!("/{task}/{n}");
        let get = Request::get(&*format!("http://{addr}{path}"));
        let time = Duration::from_millis(if n % 7 == 0 { 10 } else { 5_000 });
        let outcome = async { wire.send(within(get, time)).await?.body_string().await }.await;
        match outcome {
            Ok(body) => {
                assert_eq!(body.trim_end_matches('.'), path, "the answer to another request");
                answered += 1;
            }
            Err(error) => {
                assert!(n % 7 == 0 && Error::of(&error).is_some_and(Error::is_timeout), "{path}: {error:?}");
                late += 1;
            }
        }
    }
    (answered, late)
}

#[test]
fn among_slow_answers_large_ones_and_closing_servers_everyone_gets_the_own_answer() {
    const TASKS: usize = 16;
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let (addr, server) = serve(move |door| {
        let mut peers = Vec::new();
        loop {
            let peer = door.accept();
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            peers.push(std::thread::spawn(move || mirror(peer)));
        }
        for peer in peers {
            peer.join().expect("a connection's part");
        }
    });
    let wire = wire();
    let executor = Arc::new(smol::Executor::new());
    // Two threads, so that a connection changes tasks and threads.
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
            std::thread::spawn(move || smol::block_on(executor.run(stopped.recv())).is_err())
        })
        .collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let wire = wire.clone();
            executor.spawn(calls(wire, addr, task))
        })
        .collect();
    let (mut answered, mut late) = (0, 0);
    run(async {
        for task in tasks {
            let (more, later) = task.await;
            answered += more;
            late += later;
        }
    });
    drop(stop);
    for thread in threads {
        assert!(thread.join().expect("an executor's part"), "stopped by the end of the channel");
    }
    drop(wire);
    over.store(true, Ordering::SeqCst);
    drop(std::net::TcpStream::connect(addr).expect("the server is there"));
    server.join().expect("the server's part");
    // An answer that is there already when the late caller looks is taken.
    assert!(answered + late == TASKS * 100 && late > 0, "{answered} answered, {late} late");
}

#[test]
fn a_connection_idle_for_too_long_is_not_used_again() {
    let (addr, server) = serve(|door| echo(&door, 2, "hello"));
    run(async {
        let wire = HttpTransport::new(HttpTransportSettings { idle_timeout: Duration::from_millis(50), ..settings() })
            .expect("no CA file");
        assert_eq!(body_of(&wire, addr).await, "hello");
        smol::Timer::after(Duration::from_millis(60)).await;
        assert_eq!(wire.idle_connections(), 1);
        assert_eq!(body_of(&wire, addr).await, "hello");
        assert_eq!(wire.idle_connections(), 1);
    });
    server.join().expect("the server's part");
}

#[test]
fn a_sweep_closes_what_is_too_old_or_was_closed_and_keeps_the_rest() {
    let (old_addr, old) = serve(|door| echo(&door, 1, "old"));
    let (kept, wait_for_kept) = mpsc::channel();
    let (gone, wait) = mpsc::channel();
    let (closing_addr, closing) = serve(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.answer("closing");
        wait_for_kept.recv().expect("the client goes on");
        drop(peer);
        gone.send(()).expect("the client waits");
    });
    let (young_addr, young) = serve(|door| echo(&door, 1, "young"));
    run(async {
        let wire = HttpTransport::new(HttpTransportSettings { idle_timeout: Duration::from_millis(800), ..settings() })
            .expect("no CA file");
        assert_eq!(body_of(&wire, old_addr).await, "old");
        smol::Timer::after(Duration::from_millis(810)).await;
        assert_eq!(body_of(&wire, closing_addr).await, "closing");
        assert_eq!(body_of(&wire, young_addr).await, "young");
        assert_eq!(wire.idle_connections(), 3);
        kept.send(()).expect("the server waits");
        wait.recv().expect("the server closes");
        assert_eq!(wire.sweep(), 1);
        assert_eq!(body_of(&wire, young_addr).await, "young");
    });
    for server in [old, young] {
        server.join().expect("a server's part");
    }
    closing.join().expect("the server's part");
}

#[test]
fn a_tidied_wire_closes_idle_connections_while_no_request_runs() {
    let (addr, server) = serve(|door| echo(&door, 1, "hello"));
    run(async {
        let wire = HttpTransport::new(HttpTransportSettings { idle_timeout: Duration::from_millis(50), ..settings() })
            .expect("no CA file");
        let tidy = async {
            wire.clone().close_idle().await;
        };
        smol::future::or(tidy, async {
            assert_eq!(body_of(&wire, addr).await, "hello");
            smol::unblock(move || server.join().expect("the server sees the connection closed")).await;
            assert_eq!(wire.idle_connections(), 0);
        })
        .await;
    });
}

#[test]
fn a_server_that_says_close_is_believed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nok",
    ] {
        let (addr, server) = serve(move |door| {
            let mut peer = door.accept();
            peer.head();
            peer.send(answer);
            let _ = peer.0.shutdown(std::net::Shutdown::Write);
            peer.sees_close();
        });
        run(async {
            let wire = wire();
            assert_eq!(body_of(&wire, addr).await, "ok", "{answer:?}");
            assert_eq!(wire.idle_connections(), 0, "{answer:?}");
        });
        server.join().expect("the server's part");
    }
}
