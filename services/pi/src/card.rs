//! The FAT partition of the card, where a person puts the settings. It is only ever read, and for a moment.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::machine::{self, Machine};

const DEVICE: &str = "/dev/mmcblk0p1";
const FOLDER: &str = "/run/bramble/card";
/// In a trial, the folder that stands in for the card.
const TRIAL: &str = "/card";
/// A card is there after a second or two, in an emulated Pi after ten or twenty; after this long the Pi goes on with
/// defaults, until it comes after all.
const WAIT: Duration = Duration::from_secs(30);
/// The drivers of the file system may come after it.
const READY_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// The card, while it is mounted.
#[derive(Debug)]
pub(crate) struct Card {
    folder: PathBuf,
    is_mounted: bool,
}

impl Card {
    /// The files in a folder.
    pub(crate) fn folder(folder: PathBuf) -> Self {
        Self { folder, is_mounted: false }
    }

    /// Whether there is one, be it readable or not.
    pub(crate) fn is_there(machine: &Machine) -> bool {
        machine.path(if machine.is_trial { TRIAL } else { DEVICE }).exists()
    }

    /// Waits for the card and mounts it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it and what to do.
    pub(crate) fn open(machine: &Machine) -> Result<Self, String> {
        if machine.is_trial {
            let folder = machine.path(TRIAL);
            return if folder.is_dir() { Ok(Self::folder(folder)) } else { Err(unreadable("there is none")) };
        }
        let (device, folder) = (machine.path(DEVICE), machine.path(FOLDER));
        let since = Instant::now();
        while !device.exists() {
            if since.elapsed() > WAIT {
                return Err(unreadable("it has not been found within 30 s"));
            }
            std::thread::sleep(LOOK); // on a thread of its own
        }
        if is_mounted(machine, FOLDER) {
            let _ = rustix::mount::unmount(&folder, UnmountFlags::DETACH); // an earlier life of this process was cut off
        }
        fs::create_dir_all(&folder).map_err(|error| unreadable(&error.to_string()))?;
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        let there = Instant::now();
        while let Err(error) = rustix::mount::mount(&device, &folder, c"vfat", flags, c"umask=0077") {
            // The name of the device is there before the device; on a busy emulated Pi ten seconds before.
            let ready_within = if error == Errno::NXIO { WAIT } else { READY_WITHIN };
            if there.elapsed() > ready_within {
                return Err(unreadable(&error.to_string()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Self { folder, is_mounted: true })
    }

    /// A file on the card, by a name relative to it.
    ///
    /// # Errors
    /// It is not there, cannot be read, is too large, or is not on the card.
    pub(crate) fn read(&self, name: &Path) -> io::Result<Vec<u8>> {
        if !name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(io::Error::other("it is not on the card; put it beside bramble.toml"));
        }
        machine::read(&self.folder.join(name))
    }

    /// A file that may be missing, also as `NAME.txt`: some editors name it so and do not say it.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn find(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        for name in [name.to_owned(), format!("{name}.txt")] {
            match self.read(Path::new(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if self.is_mounted {
            if let Err(error) = rustix::mount::unmount(&self.folder, UnmountFlags::empty()) {
                log::warn!("the card cannot be unmounted: {error}");
            }
        }
    }
}

fn unreadable(why: &str) -> String {
    format!(
        "the SD card cannot be read ({why}), so bramble.toml on it does not count and the Pi runs with defaults; switch the \
         Pi off and on again, and if that does not help write the image onto the card anew"
    )
}

/// Whether something is mounted there.
pub(crate) fn is_mounted(machine: &Machine, folder: &str) -> bool {
    let mounts = machine.text("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Folder;

    #[test]
    fn files_are_found_with_the_ending_that_some_editors_add() {
        let folder = Folder::new("card");
        folder.write("api-key.txt", "abc");
        let card = Card::folder(folder.0.clone());
        assert_eq!(card.find("api-key").expect("readable").as_deref(), Some(&b"abc"[..]));
        assert_eq!(card.find("cluster-key").expect("missing, that is all"), None);
    }

    #[test]
    fn what_is_not_on_the_card_is_not_read() {
        let folder = Folder::new("card-outside");
        folder.write("secret", "abc");
        folder.write("card/x", "");
        let card = Card::folder(folder.0.join("card"));
        for name in ["../secret", "/etc/passwd", "x/../../secret"] {
            assert!(card.read(Path::new(name)).is_err_and(|error| error.to_string().contains("on the card")), "{name}");
        }
    }

    #[test]
    fn a_missing_card_is_a_sentence() {
        let folder = Folder::new("no-card");
        assert!(Card::open(&folder.machine()).is_err_and(|sentence| sentence.contains("runs with defaults")));
    }
}
