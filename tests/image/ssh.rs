//! Logging in to a Pi with a key, as its owner would that put it onto the card.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::card::{Folder, run};
use crate::patience::patience;

/// A login on an emulated processor takes some seconds.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(60));

/// A key pair of the test's own.
pub(crate) struct Key {
    private: PathBuf,
    /// A line of `authorized_keys`.
    pub(crate) public: String,
    _folder: Folder,
}

impl Key {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let private = folder.join("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f"]).arg(&private));
        let public = fs::read_to_string(private.with_extension("pub")).expect("it was made").trim().to_owned();
        Self { private, public, _folder: folder }
    }

    /// Output of a shell on the Pi for `script`; fails if that fails.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.ssh(&["-o", "PreferredAuthentications=publickey"], script);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    /// Waits until a login succeeds.
    pub(crate) fn until_in(&self) {
        let deadline = Instant::now() + *PATIENCE;
        while !self.ssh(&[], "true").status.success() {
            assert!(Instant::now() < deadline, "no login within {:?}", *PATIENCE);
            sleep(Duration::from_millis(200));
        }
    }

    /// Runs `script` on the Pi at the room's loopback address, with these options of ssh.
    pub(crate) fn ssh(&self, options: &[&str], script: &str) -> Output {
        let mut command = Command::new("timeout");
        command
            .arg(PATIENCE.as_secs().to_string())
            .arg("ssh")
            .args(["-F", "none", "-p", "22", "-i"])
            .arg(&self.private);
        for option in
            ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        {
            command.args(["-o", option]);
        }
        command
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30"])
            .args(options)
            .args(["root@127.0.0.1", script]);
        command.stdin(Stdio::null()).output().expect("timeout and ssh are there")
    }
}
