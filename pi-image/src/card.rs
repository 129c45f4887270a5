//! The card: a partition that every PC can read, and a small one for what must last. No loop device, no mount, no root:
//! each file system is made in a file and copied to its place.

use std::fs::{File, FileTimes};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::{Error, run};

const MIB: u64 = 1 << 20;
pub(crate) const SECTOR: u64 = 512;

/// A power of two, as QEMU wants of a card.
pub(crate) const CARD: u64 = 64 * MIB;
/// From 4 MiB, where cards begin a block.
pub(crate) const FAT: Place = Place { start: 4 * MIB, size: 52 * MIB };
/// The card's end.
pub(crate) const DATA: Place = Place { start: 56 * MIB, size: 8 * MIB };

// Every card has the same numbers: a copy of a card is the same card.
const DISK_ID: &str = "0xb4a3b1e0";
const FAT_SERIAL: &str = "b4a3b1e1";
const DATA_UUID: &str = "b4a3b1e2-0000-4000-8000-000000000002";

/// A part of the card, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// A file of the first partition: its path there, with at most one folder, and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct FatFile {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

/// Makes file systems in a folder of its own.
pub(crate) struct Workshop<'a> {
    pub(crate) scratch: &'a Path,
    /// Seconds since 1970; everything on the card is as old as that.
    pub(crate) time: u32,
}

impl Workshop<'_> {
    fn command(&self, program: &str) -> Command {
        let time = self.time.to_string();
        let mut command = run::command(program);
        command.env("SOURCE_DATE_EPOCH", &time).env("E2FSPROGS_FAKE_TIME", &time);
        // mtools and mke2fs read what a person set up for themselves.
        command.env("MTOOLSRC", "/dev/null").env("MKE2FS_CONFIG", "/dev/null").env_remove("MTOOLS_LOWER_CASE");
        command
    }

    /// An empty ext4 of the size of [`DATA`].
    pub(crate) fn data(&self) -> Result<PathBuf, Error> {
        let path = self.empty("data.ext4", DATA.size)?;
        let features = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,extra_isize,metadata_csum";
        let extended = format!("root_owner=0:0,hash_seed={DATA_UUID},lazy_itable_init=0,lazy_journal_init=0,nodiscard");
        let mut mke2fs = self.command("mke2fs");
        mke2fs.args([
            "-q", "-F", "-t", "ext4", "-b", "1024", "-I", "256", "-N", "256", "-m", "0", "-J", "size=1", "-O", features,
        ]);
        mke2fs.args(["-L", "bramble-data", "-U", DATA_UUID, "-M", "/data", "-E", &extended]);
        run::output(mke2fs.arg(&path))?;
        Ok(path)
    }

    /// The first partition with these files.
    pub(crate) fn fat(&self, files: &[FatFile]) -> Result<PathBuf, Error> {
        let needed: u64 = files.iter().map(|file| file.bytes.len() as u64).sum();
        if needed + 2 * MIB > FAT.size {
            let (needed, size) = (needed / MIB, FAT.size / MIB);
            return Err(Error::Other(format!(
                "the files of the card take {needed} MiB, and its first partition has {size}"
            )));
        }
        let path = self.empty("boot.fat", FAT.size)?;
        let mut mkfs = self.command("mkfs.vfat");
        // Clusters of one sector, else there would be too few of them for FAT32 on so small a partition.
        mkfs.args(["-F", "32", "-s", "1", "--invariant", "-i", FAT_SERIAL, "-n", "BRAMBLE"]);
        run::output(mkfs.arg(&path))?;
        let mut folders: Vec<&str> =
            files.iter().filter_map(|file| file.path.split_once('/')).map(|(folder, _)| folder).collect();
        folders.sort_unstable();
        folders.dedup();
        for folder in &folders {
            run::output(self.command("mmd").arg("-i").arg(&path).arg(format!("::{folder}")))?;
        }
        let staged = self.stage(files)?;
        self.copy(&path, &staged, "")?;
        for folder in folders {
            self.copy(&path, &staged, folder)?;
        }
        Ok(path)
    }

    /// Copies the files right in `folder`, by name: mcopy would take a folder's files in any order.
    fn copy(&self, fat: &Path, staged: &Path, folder: &str) -> Result<(), Error> {
        let files = crate::root::sorted(&staged.join(folder))?.into_iter().filter(|path| path.is_file());
        let mut mcopy = self.command("mcopy");
        mcopy.args(["-m", "-i"]).arg(fat).args(files.collect::<Vec<_>>()).arg(format!("::{folder}"));
        run::output(&mut mcopy).map(|_| ())
    }

    /// The files in a folder, with the time they shall have.
    fn stage(&self, files: &[FatFile]) -> Result<PathBuf, Error> {
        let staged = self.scratch.join("boot");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.time.into());
        for file in files {
            let path = staged.join(&file.path);
            let parent = path.parent().expect("it was joined");
            std::fs::create_dir_all(parent).map_err(Error::file(parent))?;
            let mut open = File::create(&path).map_err(Error::file(&path))?;
            let times = FileTimes::new().set_modified(time).set_accessed(time);
            open.write_all(&file.bytes).and_then(|()| open.set_times(times)).map_err(Error::file(&path))?;
        }
        Ok(staged)
    }

    fn empty(&self, name: &str, size: u64) -> Result<PathBuf, Error> {
        let path = self.scratch.join(name);
        File::create(&path).and_then(|file| file.set_len(size)).map_err(Error::file(&path))?;
        Ok(path)
    }

    /// The whole card.
    pub(crate) fn card(&self, fat: &Path, data: &Path) -> Result<PathBuf, Error> {
        let path = self.empty("card.img", CARD)?;
        let place = |place: Place, kind: &str| {
            format!("start={}, size={}, type={kind}", place.start / SECTOR, place.size / SECTOR)
        };
        let table = format!(
            "label: dos\nlabel-id: {DISK_ID}\nunit: sectors\n{}, bootable\n{}\n",
            place(FAT, "c"),
            place(DATA, "83")
        );
        run::fed(self.command("sfdisk").arg("--quiet").arg(&path), table.as_bytes())?;
        let mut card = File::options().write(true).open(&path).map_err(Error::file(&path))?;
        for (part, place) in [(fat, FAT), (data, DATA)] {
            copy_to(&mut card, part, place).map_err(Error::file(part))?;
        }
        Ok(path)
    }
}

