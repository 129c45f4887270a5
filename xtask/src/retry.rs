//! Second attempts of failed tests: which may have one, and how many. A test that holds a real clock against processes
//! fails now and then on a machine that does something else meanwhile; any other test that fails shows a defect.

use std::fmt;

/// Tests of one target that may be run again.
struct Retriable {
    /// Of cargo's kind `test`; no test of a library or program may be run again.
    target: &'static str,
    /// Names of tests, or their beginning and `*`.
    names: &'static [&'static str],
    reason: &'static str,
}

const PROCESSES: &str = "real processes of bramble on loopback, with a deadline for what they do";

const RETRIABLE: &[Retriable] = &[
    Retriable { target: "demo", names: &["*"], reason: PROCESSES },
    Retriable { target: "health", names: &["*"], reason: PROCESSES },
    Retriable { target: "pi", names: &["*"], reason: PROCESSES },
    Retriable { target: "survive", names: &["*"], reason: "real processes under load, killed and stopped meanwhile" },
    Retriable { target: "trust", names: &["*"], reason: PROCESSES },
    Retriable { target: "weather_api", names: &["*"], reason: PROCESSES },
    Retriable { target: "redis_store", names: &["*"], reason: "a real redis-server that is killed and hangs" },
    Retriable { target: "footprint", names: &["*"], reason: "memory of a real process with a thousand connections" },
    Retriable { target: "overload", names: &["*"], reason: "a server with more load than a processor can carry" },
    Retriable {
        target: "hosts",
        names: &["*"],
        reason: "processes on eight networks at a time, with the seconds that mDNS promises",
    },
    Retriable {
        target: "image",
        names: &["broken::*", "hang::*", "life::*", "pair::*", "power::*"],
        reason: "an emulated Pi is ten times as slow as a real one, and slower beside others",
    },
    Retriable {
        target: "overlay",
        names: &["plain::*", "refused::*", "rolling::*", "stack::*"],
        reason: "a Docker engine starts and ends containers when it comes to it",
    },
    Retriable { target: "browser", names: &["the_*", "an_old_*", "every_*", "buttons::*"], reason: "a real browser" },
];

/// So many tests may pass at their second attempt in a run.
pub(crate) const MOST_FLAKY: usize = 2;

/// A test, by the target that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestName {
    pub(crate) target: String,
    /// Cargo's: `lib`, `bin` or `test`.
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.target, self.name)
    }
}

impl TestName {
    /// Why it may be run again, if it may.
    fn reason(&self) -> Option<&'static str> {
        let of_target = RETRIABLE.iter().find(|entry| self.kind == "test" && entry.target == self.target)?;
        of_target.names.iter().any(|pattern| matches(pattern, &self.name)).then_some(of_target.reason)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

/// Plan for the tests that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be run again, once, with the reason.
    pub(crate) again: Vec<(TestName, &'static str)>,
    /// Failed, with why they are not run again.
    pub(crate) failed: Vec<String>,
}

/// Decides which of the `failed` tests are run again, after `flaky` of this run have passed so.
pub(crate) fn plan(failed: Vec<TestName>, flaky: usize) -> Plan {
    let mut plan = Plan::default();
    for test in failed {
        match test.reason() {
            Some(reason) => plan.again.push((test, reason)),
            None => plan.failed.push(test.to_string()),
        }
    }
    if plan.again.len() + flaky > MOST_FLAKY {
        let too_many = std::mem::take(&mut plan.again);
        let why = format!("not run again: more than {MOST_FLAKY} of the run");
        plan.failed.extend(too_many.iter().map(|(test, _)| format!("{test} ({why})")));
    }
    plan
}

/// Reads the names of failed tests from what libtest prints, line by line.
#[derive(Default)]
pub(crate) struct HarnessOutput {
    /// Lines of the block that began with the last `failures:`; the names are in the last one.
    names: Vec<String>,
    in_block: bool,
    result: Option<String>,
}

impl HarnessOutput {
    pub(crate) fn line(&mut self, line: &str) {
        if line == "failures:" {
            self.names.clear();
            self.in_block = true;
        } else if line.starts_with("test result: ") {
            self.result = Some(line.to_owned());
            self.in_block = false;
        } else if self.in_block {
            self.names.extend(line.strip_prefix("    ").map(str::to_owned));
        }
    }

