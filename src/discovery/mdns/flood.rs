//! How much the library remembers. It keeps a record of whatever anyone sends, and timers for each, until they expire,
//! which may be in a lifetime. Memory that grows so is given back by ending it.

use std::time::{Duration, Instant};

use crate::timeout::timeout;
use mdns_sd::{Metrics, ServiceDaemon};
use smol::Timer;

/// Timers that are fine, of 16 bytes each: a thousand instances that are asked every five minutes come to half of it.
const MAX_TIMERS: i64 = 131_072;
/// Records that are fine whatever they are about; the library also keeps some that other devices' answers contain. One
/// takes about 1.4 kB with all that leads to it.
const RECORDS: i64 = 1_024;
/// Records that are fine besides, of each instance in use: it has five to seven.
const RECORDS_EACH: i64 = 8;
/// At 5,000 records a second, which a flood on a Pi's network easily reaches, this is some 7 MB.
const EVERY: Duration = Duration::from_secs(1);
/// While it grows quickly.
const OFTEN: Duration = Duration::from_millis(200);
/// Growth between two looks that calls for a closer one.
const QUICK: i64 = 2_048;
/// A daemon that does not answer for so long has more packets to read than it can.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Resolves when `daemon` remembers more than is fine for as many instances as `in_use` says; says what there was.
/// Looks closely from the beginning if it `is_likely`, since there has been a flood lately.
pub(super) async fn too_much(daemon: &ServiceDaemon, in_use: impl Fn() -> usize, is_likely: bool) -> String {
    let mut before = 0;
    loop {
        let size = match size(daemon).await {
            Some((timers, records)) if timers > MAX_TIMERS || records > max_records(in_use()) => {
                return format!("{timers} timers and {records} records");
            }
            Some((timers, records)) => timers + records,
            None => before,
        };
        let pause = if is_likely || size - before > QUICK { OFTEN } else { EVERY };
        before = size;
        Timer::after(pause).await;
    }
}

/// Timers and records; None if there is no answer.
async fn size(daemon: &ServiceDaemon) -> Option<(i64, i64)> {
    let asked = Instant::now();
    let answer = daemon.get_metrics().ok()?;
    let answered = timeout(ANSWERS_WITHIN, answer.recv_async()).await;
    if answered.is_none() {
        log::error!("mDNS has not answered for {:?}: it gets more packets than it can read", asked.elapsed());
    }
    answered?.ok().map(|metrics| count(&metrics))
}

fn max_records(in_use: usize) -> i64 {
    RECORDS + RECORDS_EACH * i64::try_from(in_use).unwrap_or(i64::MAX / RECORDS_EACH / 2)
}

fn count(metrics: &Metrics) -> (i64, i64) {
    let timers = metrics.get("timer").copied().unwrap_or_default();
    let records = metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| count).sum();
    (timers, records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_kind_count_and_what_was_sent_does_not() {
        let metrics = [("timer", 7), ("cached-ptr", 1), ("cached-txt", 2), ("cached-nsec", 4), ("respond", 100)];
        let metrics: Metrics = metrics.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(count(&metrics), (7, 7));
    }

    #[test]
    fn a_thousand_instances_are_no_flood_but_as_many_other_records_are() {
        assert!(max_records(1024) > 1024 * 7);
        assert!(max_records(3) < 1024 * 7);
    }

    #[test]
    fn the_library_still_names_its_numbers_so() {
        let daemon = ServiceDaemon::new_with_port(55_399).expect("a thread");
        daemon.disable_interface(mdns_sd::IfKind::All).expect("it takes commands");
        let metrics = daemon.get_metrics().expect("it takes commands").recv().expect("it answers");
        assert!(metrics.contains_key("timer") && metrics.contains_key("cached-srv"), "{metrics:?}");
        daemon.shutdown().expect("it takes commands");
    }
}
