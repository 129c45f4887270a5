//! `cargo bench`: what one guarded call costs on top of the call, ours and others', all in one run and one table.

use bramble_bench_resilience as of;
use criterion::Criterion;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const COUNTED: u64 = 1000;

/// A line of the table: nanoseconds a call on one thread, on all cores at once, and allocations a call.
struct Line {
    what: String,
    program: &'static str,
    one: f64,
    all: f64,
    allocations: f64,
}

struct Bench {
    criterion: Criterion,
    folder: PathBuf,
    lines: Vec<Line>,
}

impl Bench {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("resilience");
        let criterion = Criterion::default()
            .output_directory(&folder)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(1000))
            .sample_size(20);
        Self { criterion, folder, lines: Vec::new() }
    }

    /// `caller` makes what one thread calls.
    fn measure(&mut self, what: &str, program: &'static str, caller: impl Fn() -> Box<dyn FnMut(u64)> + Sync) {
        let mut counted = caller();
        counted(COUNTED); // what is made once is no cost of a call
        let allocations = allocation_counter::measure(|| counted(COUNTED)).count_total as f64 / COUNTED as f64;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let one = self.median(&format!("{what} {program} one"), |calls| {
            let mut call = caller();
            let start = Instant::now();
            call(calls);
            start.elapsed()
        });
        let all = self.median(&format!("{what} {program} all"), |calls| {
            let barrier = Barrier::new(cores);
            std::thread::scope(|scope| {
                let run = || {
                    let mut call = caller();
                    barrier.wait();
                    let start = Instant::now();
                    call(calls);
                    start.elapsed()
                };
                let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
                let times = threads.into_iter().map(|thread| thread.join().expect("no panic"));
                times.sum::<Duration>() / cores as u32
            })
        });
        self.lines.push(Line { what: what.into(), program, one, all, allocations });
    }

    /// Median nanoseconds of one call, as criterion estimates it.
    fn median(&mut self, id: &str, mut run: impl FnMut(u64) -> Duration) -> f64 {
        self.criterion.bench_function(id, |bencher| bencher.iter_custom(&mut run));
        let id = id.replace(|c: char| "?\"/\\*<>:|^".contains(c), "_");
        let file = self.folder.join(id).join("new/estimates.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let json: serde_json::Value = serde_json::from_str(&text).expect("criterion writes JSON");
        json["median"]["point_estimate"].as_f64().expect("criterion estimates a median")
    }

    fn print(&self) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!("\n| what | program | ns, 1 thread | x ours | ns, {cores} threads | x ours | allocations |");
        println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
        for line in &self.lines {
            let ours = self.lines.iter().find(|ours| ours.what == line.what).expect("the first of its kind is ours");
            let Line { what, program, one, all, allocations } = line;
            let (times, times_all) = (one / ours.one, all / ours.all);
            println!("| {what} | {program} | {one:.1} | {times:.1} | {all:.1} | {times_all:.1} | {allocations:.1} |");
        }
    }
}

fn main() {
    let mut bench = Bench::new();
    bench.measure("how busy the machine is", "nothing shared", of::nothing_shared());
    for (what, open) in [("breaker closed", false), ("breaker open", true)] {
        bench.measure(what, "bramble", of::bramble(open));
        bench.measure(what, "bramble, clock read twice", of::bramble_with_clock(open));
        bench.measure(what, "recloser", of::recloser(open));
        bench.measure(what, "failsafe", of::failsafe(open));
        bench.measure(what, "tower-resilience", of::tower_resilience(open));
    }
    for endpoints in [3, 10, 100, 1000] {
        let what = format!("pick of {endpoints}");
        bench.measure(&what, "bramble", of::bramble_pick(endpoints));
        bench.measure(&what, "tower p2c", of::tower_pick(endpoints));
    }
    bench.print();
}
