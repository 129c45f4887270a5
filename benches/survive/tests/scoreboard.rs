//! In every scenario Bramble's defaults serve at least what the best of the simple rules serve.

use bramble_survive::board::{self, Row};
use bramble_survive::contestant::rules::BrambleRules;
use bramble_survive::{scenario, world};

/// A row that Bramble loses, and why that is right. One that it does not lose any more has to go from here.
struct Exception {
    /// `SCENARIO, PHASE`.
    row: &'static str,
    /// Kind of the loss, as [`bramble_survive::score::Loss::amount`] names it.
    loss: &'static str,
    /// By how much at most, in its unit.
    by: f64,
    reason: &'static str,
}

const FAILS_FAST: &str = "while all are silent a caller learns so at once instead of after 1.3 s; of the calls begun just \
                          before the repair some would have been answered";
const REFUSES_EARLY: &str = "a call that would wait longer than a second is refused: p99 1.2 s instead of 2.5 s";
const FEW_RETRIES: &str = "the retry budget is filled by successes only, so that a service that fails is asked less";
const HUNG: &str =
    "an instance whose copies answer within 100 ms is not held to hang, so that a cold one can become warm";

// Of the scenarios of `scenario::field`.
const BURST_REFUSED: &str =
    "of a burst of one instant, calls that a server has no room for ask the others; nearly all are answered";
const IDENTITY: &str = "an answer of another instance than the one asked counts as a stranger's, so that no wrong program is \
                        taken for the service; calls fail until discovery names the new instances";
const STAYS_AT_THE_LAST: &str = "to be mended: in the first second after the repair 28 of 100 calls are refused and others wait \
                                 at the last server, since the others are not yet known to be back";
const NEW_STAY_COLD: &str = "to be mended: new instances get 118 calls in their first 3 s (linkerd-like gives 254), so that they \
                             are cold for 2 s longer when the old ones end";

// Of the scenarios of `scenario::discovery`.
const NEXT_SYN: &str = "to be mended: the only instance is found again by the next SYN of a probe, 0.7 s after its cable is in; \
                        calls fail at once until then, and a baseline's wait until TCP sends theirs again";

// Of the scenarios of `scenario::upstream`.
const ONE_TRIAL: &str = "an API that fails or is silent is asked by one trial call of each producer at a time, 2 to 3 s apart: 85 \
                         calls a minute instead of 900; after the repair new places are refused until the next one";
const WAITS_FOR_STALE: &str = "one call in a hundred finds a fetch that hangs and gets its stale answer at the end of its attempt, \
                               of 2 s instead of 1.3 s; half of the baselines' calls wait so long, until the end of theirs";
const FAILS_50: &str = "upstream fails, 50 % new questions, 20 calls/s, after";
const FAILS_50_SELDOM: &str = "upstream fails, 50 % new questions, 1 calls/s, after";
const FAILS_70: &str = "upstream fails, 70 % new questions, 20 calls/s, after";
const SILENT: &str = "upstream is silent, 50 % new questions, 20 calls/s, after";
const SILENT_HELD: &str = "upstream is silent for 60 s, 30 places held fresh, 50 % new questions, after";

const COPIES_TO_IDLE: &str = "to be mended: an instance that is idle for a caller may be busy for others, so that copies are sent \
                              to servers that are all slow: 6 % of the attempts";
const FEWER_COPIES: &str = "a copy to an instance that has a call in flight is sent later; 442 calls in all, so that 4 of them \
                            decide on the p99";
const ALL_WAIT: &str = "a caller whose link is cut cannot tell that from servers that are all slow, and sends them no copies; \
                        its calls are asked again after the 2 s of an attempt, a baseline's after 1.3 s";

const BATCH: &str = "batch job of 4 s on all 4 boards each 15 s, 3 x slower, during";
const ALL_NEW: &str = "all 3 restarted as new instances that discovery learns after 5 s, after";
const BLUE_GREEN: &str = "blue and green: 3 new instances start, 3 s later the 3 old ones end, during and after";