/// Copies a file to its place, leaving holes where it is empty.
fn copy_to(card: &mut File, part: &Path, place: Place) -> std::io::Result<()> {
    const BLOCK: usize = 64 * 1024;
    let mut part = File::open(part)?;
    let mut block = vec![0; BLOCK];
    for start in (place.start..place.start + place.size).step_by(BLOCK) {
        part.read_exact(&mut block)?;
        if block.iter().any(|byte| *byte != 0) {
            card.seek(SeekFrom::Start(start))?;
            card.write_all(&block)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_fill_the_card_and_do_not_overlap() {
        assert!(CARD.is_power_of_two());
        assert_eq!((FAT.start + FAT.size, DATA.start + DATA.size), (DATA.start, CARD));
        for place in [FAT, DATA] {
            assert_eq!((place.start % (4 * MIB), place.size % (64 * 1024)), (0, 0), "{place:?}");
        }
        // FAT32 is what has this many clusters; with fewer, a reader takes it for FAT16. 1 MiB is more than its tables.
        const { assert!((FAT.size - MIB) / SECTOR > 65_525) };
    }

    #[test]
    fn files_that_do_not_fit_are_said_before_anything_is_written() {
        let workshop = Workshop { scratch: Path::new("/nowhere"), time: 0 };
        let files = [FatFile { path: "big".to_owned(), bytes: vec![0; 51 << 20] }];
        let why = workshop.fat(&files).expect_err("too big").to_string();
        assert_eq!(why, "the files of the card take 51 MiB, and its first partition has 52");
    }
}
