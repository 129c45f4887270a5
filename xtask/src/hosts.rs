//! Runs what needs hosts of its own. They are network namespaces, which root alone can make.

use std::path::PathBuf;

use crate::install::{self, Package};
use crate::retry::TestName;
use crate::run::{self, Workspace};
use crate::suite::{self, Suite};

/// Packages that the hosts are made of, with other implementations of mDNS.
pub(crate) const NEEDS: &[Package] = &[
    Package { program: "ip", package: "iproute2" },
    Package { program: "nft", package: "nftables" },
    Package { program: "avahi-daemon", package: "avahi-daemon" },
    Package { program: "avahi-browse", package: "avahi-utils" },
    Package { program: "dbus-daemon", package: "dbus-daemon" },
    Package { program: "python3", package: "python3" },
];

const SELECTION: [&str; 4] = ["--features", "bramble-cli/hosts", "--test", "hosts"];
/// The tests mostly wait, some for longer than two minutes, so more of them run at a time than there are processors.
const AT_ONCE: &str = "--test-threads=8";
/// Where the tests find a Python with zeroconf.
const PYTHON: &str = "BRAMBLE_TEST_PYTHON";

/// Runs the tests.
pub(crate) fn test(workspace: &Workspace, flaky: &mut Vec<TestName>) -> Result<Option<String>, String> {
    let variables = vec![(PYTHON, python(workspace)?.into())];
    Suite { workspace, selection: &SELECTION, harness: &[AT_ONCE], variables }.run(flaky)?;
    Ok(None)
}

/// Prints how long hosts take to know what comes and goes.
pub(crate) fn bench(workspace: &Workspace) -> Result<(), String> {
    install::packages(NEEDS)?;
    let python = python(workspace)?;
    let mut cargo = workspace.cargo(["test", "--locked"].into_iter().chain(suite::PACKAGES).chain(SELECTION));
    cargo.args(["--", "--ignored", "--nocapture", "bench::table"]);
    run::finish(cargo.env(PYTHON, python))
}

/// The Python for [`PYTHON`], if root is asking.
fn python(workspace: &Workspace) -> Result<PathBuf, String> {
    if run::output(std::process::Command::new("id").arg("-u"))?.trim() != "0" {
        return Err("only root can make network namespaces; run it with sudo, or in a virtual machine".to_owned());
    }
    zeroconf(workspace)
}

/// A Python that has the `zeroconf` of PyPI, in a folder of its own.
fn zeroconf(workspace: &Workspace) -> Result<PathBuf, String> {
    let folder = workspace.root.join("target/python-zeroconf");
    let python = folder.join("bin/python3");
    let works = |python: &PathBuf| {
        python.exists() && run::output(std::process::Command::new(python).args(["-c", "import zeroconf"])).is_ok()
    };
    if !works(&python) {
        println!("\n== install zeroconf from PyPI in {}", folder.display());
        let venv = run::output(workspace.command("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        venv.map_err(|why| format!("{why}\non Debian, `sudo apt-get install python3-venv` brings what is missing"))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "zeroconf"];
        run::finish(workspace.command(&python).args(pip))?;
    }
    Ok(python)
}
