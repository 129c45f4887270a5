//! Asks by TCP whether an instance is there: what mDNS no longer tells of may live, and what it tells of may be dead.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::Async;
use async_lock::Semaphore;
use futures_lite::FutureExt as _;
use smol::{Executor, Timer};

use super::Directory;
use super::known::Probed;

/// Connections that are tried at the same time: a shelf of Pis without power is asked within seconds, with few sockets.
const AT_ONCE: usize = 32;
/// A LAN answers within milliseconds; the second SYN goes out after one second, and may be the one that arrives.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Asks whoever `directory` doubts, for as long as it is polled.
pub(super) async fn keep_asking(directory: &Directory) {
    let seats = Arc::new(Semaphore::new(AT_ONCE));
    let tasks: Executor<'static> = Executor::new();
    let ask = async {
        loop {
            let more = directory.doubted();
            for (key, addr) in directory.due(Instant::now()) {
                let seat = seats.acquire_arc().await;
                let directory = directory.clone();
                let question = async move {
                    let answer = connect(addr).await;
                    drop(seat);
                    directory.probed(&key, answer, Instant::now());
                };
                tasks.spawn(question).detach();
            }
            let next = async {
                match directory.next_due() {
                    Some(at) => drop(Timer::at(at).await),
                    None => std::future::pending().await,
                }
            };
            more.or(next).await;
        }
    };
    tasks.run(ask).await;
}

/// Opens a connection and closes it again.
async fn connect(addr: SocketAddr) -> Probed {
    let answer = async { Some(Async::<TcpStream>::connect(addr).await) };
    let late = async {
        Timer::after(PATIENCE).await;
        None
    };
    match answer.or(late).await {
        Some(Ok(_)) => Probed::Accepted,
        Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Probed::Refused,
        Some(Err(_)) | None => Probed::Silent,
    }
}
