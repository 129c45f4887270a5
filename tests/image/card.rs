//! A copy of the card, changed as a person would change it: by files put on its first partition, or by damage.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const SECTOR: u64 = 512;

/// The image under test, as it ships.
pub(crate) fn image() -> PathBuf {
    let path = std::env::var_os("BRAMBLE_TEST_IMAGE").map(PathBuf::from);
    let path =
        path.expect("BRAMBLE_TEST_IMAGE names the image; `cargo xtask test --only image` builds one and says where");
    assert!(path.is_file(), "there is no image {}; `cargo xtask image` builds one", path.display());
    path
}

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // In /tmp: the path of a Unix socket has at most 107 bytes.
        let name = format!("bramble-image-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder of its own");
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where a partition lies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

pub(crate) struct Card {
    pub(crate) file: PathBuf,
    folder: Folder,
}

impl Card {
    /// A copy with these files, name and content, on its FAT partition. `bramble.toml` replaces the one there.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let file = folder.join("card.img");
        run(Command::new("cp").args(["--reflink=auto", "--sparse=always"]).arg(image()).arg(&file));
        let card = Self { file, folder };
        for (name, content) in files {
            card.put(name, content.as_bytes());
        }
        card
    }

    /// Writes a file onto the FAT partition.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let local = self.folder.join("put");
        fs::write(&local, content).expect("the folder is ours");
        run(self.mtool("mcopy").arg("-o").arg(&local).arg(format!("::{name}")));
    }

    /// Takes a file off the FAT partition.
    pub(crate) fn take_away(&self, name: &str) {
        run(self.mtool("mdel").arg(format!("::{name}")));
    }

    /// Copies a file from the FAT partition to `to`.
    pub(crate) fn copy_out(&self, name: &str, to: &Path) {
        run(self.mtool("mcopy").arg("-n").arg(format!("::{name}")).arg(to));
    }

    /// The text of a file on the FAT partition.
    pub(crate) fn text(&self, name: &str) -> String {
        let local = self.folder.join("text");
        let _ = fs::remove_file(&local);
        self.copy_out(name, &local);
        fs::read_to_string(&local).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn mtool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-i").arg(format!("{}@@{}", self.file.display(), self.partition(1).start));
        command
    }

    /// Partition 1 or 2, as the partition table has it.
    pub(crate) fn partition(&self, number: usize) -> Span {
        let mut table = [0; SECTOR as usize];
        File::open(&self.file).and_then(|mut file| file.read_exact(&mut table)).expect("it has a first sector");
        assert_eq!(table[510..], [0x55, 0xaa], "a partition table");
        let entry = &table[446 + 16 * (number - 1)..][..16];
        let word = |at: usize| u64::from(u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes")));
        let span = Span { start: word(8) * SECTOR, length: word(12) * SECTOR };
        assert!(span.length > 0, "there is no partition {number}");
        span
    }

    /// All bytes of a partition.
    pub(crate) fn bytes(&self, number: usize) -> Vec<u8> {
        let span = self.partition(number);
        let mut file = File::open(&self.file).expect("it is there");
        file.seek(SeekFrom::Start(span.start)).expect("it is a file");
        let mut bytes = vec![0; usize::try_from(span.length).expect("a small partition")];
        file.read_exact(&mut bytes).expect("the image is as long as its partitions say");
        bytes
    }

    /// Writes over a partition from its start.
    pub(crate) fn overwrite(&self, number: usize, bytes: &[u8]) {
        let span = self.partition(number);
        assert!(bytes.len() as u64 <= span.length, "partition {number} is smaller");
        let mut file = OpenOptions::new().write(true).open(&self.file).expect("it is ours");
        file.seek(SeekFrom::Start(span.start)).and_then(|_| file.write_all(bytes)).expect("room on the disk");
    }

    /// Takes a partition out of the table.
    pub(crate) fn drop_partition(&self, number: usize) {
        let mut file = OpenOptions::new().write(true).open(&self.file).expect("it is ours");
        let at = 446 + 16 * (number as u64 - 1);
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&[0; 16])).expect("room on the disk");
    }

    /// Fills the data partition until nothing more fits.
    pub(crate) fn fill_data(&self) {
        let (image, filler) = (self.folder.join("data"), self.folder.join("filler"));
        fs::write(&image, self.bytes(2)).expect("the folder is ours");
        // debugfs stops at what no longer fits and keeps what did: ever smaller pieces.
        for (number, kib) in [4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 4, 2, 1, 1].into_iter().enumerate() {
            fs::write(&filler, vec![b'x'; kib << 10]).expect("the folder is ours");
            let request = format!("write {} filler-{number}", filler.display());
            run(Command::new("debugfs").args(["-w", "-R", &request]).arg(&image));
        }
        // Where a piece broke off, counts are put right again.
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(&image).output().expect("e2fsck is there");
        assert!(checked.status.code().is_some_and(|code| code <= 1), "{}", String::from_utf8_lossy(&checked.stdout));
        self.overwrite(2, &fs::read(&image).expect("it was written"));
    }

    /// Faults of the data partition by `e2fsck`; it changes nothing. A journal that has to be replayed, as after any
    /// power cut, is replayed first, as the kernel does when it mounts.
    pub(crate) fn data_faults(&self) -> Option<String> {
        let image = self.folder.join("data");
        fs::write(&image, self.bytes(2)).expect("the folder is ours");
        let replayed = Command::new("e2fsck").args(["-p", "-E", "journal_only"]).arg(&image).output();
        replayed.expect("e2fsck is there");
        let checked = Command::new("e2fsck").args(["-f", "-n"]).arg(&image).output().expect("e2fsck is there");
        let said = [checked.stdout, checked.stderr].concat();
        (!checked.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
    }
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.env("MTOOLS_SKIP_CHECK", "1").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
