//! Contents of an image, read from the image itself: nothing here knows how it was built.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::card::SECTOR;
use crate::contents::LIST;
use crate::cpio::{Archive, Entry};
use crate::root::{read, sorted};
use crate::{Error, bootable, run};

/// Describes the image `file`, `.img` or `.img.xz`, for a person. `scratch` is an empty folder for what is taken out.
///
/// # Errors
/// If it is no such image.
pub fn inspect(file: &Path, scratch: &Path) -> Result<String, Error> {
    let image = plain(file, scratch)?;
    let partitions = partitions(&image)?;
    let mut text = format!("{}\n\nPartitions\n", file.display());
    for Partition { number, kind, start, size } in &partitions {
        let kind = match kind {
            0x0b | 0x0c => "FAT32",
            0x83 => "Linux",
            _ => "other",
        };
        let _ = writeln!(text, "  {number}  {kind:6}  at {:>3} MiB, {:>3} MiB", start >> 20, size >> 20);
    }
    let files = extract(&image, &partitions, scratch)?;
    let _ = writeln!(text, "\nFiles of the first partition");
    for (path, size) in listing(&files, "")? {
        let _ = writeln!(text, "  {size:>9}  {path}");
    }
    let config = std::fs::read_to_string(files.join("config.txt")).ok();
    let faults = bootable::faults(config.as_deref(), |name| files.join(name).is_file());
    if !faults.is_empty() {
        let _ = write!(text, "\nFaults\n{}", indented(&faults.join("\n")));
        return Err(Error::Other(text)); // there is no more to be read from a broken card
    }
    let root = initramfs(&files.join("initramfs.img"))?;
    if let Some(Entry::File(_, release)) = root.get("etc/bramble-release") {
        let _ = write!(text, "\nRelease\n{}", indented(&String::from_utf8_lossy(release)));
    }
    let _ = write!(text, "\nRoot file system in RAM\n{}", contents(&root));
    let list = read(&files.join(LIST))?;
    let _ = write!(text, "\nPackages and licences\n{}", indented(&String::from_utf8_lossy(&list)));
    let secrets = ["api-key", "cluster-key"].into_iter().filter(|name| files.join(name).exists());
    for name in secrets {
        let _ = writeln!(text, "\nIt holds a secret, the file {name}: do not give it away.");
    }
    Ok(text)
}

/// An entry of the partition table, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partition {
    number: usize,
    kind: u8,
    start: u64,
    size: u64,
}

/// Unpacked, if it has to be.
fn plain(file: &Path, scratch: &Path) -> Result<PathBuf, Error> {
    if file.extension().is_none_or(|end| end != "xz") {
        return Ok(file.to_owned());
    }
    let image = scratch.join("card.img");
    let unpacked = run::output(run::command("xz").args(["--decompress", "--stdout", "--"]).arg(file))?;
    std::fs::write(&image, unpacked).map_err(Error::file(&image)).map(|()| image)
}

fn partitions(image: &Path) -> Result<Vec<Partition>, Error> {
    let mut record = [0; 512];
    let mut open = std::fs::File::open(image).map_err(Error::file(image))?;
    let no_image = || Error::Other(format!("{} is no image of a card: it has no partition table", image.display()));
    open.read_exact(&mut record).map_err(|_| no_image())?;
    table(&record).filter(|partitions| !partitions.is_empty()).ok_or_else(no_image)
}

/// A master boot record's four entries, without empty ones.
fn table(record: &[u8; 512]) -> Option<Vec<Partition>> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let entries = record[446..510].chunks_exact(16).zip(1..).map(|(entry, index)| Partition {
        number: index,
        kind: entry[4],
        start: number(&entry[8..12]) * SECTOR,
        size: number(&entry[12..16]) * SECTOR,
    });
    record.ends_with(&[0x55, 0xaa]).then(|| entries.filter(|entry| entry.kind != 0).collect())
}

