//! Serial line of a Pi: all that is known of one that does not start, so a failed test shows it.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// A boot prints some hundred lines. What comes after so many pushes out the oldest.
const LINES: usize = 4000;
/// A longer one is cut into pieces: a broken Pi may send no end of line at all.
const LINE_BYTES: u64 = 4096;

#[derive(Clone, Default)]
pub(crate) struct Serial(Arc<(Mutex<ConsoleText>, Condvar)>);

#[derive(Default)]
struct ConsoleText {
    /// At most `LINES`.
    lines: std::collections::VecDeque<String>,
    ended: bool,
}

impl Serial {
    /// Listens until the other end closes.
    pub(crate) fn listen(from: impl Read + Send + 'static) -> Self {
        let serial = Self::default();
        let ours = serial.clone();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            loop {
                let mut bytes = Vec::new();
                let read = (&mut from).take(LINE_BYTES).read_until(b'\n', &mut bytes);
                let is_over = read.is_err() || bytes.is_empty();
                let mut said = ours.said();
                if is_over {
                    said.ended = true;
                } else {
                    said.lines.push_back(String::from_utf8_lossy(&bytes).trim_end().to_owned());
                    if said.lines.len() > LINES {
                        said.lines.pop_front();
                    }
                }
                drop(said);
                ours.0.1.notify_all();
                if is_over {
                    return;
                }
            }
        });
        serial
    }

    fn said(&self) -> MutexGuard<'_, ConsoleText> {
        self.0.0.lock().expect("no thread panics while holding it")
    }

    /// Whether the other end has closed.
    pub(crate) fn has_ended(&self) -> bool {
        self.said().ended
    }

    /// The first line with all of `words` in it, if it comes before `deadline`.
    pub(crate) fn wait_for(&self, words: &[&str], deadline: Instant) -> Option<String> {
        let mut said = self.said();
        loop {
            if let Some(line) = said.lines.iter().find(|line| words.iter().all(|word| line.contains(word))) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended || left == Duration::ZERO {
                return None;
            }
            (said, _) = self.0.1.wait_timeout(said, left).expect("no thread panics while holding it");
        }
    }

    /// All that is kept.
    pub(crate) fn text(&self) -> String {
        self.said().lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}
