//! Boards, their power, their cards, their heat, and what else runs on them.

use super::*;

pub(super) fn all() -> Vec<Scenario> {
    [power(), cards(), slower(), unequal(), speed(), replaced()].concat()
}

/// Boards of two workers: with 100 ms they answer 20 calls a second each.
fn boards(name: &str, count: usize, milliseconds: u64, rate: f64) -> Scenario {
    Scenario::new(name, count, milliseconds).each_server(|_, server| server.workers = 2).clients(5, rate / 5.0)
}

fn power() -> Vec<Scenario> {
    let weak = boards("weak supply: 2 of 5 boards reboot together, twice", 5, 100, 50.0);
    let weak = reboot(reboot(weak, 0..2, secs(15)..secs(25)), 0..2, secs(40)..secs(50));

    let mut looping = boards("1 of 3 boards reboots in a loop of 90 s", 3, 60, 20.0);
    for second in [20, 110] {
        looping = reboot(looping, 0..1, secs(second)..secs(second + 18));
    }

    let mut failure = boards("power failure: 4 boards back one after the other", 4, 50, 60.0);
    for (id, second) in [25, 28, 31, 40].into_iter().enumerate() {
        failure = reboot(failure, id..id + 1, secs(15)..secs(second));
    }

    let mut upgrade = boards("4 boards reboot in turn for an upgrade", 4, 100, 40.0);
    for id in 0..4 {
        let start = 10 + 15 * id as u64;
        upgrade = reboot(upgrade, id..id + 1, secs(start)..secs(start + 8));
    }
    vec![
        weak.phase("during", secs(15)..secs(52)).after(secs(52), millis(500)),
        looping.phase("during", secs(20)..secs(200)),
        failure.phase("during and after", secs(15)..secs(70)).recovery(secs(42), millis(300)),
        upgrade.phase("during", secs(10)..secs(75)),
    ]
}

fn cards() -> Vec<Scenario> {
    let stalled = |name: &str, count: usize, out: usize, rate: f64, period: u64, seconds: u64| {
        let scenario = boards(name, count, 50, rate);
        again_and_again(scenario, 0..out, Condition::Stalled, 10..60, period, secs(seconds))
            .phase("during", secs(10)..secs(70))
    };
    vec![
        stalled("SD card of 1 of 4 stalls for 6 s, each 20 s", 4, 1, 60.0, 20, 6),
        stalled("SD card of 1 of 2 stalls for 20 s", 2, 1, 20.0, 60, 20),
        stalled("log rotation stalls all 4 for 2 s, each 20 s", 4, 4, 60.0, 20, 2),
        boards("SD card of 1 of 3 is read-only: all fail after the work, 3 calls/s", 3, 50, 3.0)
            .fault(0..1, Condition::Failing { share: 1.0, at_once: false }, secs(20)..secs(120))
            .during_and_after(secs(20)..secs(120), millis(300)),
    ]
}

fn slower() -> Vec<Scenario> {
    let steps = |mut scenario: Scenario, servers: Range<usize>, from: u64, step: u64, factors: &[f64]| {
        for (i, factor) in factors.iter().enumerate() {
            let at = secs(from + step * i as u64);
            scenario = scenario.at(at, Change::Servers(servers.clone(), Condition::Slow(*factor)));
        }
        scenario
    };
    let heat = &[1.5, 2.0, 3.0, 4.0, 2.0, 1.0];
    let hot = boards("heat: 2 of 4 boards slower and slower, up to 4 x", 4, 50, 80.0);
    let all_hot = boards("heat: all 4 boards 2.5 x slower, half of the capacity", 4, 80, 50.0);
    let leak = boards("memory leak: 1 of 4 slower and slower, then dead", 4, 50, 60.0);
    let mut batch = boards("batch job of 10 s on each of 4 boards in turn, 4 x slower", 4, 50, 80.0);
    for id in 0..4 {
        let start = secs(10 + 15 * id as u64);
        batch = batch.fault(id..id + 1, Condition::Slow(4.0), start..start + secs(10));
    }
    let cron = boards("batch job of 4 s on all 4 boards each 15 s, 3 x slower", 4, 50, 64.0);
    vec![
        steps(hot, 0..2, 15, 8, heat).phase("during", secs(15)..secs(63)),
        all_hot
            .fault(0..4, Condition::Slow(2.5), secs(15)..secs(45))
            .phase("during and after", secs(15)..secs(75))
            .recovery(secs(45), millis(400)),
        steps(leak, 0..1, 10, 6, &[1.5, 2.0, 4.0, 8.0, 16.0, 32.0])
            .restarts(0..1, Condition::Dead, secs(46)..secs(52), Cold::Requests { factor: 4.0, count: 40 })
            .watching(0)
            .during_and_after(secs(10)..secs(52), millis(300)),
        batch.phase("during", secs(10)..secs(70)),
        again_and_again(cron, 0..4, Condition::Slow(3.0), 10..60, 15, secs(4)).phase("during", secs(10)..secs(70)),
    ]
}

