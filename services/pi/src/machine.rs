//! The Pi that is looked after, or a folder that stands in for it: everything that is read, written or run lies under
//! one root, so that all of it can be tried on a machine that must stay as it is.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of the system that are read are small; a card may hold anything.
const MAX_FILE: u64 = 1 << 20;

/// Where things are, and whether they may be changed.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    root: PathBuf,
    /// Whether `root` is a folder that stands in for the Pi: nothing is mounted, and clock and host name stay.
    pub(crate) is_trial: bool,
}

impl Machine {
    /// The Pi itself, or the folder that stands in for it.
    pub(crate) fn new(trial: Option<PathBuf>) -> Self {
        let is_trial = trial.is_some();
        Self { root: trial.unwrap_or_else(|| "/".into()), is_trial }
    }

    /// Where `path`, which begins with `/`, really lies.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Command of a busybox program.
    pub(crate) fn tool(&self, name: &str) -> Command {
        if self.is_trial {
            return Command::new(self.path("/bin").join(name));
        }
        let mut command = Command::new("/bin/busybox");
        command.arg(name);
        command
    }

    /// The text of a file of the system without what surrounds it, `None` if there is none.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = read(&self.path(path)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(['\0', ' ', '\n']); // the device tree ends its texts with NUL
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The names in a folder, sorted.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// A whole file, if it is not too large to be one that is meant.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB; is it the right file?"));
    }
    Ok(bytes)
}

/// Writes a file so that no reader ever sees half of it.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_beside(path, content, mode, false)
}

/// As [`replace`], and the plug may be pulled at any moment.
pub(crate) fn replace_for_good(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write_beside(path, content, mode, true)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::File::open(folder)?.sync_all()
}

fn write_beside(path: &Path, content: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or(OsStr::new("file")).to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let _ = fs::remove_file(&beside); // of a life before, perhaps with another mode
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if sync { file.sync_all() } else { Ok(()) }
    })();
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside); // of a full disk; the error is told anyway
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder of its own for a test, gone when the test is.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("bramble-pi-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).expect("a temporary folder");
            Self(path)
        }

        pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, content).expect("a file");
        }

        pub(crate) fn machine(&self) -> Machine {
            Machine::new(Some(self.0.clone()))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn texts_of_the_device_tree_end_before_their_nul() {
        let folder = Folder::new("nul");
        folder.write("proc/device-tree/model", b"Raspberry Pi 2 Model B Rev 1.1\0");
        folder.write("proc/device-tree/empty", b"\0");
        let machine = folder.machine();
        assert_eq!(machine.text("/proc/device-tree/model").as_deref(), Some("Raspberry Pi 2 Model B Rev 1.1"));
        assert_eq!(machine.text("/proc/device-tree/empty"), None);
        assert_eq!(machine.text("/proc/device-tree/serial-number"), None);
    }

    #[test]
    fn a_file_is_replaced_whole_and_with_its_mode() {
        let folder = Folder::new("replace");
        let path = folder.0.join("secret");
        replace(&path, b"one", 0o644).expect("written");
        replace_for_good(&path, b"two", 0o400).expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o400);
        assert_eq!(folder.machine().names("/"), ["secret"], "nothing else is left behind");
    }
}