/// The files of the first partition, in a folder.
fn extract(image: &Path, partitions: &[Partition], scratch: &Path) -> Result<PathBuf, Error> {
    let first = partitions.first().expect("there is one");
    let folder = scratch.join("files");
    std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    // Not into one that is on the file system already.
    let mut mcopy = run::command("mcopy");
    mcopy.env("MTOOLSRC", "/dev/null").args(["-s", "-n", "-i", &format!("{}@@{}", image.display(), first.start)]);
    run::output(mcopy.arg("::*").arg(&folder))?;
    Ok(folder)
}

/// Path and size of all files, by name.
fn listing(folder: &Path, prefix: &str) -> Result<Vec<(String, u64)>, Error> {
    let mut files = Vec::new();
    for path in sorted(folder)? {
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            files.extend(listing(&path, &format!("{name}/"))?);
        } else {
            files.push((name, path.metadata().map_err(Error::file(&path))?.len()));
        }
    }
    Ok(files)
}

fn initramfs(path: &Path) -> Result<Archive, Error> {
    let bytes = run::output(run::command("zstd").args(["--decompress", "--stdout", "--quiet", "--"]).arg(path))?;
    Archive::read(&bytes).ok_or_else(|| Error::Other(format!("{} is no cpio archive", path.display())))
}

/// Files of the archive, without busybox's hundreds of names.
fn contents(root: &Archive) -> String {
    let mut text = String::new();
    let (mut links, mut total) = (0, 0);
    for (path, entry) in root.entries() {
        match entry {
            Entry::File(_, bytes) => {
                total += bytes.len();
                let _ = writeln!(text, "  {:>9}  {path}", bytes.len());
            }
            Entry::Link(target) if target.ends_with("busybox") => links += 1,
            Entry::Link(target) => {
                let _ = writeln!(text, "             {path} -> {target}");
            }
            Entry::Folder(_) | Entry::Device(..) => {}
        }
    }
    let _ = writeln!(text, "  {total:>9}  in all, and {links} names of busybox");
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect()
}

/// Where in the image a byte is.
pub(crate) fn place(image: &Path, byte: usize) -> Result<String, Error> {
    let byte = byte as u64;
    let within = |partition: &Partition| byte.checked_sub(partition.start).filter(|offset| *offset < partition.size);
    let partitions = partitions(image)?;
    let found = partitions.iter().find_map(|partition| Some((partition.number, within(partition)?)));
    Ok(found.map_or_else(|| format!("byte {byte}"), |(number, offset)| format!("byte {offset} of partition {number}")))
}

/// The bytes of partition `number`, counted from one.
///
/// # Errors
/// If the image cannot be read or has no such partition.
pub fn partition(image: &Path, number: usize) -> Result<Vec<u8>, Error> {
    let found = partitions(image)?.into_iter().find(|partition| partition.number == number);
    let found = found.ok_or_else(|| Error::Other(format!("{} has no partition {number}", image.display())))?;
    let mut bytes = Vec::new();
    let mut open = std::fs::File::open(image).map_err(Error::file(image))?;
    open.seek(SeekFrom::Start(found.start))
        .and_then(|_| open.take(found.size).read_to_end(&mut bytes))
        .map_err(Error::file(image))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_table_is_read_in_bytes() {
        let mut record = [0; 512];
        record[446 + 4] = 0x0c;
        record[446 + 8..446 + 16].copy_from_slice(&[0, 0x20, 0, 0, 0, 0xa0, 1, 0]);
        assert_eq!(table(&record), None, "without its mark it is no table");
        record[510..].copy_from_slice(&[0x55, 0xaa]);
        let expected = Partition { number: 1, kind: 0x0c, start: 4 << 20, size: 52 << 20 };
        assert_eq!(table(&record), Some(vec![expected]));
    }

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        let why = inspect(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").as_path(), Path::new("/nowhere"));
        assert!(why.expect_err("no image").to_string().contains("is no image of a card"));
        let why = inspect(Path::new("/no/such.img"), Path::new("/nowhere")).expect_err("no file").to_string();
        assert!(why.starts_with("/no/such.img: No such file"), "{why}");
    }
}
