//! Callers of an overloaded server, each with a time of its own to wait: Bramble's client with its defaults, and the
//! simplest client as a baseline, at a server of its own each, in the same run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bramble::client::Client;
use bramble::config::Config;
use bramble::discovery::{Directory, ServiceFilter, fixed};

use crate::support::round_robin::RoundRobin;
use crate::{app, goodput, server};

const PATH: &str = "/serial";
const LONG: Duration = Duration::from_secs(15);

/// A client that knows the server as `slow`.
fn client(addr: SocketAddr) -> Client {
    let directory = Directory::new(ServiceFilter::None, Instant::now());
    fixed::fill(&directory, &[("slow".to_owned(), vec![addr])].into(), Instant::now());
    Client::new(Config::default(), directory)
}

async fn ask(client: Client) -> u16 {
    let patience = Duration::from_millis(fastrand::u64(1000..=3000));
    let answer = client.get("slow", PATH).within(patience).send().await;
    answer.map_or(0, |answer| answer.status)
}

#[test]
fn through_the_client_an_overloaded_service_does_most_of_what_it_can_and_all_once_the_load_has_fallen() {
    let one_at_a_time = || {
        let runs = Arc::new(AtomicUsize::new(0));
        server(1, app(&runs), runs)
    };
    let (server, other) = (one_at_a_time(), one_at_a_time());
    let plain = Arc::new(RoundRobin::new(&[other.addr]));
    let baseline = std::thread::spawn(move || {
        let ask = move || {
            let plain = Arc::clone(&plain);
            smol::unblock(move || plain.get(PATH).map_or(0, |(status, _)| status))
        };
        goodput(ask, LONG)
    });
    let client = client(server.addr);
    let ours = goodput(move || ask(client.clone()), LONG);
    let plain = baseline.join().expect("no panic");
    let told = |[more, much, after]: [f64; 3]| {
        format!("{more:.0} % of capacity at 1.3 times the load, {much:.0} % at twice, {after:.0} % of calls afterwards")
    };
    let (ours_told, plain_told) = (told(ours), told(plain));
    println!("overload, client: {ours_told}\noverload, round robin: {plain_told}");
    let [more, much, after] = ours;
    assert!(more >= 80.0 && much >= 80.0 && after >= 95.0, "{ours_told}");
    assert!(ours.iter().zip(plain).all(|(ours, plain)| *ours >= plain - 1.0), "{ours_told}; baseline {plain_told}");
}