fn unequal() -> Vec<Scenario> {
    let with_old = |name: &str, count: usize, old: usize, rate: f64| {
        boards(name, count, 30, rate).each_server(|id, server| {
            if id < old {
                server.service_time = millis(300);
            }
        })
    };
    vec![
        with_old("1 Pi 1 beside 4 Pi 4, 60 % of the capacity", 5, 1, 164.0).phase("all", secs(10)..secs(40)),
        with_old("3 Pi 1 beside 1 Pi 4, 40 % of the capacity", 4, 3, 34.0).phase("all", secs(10)..secs(100)),
        with_old("3 Pi 4 dead, 1 Pi 1 is left with 3 x its capacity", 4, 1, 20.0)
            .fault(1..4, Condition::Dead, secs(15)..secs(45))
            .during_and_after(secs(15)..secs(45), millis(1200)),
    ]
}

/// Very slow and very quick answers, and some that take much longer than others.
fn speed() -> Vec<Scenario> {
    let mut quick = Scenario::new("answers of 0.5 ms, 1 of 3 pauses for 150 ms each 4 s", 3, 1)
        .each_server(|_, server| (server.workers, server.service_time) = (1, Duration::from_micros(500)))
        .clients(3, 40.0);
    for second in (10..40).step_by(4) {
        quick = quick.fault(0..1, Condition::Stopped, secs(second)..secs(second) + millis(150));
    }
    let tail = |name: &str, rate: f64| boards(name, 4, 20, rate).each_server(|_, server| server.long_tail = true);
    vec![
        quick.phase("during", secs(10)..secs(42)),
        boards("answers of 1 s, half of the capacity", 4, 1000, 4.0).phase("all", secs(10)..secs(160)),
        boards("answers of 600 ms, 1 of 4 dead", 4, 600, 6.0)
            .fault(0..1, Condition::Dead, secs(15)..secs(75))
            .during_and_after(secs(15)..secs(75), millis(2500)),
        tail("long tail of service times, half of the capacity", 200.0).phase("all", secs(10)..secs(30)),
        tail("long tail of service times, 1 of 4 unreachable", 100.0)
            .fault(0..1, Condition::Unreachable, secs(10)..secs(30))
            .phase("during", secs(10)..secs(30)),
    ]
}

fn replaced() -> Vec<Scenario> {
    let cold = Cold::Requests { factor: 6.0, count: 60 };
    let start = |servers| Change::Start { servers, cold, new_identity: true };
    let absent = |name: &str, count: usize, there: usize, rate: f64| {
        boards(name, count, 60, rate).each_server(|id, server| {
            server.condition = if id < there { Condition::Up } else { Condition::Absent };
        })
    };
    vec![
        boards("3 of 6 boards replaced at once, the new ones cold", 6, 60, 80.0)
            .at(secs(15), Change::Servers(0..3, Condition::Dead))
            .at(secs(18), start(0..3))
            .during_and_after(secs(15)..secs(18), millis(400)),
        absent("blue and green: 3 new instances start, 3 s later the 3 old ones end", 6, 3, 50.0)
            .at(secs(15), start(3..6))
            .at(secs(18), Change::Servers(0..3, Condition::Absent))
            .phase("during and after", secs(15)..secs(50))
            .recovery(secs(18), millis(500)),
        absent("from 2 instances to 12 and back, 55 % of the capacity of 2", 12, 2, 36.0)
            .at(secs(15), start(2..12))
            .at(secs(45), Change::Servers(2..12, Condition::Absent))
            .phase("during and after", secs(15)..secs(75)),
    ]
}
