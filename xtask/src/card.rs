//! Tests of the SD card: it is built twice, then started in emulated Pis, in network namespaces, which root alone can
//! make.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use pi_image::{Options, Packages};

use crate::image;
use crate::install::{self, Package};
use crate::retry::TestName;
use crate::run::{self, Workspace};
use crate::suite::{self, Suite};

/// Packages that an emulated Pi, its network and its card need, besides those that build the card.
pub(crate) const NEEDS: &[Package] = &[
    Package { program: "qemu-system-arm", package: "qemu-system-arm" },
    Package { program: "mcopy", package: "mtools" },
    Package { program: "e2fsck", package: "e2fsprogs" },
    Package { program: "ip", package: "iproute2" },
    Package { program: "dnsmasq", package: "dnsmasq-base" },
    Package { program: "ssh", package: "openssh-client" },
    Package { program: "setpriv", package: "util-linux" },
    Package { program: "taskset", package: "util-linux" },
    Package { program: "xz", package: "xz-utils" },
];

const SELECTION: [&str; 4] = ["--features", "bramble-cli/image", "--test", "image"];
/// No more Pis than this run at a time anyway.
const AT_ONCE: &str = "--test-threads=2";
/// Said at the end of each run.
const UNSEEN: &str = "card: QEMU has no VideoCore firmware (config.txt is read by the test as the firmware would), no HDMI, \
                      no network chip of a real Pi 2, shows no cable as out but by silence, and restarts as soon as the \
                      chip's watchdog is started (softdog is at its place); see docs/sd-card.md for the first boot";

/// Of this run, once it is built.
static CARD: OnceLock<PathBuf> = OnceLock::new();

/// Builds the card twice; both must be the same to the byte.
pub(crate) fn build_twice(workspace: &Workspace) -> Result<Option<String>, String> {
    let (card, note) = image::check(workspace)?;
    let _ = CARD.set(card); // a run builds it once
    Ok(note)
}

fn card(workspace: &Workspace) -> Result<PathBuf, String> {
    if let Some(card) = CARD.get() {
        return Ok(card.clone());
    }
    image::provide()?;
    let mut options = Options::new(&workspace.root);
    options.out = Some(workspace.root.join("target/image/one"));
    options.packages = Packages::LockedOrToday;
    pi_image::build(&options).map(|built| built.image).map_err(|why| why.to_string())
}

/// Starts the card.
pub(crate) fn test(workspace: &Workspace, flaky: &mut Vec<TestName>) -> Result<Option<String>, String> {
    let image = card(workspace)?;
    let notes = workspace.root.join("target/image-notes.txt");
    let _ = std::fs::remove_file(&notes); // of an earlier run
    started_by_root()?;
    let variables = vec![("BRAMBLE_TEST_IMAGE", image.into()), ("BRAMBLE_TEST_NOTES", notes.clone().into())];
    Suite { workspace, selection: &SELECTION, harness: &[AT_ONCE], variables }.run(flaky)?;
    let said = std::fs::read_to_string(&notes).unwrap_or_default();
    let said = said.lines().map(|line| format!("\n         card: {line}"));
    Ok(Some(said.fold(UNSEEN.to_owned(), |all, line| all + &line)))
}

/// Prints what the card weighs and how long a Pi takes: `[N]` boots, 5 if nothing is said.
pub(crate) fn bench(workspace: &Workspace, arguments: &[&str]) -> Result<(), String> {
    install::packages(NEEDS)?;
    let runs = match arguments {
        [] => "5",
        [runs] if runs.parse::<u32>().is_ok_and(|runs| runs > 0) => runs,
        _ => return Err("cargo xtask bench image [BOOTS]".to_owned()),
    };
    started_by_root()?;
    let image = card(workspace)?;
    let mut cargo = workspace.cargo(["test", "--locked"].into_iter().chain(suite::PACKAGES).chain(SELECTION));
    cargo.args(["--", "--ignored", "--nocapture", "bench::table"]);
    run::finish(cargo.env("BRAMBLE_TEST_IMAGE", image).env("BRAMBLE_BENCH_RUNS", runs))
}

fn started_by_root() -> Result<(), String> {
    match run::output(Command::new("id").arg("-u"))?.trim() {
        "0" => Ok(()),
        _ => Err("only root can make network namespaces; run it with sudo, or in a virtual machine".to_owned()),
    }
}
