//! Runs what needs hosts of its own. They are network namespaces, which root alone can make.

use std::path::PathBuf;

use crate::install::{self, Package};
use crate::run::{self, Workspace};

/// What the hosts are made of, and who else speaks mDNS on them.
pub(crate) const NEEDS: &[Package] = &[
    Package { program: "ip", package: "iproute2" },
    Package { program: "nft", package: "nftables" },
    Package { program: "avahi-daemon", package: "avahi-daemon" },
    Package { program: "avahi-browse", package: "avahi-utils" },
    Package { program: "dbus-daemon", package: "dbus-daemon" },
    Package { program: "python3", package: "python3" },
];

const CARGO: [&str; 8] = ["test", "--locked", "--package", "bramble-cli", "--features", "hosts", "--test", "hosts"];
/// The tests mostly wait, some for longer than two minutes, so more of them run at a time than there are processors.
const AT_ONCE: &str = "--test-threads=8";

/// Runs the tests; a second time if one of them fails, for they hold a watch, and a machine that does something else
/// meanwhile makes them late. That it took two is said at the end.
pub(crate) fn test(workspace: &Workspace) -> Result<Option<String>, String> {
    match run(workspace, &["--", AT_ONCE]) {
        Ok(note) => Ok(note),
        Err(why) => {
            println!("\n{why}\nOnce more, fewer at a time, for the machine may have been busy.");
            run(workspace, &["--", "--test-threads=4"]).map(|_| Some("hosts: passed at the second attempt".to_owned()))
        }
    }
}

/// Prints how long others take to know who comes and goes.
pub(crate) fn bench(workspace: &Workspace) -> Result<(), String> {
    install::packages(NEEDS)?;
    run(workspace, &["--", "--ignored", "--nocapture", "bench::table"]).map(|_| ())
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Result<Option<String>, String> {
    if run::output(std::process::Command::new("id").arg("-u"))?.trim() != "0" {
        return Err("only root can make network namespaces; run it with sudo, or in a virtual machine".to_owned());
    }
    let python = zeroconf(workspace)?;
    let mut cargo = workspace.cargo(CARGO.into_iter().chain(arguments.iter().copied()));
    run::finish(cargo.env("BRAMBLE_TEST_PYTHON", python)).map(|()| None)
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
