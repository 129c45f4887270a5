//! Network namespaces that tests make.

use std::path::Path;
use std::process::Command;

/// The beginning of the names of all of them; the id of the process that made one follows.
pub(crate) const PREFIX: &str = "bramble";

/// Removes the namespaces of runs that were killed.
pub(crate) fn remove_what_dead_runs_left() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.trim_start_matches('-').split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let removed = Command::new("ip").args(["netns", "del", &name]).status().expect("ip is there");
            assert!(removed.success(), "ip netns del {name}");
        }
    }
}