const EXCEPTIONS: &[Exception] = &[
    exception("single server unreachable for 10 s, during", "answered", 5.0, FAILS_FAST),
    exception("single server stopped for 10 s, during", "answered", 13.5, FAILS_FAST),
    exception("1 of 2 unreachable, 120 % of the other's capacity, during and after", "answered", 4.0, REFUSES_EARLY),
    exception("pulse of 2 x 80 % for 10 s, abandoned work dropped, during and after", "answered", 2.0, REFUSES_EARLY),
    exception("pulse of 2.5 x 80 % for 10 s, abandoned work dropped, during and after", "answered", 2.0, REFUSES_EARLY),
    exception("all 5 fail 50 %, during", "answered", 5.0, FEW_RETRIES),
    exception("all 5 fail 50 %, during", "p99", 45.0, FEW_RETRIES),
    exception("pulse of 1.5 x 80 % for 5 s, abandoned work kept, from 4 s after", "p99", 60.0, COPIES_TO_IDLE),
    exception("1 of 5 hangs, healthz well, 20 clients, during", "p99", 10.0, HUNG),
    exception("lecture hall of 60 new processes, during", "attempts", 1.85, BURST_REFUSED),
    exception(BATCH, "p99", 130.0, COPIES_TO_IDLE),
    exception(ALL_NEW, "answered", 18.0, IDENTITY),
    exception(ALL_NEW, "recovery", 5.5, IDENTITY),
    exception("mDNS: all 1 unreachable for 10 s, after", "answered", 2.6, NEXT_SYN),
    exception(FAILS_50_SELDOM, "answered", 1.5, ONE_TRIAL),
    exception(FAILS_50, "answered", 2.2, ONE_TRIAL),
    exception(FAILS_70, "answered", 3.3, ONE_TRIAL),
    exception(FAILS_70, "recovery", 2.4, ONE_TRIAL),
    exception(SILENT, "answered", 2.2, ONE_TRIAL),
    exception(SILENT_HELD, "answered", 1.6, ONE_TRIAL),
    exception("upstream is silent for 100 s, answers fresh for 30 s, during", "p99", 750.0, WAITS_FOR_STALE),
    exception("3 Pi 4 dead, 1 Pi 1 is left with 3 x its capacity, after", "p99", 230.0, STAYS_AT_THE_LAST),
    exception("SD card of 1 of 3 is read-only: all fail after the work, 3 calls/s, after", "p99", 25.0, FEWER_COPIES),
    exception("Wi-Fi: the client is away for 1.5 s, each 10 s, during", "p99", 520.0, ALL_WAIT),
    exception(BLUE_GREEN, "answered", 2.0, NEW_STAY_COLD),
];

const fn exception(row: &'static str, loss: &'static str, by: f64, reason: &'static str) -> Exception {
    Exception { row, loss, by, reason }
}

#[test]
fn brambles_defaults_are_never_worse_than_the_best_simple_rule() {
    let rows = board::score(&scenario::all(), &BrambleRules::default(), 0..scenario::SEEDS);
    let mut wrong: Vec<String> = rows.iter().filter(|row| has_unexpected_loss(row)).map(Row::to_string).collect();
    for exception in EXCEPTIONS.iter().filter(|exception| !rows.iter().any(|row| applies(exception, row))) {
        wrong.push(format!("not lost any more: {}, {} ({})", exception.row, exception.loss, exception.reason));
    }
    assert!(wrong.is_empty(), "seeds 0 to {}\n{}", scenario::SEEDS - 1, wrong.join("\n"));
}

fn has_unexpected_loss(row: &Row) -> bool {
    let is_expected = |kind: &str, by: f64| {
        EXCEPTIONS.iter().any(|exception| exception.row == row.name && exception.loss == kind && by <= exception.by)
    };
    row.losses.iter().map(|loss| loss.amount()).any(|(kind, by)| !is_expected(kind, by))
}

fn applies(exception: &Exception, row: &Row) -> bool {
    row.name == exception.row && row.losses.iter().any(|loss| loss.amount().0 == exception.loss)
}

#[test]
fn every_row_has_a_name_of_its_own() {
    let mut names: Vec<String> = scenario::all().iter().flat_map(|scenario| scenario.row_names()).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn equal_seeds_have_equal_results_and_other_seeds_have_others() {
    let all = scenario::all();
    let flapping = all.iter().find(|scenario| scenario.name.contains("flaps")).expect("one is so named");
    let run = |seed| format!("{:?}", world::run(flapping, &BrambleRules::default(), seed));
    let first = run(1);
    assert!(first == run(1), "the same seed");
    assert!(first != run(2), "another seed");
}
