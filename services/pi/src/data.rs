//! The data partition holds what should outlast the plug: SSH host keys and the last known time. Nothing depends on it:
//! if it is broken it is made anew, and if that is impossible the Pi serves without.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::card::is_mounted;
use crate::machine::{self, Machine};
use crate::state::Data;

const DEVICE: &str = "/dev/mmcblk0p2";
const FOLDER: &str = "/data";
/// An empty one of exactly the right size.
const EMPTY: &str = "/usr/share/bramble/data.ext4.gz";
const WRITTEN_ON_TRIAL: &str = "/data/.trial";

/// State of the data partition, and the problem with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DataPartition {
    pub(crate) data: Data,
    pub(crate) problem: Option<String>,
}

impl DataPartition {
    fn with(data: Data, problem: impl Into<String>) -> Self {
        Self { data, problem: Some(problem.into()) }
    }
}

/// Mounts it. May take long: the card may be dying.
pub(crate) fn open(machine: &Machine) -> DataPartition {
    let folder = machine.path(FOLDER);
    if machine.is_trial {
        let there = folder.is_dir();
        return if there { judge(try_to_write(machine)) } else { DataPartition::with(Data::Missing, MISSING) };
    }
    if is_mounted(machine, FOLDER) {
        return judge(try_to_write(machine)); // an earlier life of this process did it
    }
    if !machine.path(DEVICE).exists() {
        return DataPartition::with(Data::Missing, MISSING);
    }
    let why = match mount(machine, false).and_then(|()| try_to_write(machine)) {
        Ok(()) => return judge(Ok(())),
        Err(error) if is_honest(&error) => return read_only(machine, &error),
        Err(error) if !is_broken(&error) => return left_alone(machine, &error),
        Err(error) => error,
    };
    let _ = rustix::mount::unmount(folder, UnmountFlags::DETACH); // it may never have been mounted
    let rebuilt = rebuild(machine).and_then(|()| mount(machine, false)).and_then(|()| try_to_write(machine));
    match rebuilt {
        Ok(()) => DataPartition::with(
            Data::Rebuilt,
            format!(
                "the data partition was broken ({why}) and has been made anew: the Pi has new SSH host keys; if this \
                 happens again, take another SD card"
            ),
        ),
        Err(error) => {
            let _ = rustix::mount::unmount(machine.path(FOLDER), UnmountFlags::DETACH); // likewise
            DataPartition::with(
                Data::Missing,
                format!(
                    "the data partition is broken ({why}) and cannot be made anew ({error}); the Pi serves without, but \
                     take another SD card"
                ),
            )
        }
    }
}

/// Lets go of it, so that it is clean.
pub(crate) fn close(machine: &Machine) {
    if machine.is_trial || !is_mounted(machine, FOLDER) {
        return;
    }
    if let Err(error) = rustix::mount::unmount(machine.path(FOLDER), UnmountFlags::empty()) {
        log::warn!("{FOLDER} cannot be unmounted: {error}");
    }
}

const MISSING: &str = "the card has no data partition: the Pi serves without, but its SSH host keys are new at each start; \
                       write the image onto the card again";

/// Errors that tell how things are, and not that the file system is broken.
fn is_honest(error: &io::Error) -> bool {
    // The last two: the card or the driver is not there yet. What cannot be read now may be whole, and is not made
    // anew.
    let honest = [Errno::NOSPC, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::DQUOT, Errno::NXIO, Errno::NODEV];
    error.raw_os_error().is_some_and(|code| honest.iter().any(|errno| errno.raw_os_error() == code))
}

/// Whether `error` tells of a broken file system, which may be written over; one that cannot be read for want of a
/// driver must not be. ext4 says these of no or a wrong superblock, of wrong structures, of wrong checksums, and of a
/// journal that cannot be read.
fn is_broken(error: &io::Error) -> bool {
    let broken = [Errno::INVAL, Errno::UCLEAN, Errno::BADMSG, Errno::IO];
    error.raw_os_error().is_some_and(|code| broken.iter().any(|errno| errno.raw_os_error() == code))
}

fn left_alone(machine: &Machine, error: &io::Error) -> DataPartition {
    let _ = rustix::mount::unmount(machine.path(FOLDER), UnmountFlags::DETACH); // it may never have been mounted
    DataPartition::with(
        Data::Missing,
        format!(
            "the data partition cannot be used ({error}) and is left as it is: the Pi serves without, but its SSH host keys \
             are new at each start; write the image onto the card again"
        ),
    )
}

