//! `cargo xtask bench image`: what the card weighs, how long a Pi takes to serve, and what it needs for that.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::card::{Card, image};
use crate::life::{SOON, all_roles_are_healthy, knows_its_data, pi_state, settings};
use crate::pi::{BOOT, Pi, Wiring};
use crate::room::{API_KEY, GATEWAY, Room, Upstream};

#[test]
#[ignore = "a bench of some minutes, not a test"]
fn table() {
    let runs = std::env::var("BRAMBLE_BENCH_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(5);
    let _room = Room::enter();
    let upstream = Upstream::start(GATEWAY);
    let card = Card::with(&[("bramble.toml", &settings(&upstream, "")), ("api-key", API_KEY)]);
    let (mut whole, mut kernel, mut times, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut roles = Vec::<(String, Vec<f64>)>::new();
    for _ in 0..runs {
        match Pi::start(&card, &Wiring { whole: true, ..Wiring::default() }).serves(*BOOT) {
            Some(time) => whole.push(time.as_secs_f64()),
            None => println!("a boot did not serve within {:?}", *BOOT),
        }
        let pi = Pi::start(&card, &Wiring::default());
        pi.says("is starting");
        kernel.push(pi.started.elapsed().as_secs_f64());
        let Some(time) = pi.serves(*BOOT) else {
            println!("a boot did not serve within {:?}", *BOOT);
            continue;
        };
        times.push(time.as_secs_f64());
        // The data partition comes last; with it the drivers' files go out of memory.
        let is_told = |state: &Value| {
            let roles = state["roles"].as_array().into_iter().flatten();
            let is_whole = all_roles_are_healthy(state) && knows_its_data(state);
            is_whole && roles.into_iter().all(|role| role["memory_kib"].is_u64())
        };
        let state = pi_state(*SOON * 2, is_told);
        memory.push(mib(&state["memory"]["used_kib"]));
        for role in state["roles"].as_array().expect("a list") {
            let name = role["name"].as_str().expect("a name").to_owned();
            let of = match roles.iter().position(|(one, _)| *one == name) {
                Some(at) => at,
                None => {
                    roles.push((name, Vec::new()));
                    roles.len() - 1
                }
            };
            roles[of].1.push(mib(&role["memory_kib"]));
        }
    }
    let file = image();
    println!("\n{:<34} {:>9} {:>9} {:>9}", format!("the card, {runs} boots"), "median", "min", "max");
    println!("{:<34} {:>6.1} MB", "download (.img.xz)", megabytes(&file.with_extension("img.xz")));
    println!("{:<34} {:>6.1} MB", "raw (.img)", megabytes(&file));
    row("QEMU's start to the first weather", "s ", &mut times);
    row("  of that, until Linux runs init", "s ", &mut kernel);
    row("  with all four processors", "s ", &mut whole);
    row("memory used, three roles", "MiB", &mut memory);
    for (name, sizes) in &mut roles {
        row(&format!("PSS of the {name}"), "MiB", sizes);
    }
    println!(
        "Emulated by qemu-system-arm -M raspi2b on one processor of this machine, where Linux uses one of the Pi's four if \
         nothing else is said; a look at whether it serves each {:?}.",
        Duration::from_millis(50)
    );
}

fn mib(kib: &Value) -> f64 {
    kib.as_f64().unwrap_or(f64::NAN) / 1024.0
}

fn megabytes(file: &Path) -> f64 {
    std::fs::metadata(file).map_or(f64::NAN, |about| about.len() as f64 / 1e6)
}

fn row(what: &str, unit: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (values.first(), values.last()) else {
        return println!("{what:<34} nothing was measured");
    };
    let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    println!("{what:<34} {median:>5.1} {unit} {min:>5.1} {unit} {max:>5.1} {unit}");
}