    /// How many tests the harness says were as `word`: `passed` or `failed`.
    pub(crate) fn count(&self, word: &str) -> Option<usize> {
        let mut words = self.result.as_ref()?.split([' ', ';']).filter(|word| !word.is_empty());
        let mut before = words.next()?;
        words.find_map(|next| {
            let number = (next == word).then(|| before.parse().ok());
            before = next;
            number
        })?
    }

    /// The failed tests; none if the harness did not come to its end or counts others than it names.
    pub(crate) fn failed(&self) -> Option<&[String]> {
        let count = self.count("failed")?;
        (count > 0 && count == self.names.len()).then_some(self.names.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(output: &str) -> Option<Vec<String>> {
        let mut harness = HarnessOutput::default();
        output.lines().for_each(|line| harness.line(line));
        harness.failed().map(<[String]>::to_vec)
    }

    fn test(target: &str, kind: &str, name: &str) -> TestName {
        TestName { target: target.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    const OUTPUT: &str = "
running 3 tests
test life::a ... FAILED
test life::b ... ok
test c ... FAILED

failures:

---- life::a stdout ----
failures:
    this is printed by the test
thread 'life::a' panicked at tests/x.rs:3:5:
    assertion failed

---- c stdout ----
    indented

failures:
    c
    life::a

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.02s

";

    #[test]
    fn the_failed_tests_are_those_of_the_last_list_and_nothing_that_a_test_printed() {
        assert_eq!(failed(OUTPUT), Some(vec!["c".to_owned(), "life::a".to_owned()]));
    }

    #[test]
    fn output_that_ends_early_or_contradicts_itself_names_no_test() {
        let cut = OUTPUT.split("test result").next().expect("its beginning");
        assert_eq!(failed(cut), None, "a harness that was killed");
        assert_eq!(failed(&OUTPUT.replace("2 failed", "3 failed")), None);
        assert_eq!(failed("test result: ok. 3 passed; 0 failed; 0 ignored"), None, "nothing has failed");
        assert_eq!(failed(""), None);
    }

    #[test]
    fn what_the_harness_counts_is_read() {
        let mut harness = HarnessOutput::default();
        harness.line("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 12 filtered out; finished in 3.00s");
        assert_eq!((harness.count("passed"), harness.count("failed")), (Some(1), Some(0)));
    }

    #[test]
    fn only_what_is_on_the_list_is_run_again() {
        let plan = plan(vec![test("survive", "test", "a"), test("client_pool", "test", "b")], 0);
        assert_eq!(plan.again.iter().map(|(test, _)| test.to_string()).collect::<Vec<_>>(), ["survive a"]);
        assert_eq!(plan.failed, ["client_pool b"]);
    }

    #[test]
    fn no_pure_test_is_on_the_list() {
        for (target, kind, name) in [
            ("survive", "lib", "a"),
            ("bramble", "lib", "discovery::tests::a"),
            ("bramble_survive", "lib", "a"),
            ("scoreboard", "test", "a"),
            ("image", "test", "firmware::the_lines_of_config_txt_that_hold_for_a_pi_2_are_used"),
            ("browser", "test", "looks::base64_is_read_as_the_rfc_writes_it"),
            ("overlay", "test", "images::the_same_checkout_gives_the_same_images"),
        ] {
            assert_eq!(test(target, kind, name).reason(), None, "{target} {name}");
        }
    }

    #[test]
    fn at_most_two_tests_of_a_run_may_pass_at_their_second_attempt() {
        let hosts = |count: usize| (0..count).map(|number| test("hosts", "test", &number.to_string())).collect();
        for (failed, flaky, again) in [(2, 0, 2), (3, 0, 0), (1, 1, 1), (2, 1, 0), (1, 2, 0)] {
            let plan = plan(hosts(failed), flaky);
            assert_eq!(plan.again.len(), again, "{failed} after {flaky}");
            assert_eq!(plan.failed.len(), failed - again, "{failed} after {flaky}");
        }
    }

    #[test]
    fn each_entry_names_a_target_that_exists_once_and_gives_a_reason() {
        let root = crate::run::Workspace::find().root;
        for (number, entry) in RETRIABLE.iter().enumerate() {
            assert!(root.join(format!("tests/{}.rs", entry.target)).is_file(), "{}", entry.target);
            assert!(!entry.names.is_empty() && !entry.reason.is_empty(), "{}", entry.target);
            assert!(RETRIABLE[..number].iter().all(|other| other.target != entry.target), "{} twice", entry.target);
        }
    }
}