fn judge(written: io::Result<()>) -> DataPartition {
    match written {
        Ok(()) => DataPartition { data: Data::Mounted, problem: None },
        Err(error) if error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => DataPartition::with(
            Data::ReadOnly,
            "the data partition is full, so the time and new SSH host keys cannot be kept; delete what was put there, or \
             write the image onto the card again",
        ),
        Err(error) => DataPartition::with(
            Data::ReadOnly,
            format!(
                "the data partition cannot be written ({error}), so the time cannot be kept; is the card locked or worn \
                 out? Take another SD card"
            ),
        ),
    }
}

fn read_only(machine: &Machine, error: &io::Error) -> DataPartition {
    if !is_mounted(machine, FOLDER) {
        if let Err(error) = mount(machine, true) {
            return DataPartition::with(
                Data::Missing,
                format!("the data partition cannot be read ({error}); take another SD card"),
            );
        }
    }
    judge(Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(Errno::ROFS.raw_os_error()))))
}

fn mount(machine: &Machine, read_only: bool) -> io::Result<()> {
    let mut flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    flags.set(MountFlags::RDONLY, read_only);
    fs::create_dir_all(machine.path(FOLDER))?;
    // Writers sync what they write, so the journal need not hurry.
    let options = c"errors=remount-ro,commit=60";
    rustix::mount::mount(machine.path(DEVICE), machine.path(FOLDER), c"ext4", flags, options)?;
    Ok(())
}

/// Writes something and sees whether it stays.
fn try_to_write(machine: &Machine) -> io::Result<()> {
    let path = machine.path(WRITTEN_ON_TRIAL);
    machine::replace_for_good(&path, &[b'.'; 4096], 0o600)?;
    fs::remove_file(path)?;
    let folder = machine.path(FOLDER);
    if rustix::fs::statvfs(folder)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Errno::ROFS.into());
    }
    Ok(())
}

/// Writes the empty file system over what is there.
fn rebuild(machine: &Machine) -> io::Result<()> {
    let device = fs::OpenOptions::new().write(true).open(machine.path(DEVICE))?;
    let to = device.try_clone()?;
    let written = machine.tool("zcat").arg(machine.path(EMPTY)).stdin(Stdio::null()).stdout(to).status()?;
    if !written.success() {
        return Err(io::Error::other(format!("zcat: {written}")));
    }
    device.sync_all()
}

/// Whether files can be kept there.
pub(crate) fn keeps(data: Data) -> bool {
    matches!(data, Data::Mounted | Data::Rebuilt)
}

/// A folder there that belongs to root alone.
pub(crate) fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Folder;

    #[test]
    fn a_missing_data_partition_is_said_and_no_more() {
        let folder = Folder::new("no-data");
        let opened = open(&folder.machine());
        assert_eq!(opened.data, Data::Missing);
        assert!(opened.problem.is_some_and(|problem| problem.contains("serves without")));
    }

    #[test]
    fn one_that_can_be_written_is_in_use_and_nothing_is_left_on_it() {
        let folder = Folder::new("data");
        folder.write("data/time", "1");
        assert_eq!(open(&folder.machine()), DataPartition { data: Data::Mounted, problem: None });
        assert_eq!(folder.machine().names("/data"), ["time"]);
    }

    #[test]
    fn a_full_or_locked_one_can_still_be_read_and_says_what_to_do() {
        let full = judge(Err(Errno::NOSPC.into()));
        assert!(full.data == Data::ReadOnly && full.problem.is_some_and(|problem| problem.contains("full")));
        let locked = judge(Err(Errno::ROFS.into()));
        assert!(locked.data == Data::ReadOnly && locked.problem.is_some_and(|problem| problem.contains("locked")));
        assert!(is_honest(&Errno::NOSPC.into()) && !is_honest(&Errno::IO.into()));
    }

    #[test]
    fn only_what_is_broken_is_made_anew_and_not_what_lacks_a_driver() {
        for broken in [Errno::INVAL, Errno::UCLEAN, Errno::BADMSG, Errno::IO] {
            assert!(is_broken(&broken.into()) && !is_honest(&broken.into()), "{broken}");
        }
        for other in [Errno::NOENT, Errno::NODEV, Errno::NXIO, Errno::NOMEM, Errno::NOSPC] {
            assert!(!is_broken(&other.into()), "{other}");
        }
        let folder = Folder::new("left-alone");
        let opened = left_alone(&folder.machine(), &Errno::NOENT.into());
        assert_eq!(opened.data, Data::Missing);
        assert!(opened.problem.is_some_and(|problem| problem.contains("left as it is")));
    }
}
