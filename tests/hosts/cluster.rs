//! Producers on hosts of their own, and on host 1 a consumer with a user that asks it all the time.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lan::{Lan, enter};
use crate::node::{Node, PATIENCE, get, until};

/// The user's question comes this often: light load.
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// The processes go before the LAN.
pub(crate) struct Cluster {
    pub(crate) consumer: Node,
    pub(crate) producers: Vec<Node>,
    upstream: Node,
    key_file: PathBuf,
    pub(crate) lan: Lan,
}

impl Cluster {
    /// Starts a producer on each of the hosts 2 to `producers` + 1, and waits until all of them are found.
    pub(crate) fn new(producers: u8) -> Self {
        Self::on(Lan::new(producers + 1), producers)
    }

    /// The same, while no other test has a LAN.
    pub(crate) fn alone(producers: u8) -> Self {
        Self::on(Lan::alone(producers + 1), producers)
    }

    fn on(lan: Lan, producers: u8) -> Self {
        let key_file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.key", lan.name(1)));
        std::fs::write(&key_file, "key").expect("the target folder is writable");
        let upstream = Node::start(&lan, 1, &["upstream-sim", "--listen", "0.0.0.0:0", "--key", "key"], &[]);
        let variables = [("BRAMBLE__CALL__FALLBACK", "fail-fast")];
        let consumer = Node::start(&lan, 1, &["consumer"], &variables);
        let mut cluster = Self { consumer, producers: Vec::new(), upstream, key_file, lan };
        for host in 2..=producers + 1 {
            let producer = cluster.start_producer(host);
            cluster.producers.push(producer);
        }
        cluster.until_found();
        cluster
    }

    pub(crate) fn start_producer(&self, host: u8) -> Node {
        self.start_producer_at(host, "0.0.0.0:0")
    }

    /// Starts a producer that listens at `listen`.
    pub(crate) fn start_producer_at(&self, host: u8, listen: &str) -> Node {
        let upstream = format!("http://{}", self.upstream.addr);
        let key_file = self.key_file.display().to_string();
        let variables =
            [("BRAMBLE__PRODUCER__UPSTREAM", upstream.as_str()), ("BRAMBLE__PRODUCER__API_KEY_FILE", &key_file)];
        Node::start(&self.lan, host, &["producer", "--listen", listen], &variables)
    }

    /// Waits until the consumer sees every producer, confirmed and no other.
    pub(crate) fn until_found(&self) -> Duration {
        self.until(*PATIENCE, |found| {
            let mut wanted: Vec<SocketAddr> = self.producers.iter().map(|one| one.addr).collect();
            let mut there: Vec<SocketAddr> = found.iter().map(|(addr, _)| *addr).collect();
            wanted.sort();
            there.sort();
            there == wanted && found.iter().all(|(_, standing)| standing == "confirmed")
        })
    }

    /// Waits until the producers the consumer sees, with their standing, are as `wanted`.
    pub(crate) fn until(&self, within: Duration, wanted: impl Fn(&[(SocketAddr, String)]) -> bool) -> Duration {
        until(&self.lan, &self.consumer, within, |view| wanted(&view.instances("producer")))
    }

    /// Waits until the consumer uses no instance at `addr` any more.
    pub(crate) fn until_gone(&self, addr: SocketAddr, within: Duration) -> Duration {
        self.until(within, |found| found.iter().all(|(there, _)| *there != addr))
    }

    /// Starts a user.
    pub(crate) fn user(&self) -> User {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.consumer.addr.port()));
        let (namespace, stop) = (self.lan.name(1), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let asking = thread::spawn(move || {
            enter(&namespace);
            let mut seen = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let asked_at = Instant::now();
                let zip = 10_000 + fastrand::u32(..80_000);
                let answer = get(addr, &format!("/api/weather?zip={zip}&country=DE"));
                // 404: the stand-in does not know every place. A producer has answered.
                let failed = match &answer {
                    Ok((200 | 404, _)) => None,
                    Ok((status, body)) => Some(format!("{status} {body}")),
                    Err(error) => Some(error.to_string()),
                };
                seen.push(Question { asked_at, answered_at: Instant::now(), failed });
                thread::sleep(ASKED_EVERY);
            }
            seen
        });
        User { stop, asking: Some(asking), began: Instant::now() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.key_file);
    }
}

/// A question of a user.
struct Question {
    asked_at: Instant,
    answered_at: Instant,
    /// Why it was not answered by a producer.
    failed: Option<String>,
}

/// A user that asks the consumer, one question after the other.
pub(crate) struct User {
    stop: Arc<AtomicBool>,
    asking: Option<JoinHandle<Vec<Question>>>,
    began: Instant,
}

impl User {
    /// Ends asking; fails if a question was not answered.
    pub(crate) fn was_always_answered(self) {
        self.fails_at_most(0.0);
    }

    /// Ends asking; fails if more than this share of the questions was not answered.
    pub(crate) fn fails_at_most(mut self, share: f64) {
        let seen = self.end();
        let failed: Vec<&String> = seen.iter().filter_map(|one| one.failed.as_ref()).collect();
        let (asked, took) = (seen.len(), self.began.elapsed());
        assert!(asked >= 5, "{asked} questions in {took:?} prove nothing");
        println!("{} of {asked} questions were not answered", failed.len());
        assert!(
            failed.len() as f64 <= share * asked as f64,
            "{} of {asked} questions failed: {failed:?}",
            failed.len()
        );
    }

    /// Goes on asking for 10 s after `healed`, and ends. How long after it a producer's answer came first, and the
    /// share of questions that were answered of those asked from 4 s after it on.
    pub(crate) fn recovered(mut self, healed: Instant) -> (Duration, f64) {
        thread::sleep((healed + Duration::from_secs(10)).saturating_duration_since(Instant::now()));
        let seen = self.end();
        let answered = seen.iter().filter(|one| one.failed.is_none() && one.answered_at > healed);
        let first = answered.map(|one| one.answered_at - healed).min().expect("a producer's answer");
        let later: Vec<_> = seen.iter().filter(|one| one.asked_at >= healed + Duration::from_secs(4)).collect();
        let good = later.iter().filter(|one| one.failed.is_none()).count();
        (first, good as f64 / later.len() as f64)
    }

    fn end(&mut self) -> Vec<Question> {
        self.stop.store(true, Ordering::Relaxed);
        let asking = self.asking.take();
        asking.map(|asking| asking.join().expect("the user does not panic")).unwrap_or_default()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.end();
    }
}
