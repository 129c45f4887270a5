use std::time::Duration;

/// Record of one run. Times are since its start.
#[derive(Debug, Default)]
pub struct Record {
    /// All calls, in the order in which they ended.
    pub calls: Vec<CallRecord>,
    /// All attempts in the order of time: when, and at which server.
    pub attempts: Vec<(Duration, usize)>,
    /// When an API behind the servers was asked.
    pub fetches: Vec<Duration>,
    /// When an instance was probed.
    pub probes: Vec<Duration>,
    /// When a worker was ready with a request, and whether its caller still waited.
    pub worked: Vec<(Duration, bool)>,
}

/// A call, from its caller's seat.
#[derive(Debug, Clone, Copy)]
pub struct CallRecord {
    /// When it began.
    pub begun: Duration,
    /// How long it took.
    pub took: Duration,
    /// Whether it has an answer, and a right one.
    pub answered: bool,
    /// How many instances were asked.
    pub attempts: usize,
    /// Whether the question is one that comes again and again.
    pub known: bool,
}
