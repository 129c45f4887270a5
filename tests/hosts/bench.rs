//! `cargo xtask bench discovery`: how long it takes until others know, and what knowing costs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::life::{found_within, gone_after};
use crate::node::PATIENCE;

const RUNS: usize = 30;

#[test]
#[ignore = "a bench of some minutes, not a test"]
fn table() {
    let mut cluster = Cluster::new(3);
    let idle = idle(&cluster);
    let (mut found, mut gone, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        found.push(found_within(&mut cluster));
        gone.push(gone_after(&mut cluster, "TERM", *PATIENCE));
    }
    // A dead one is noticed by its callers.
    let user = cluster.user();
    for _ in 0..RUNS {
        found_within(&mut cluster);
        dead.push(gone_after(&mut cluster, "KILL", *PATIENCE));
    }
    user.was_always_answered();
    println!("\n{:<34} {:>8} {:>8} {:>8}   Eureka's defaults", "what others need to know it", "p50", "p95", "max");
    row("started", &mut found, "up to 90 s");
    row("ended by SIGTERM", &mut gone, "up to 60 s");
    row("killed, under light load", &mut dead, "150 to 330 s; with 6 instances or fewer, never");
    println!("{RUNS} runs each, on virtual hosts. Eureka: registration and renewal every 30 s, response cache 30 s,");
    println!("client's fetch 30 s (new: their sum; ended: cache and fetch); lease 90 s counted twice, eviction every");
    println!("60 s, and self-preservation stops eviction when fewer than 85 % renew.\n{idle}");
}

fn row(what: &str, times: &mut [Duration], eureka: &str) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1].as_secs_f64();
    println!("{what:<34} {:>6.2} s {:>6.2} s {:>6.2} s   {eureka}", at(50), at(95), at(100));
}

/// Memory and wake-ups of a consumer with three producers, without requests.
fn idle(cluster: &Cluster) -> String {
    sleep(Duration::from_secs(5));
    let (began, before) = (Instant::now(), cluster.consumer.sleeps());
    sleep(Duration::from_secs(30));
    let wakes = (cluster.consumer.sleeps() - before) as f64 / began.elapsed().as_secs_f64();
    let megabytes = cluster.consumer.resident_kb() as f64 / 1024.0;
    format!("idle: {megabytes:.1} MB resident, {wakes:.1} wake-ups a second")
}
