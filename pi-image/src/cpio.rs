//! The kernel unpacks a cpio archive. Written here, and not by `cpio`, since that would need root for owners and
//! devices, and takes times and numbers from the file system: the same tree shall give the same bytes.
//!
//! The format is "newc": Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
const END: &str = "TRAILER!!!";

/// Type of a path with its content. Everything belongs to root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// With these permissions.
    Folder(u32),
    /// With these permissions and bytes.
    File(u32, Vec<u8>),
    /// A symbolic link to this.
    Link(String),
    /// A character device: major, minor.
    Device(u32, u32),
}

impl Entry {
    fn mode(&self) -> u32 {
        match self {
            Self::Folder(permissions) => 0o040_000 | permissions,
            Self::File(permissions, _) => 0o100_000 | permissions,
            Self::Link(_) => 0o120_777,
            Self::Device(..) => 0o020_600,
        }
    }

    fn content(&self) -> &[u8] {
        match self {
            Self::File(_, bytes) => bytes,
            Self::Link(target) => target.as_bytes(),
            Self::Folder(_) | Self::Device(..) => &[],
        }
    }

    fn device(&self) -> (u32, u32) {
        if let Self::Device(major, minor) = self { (*major, *minor) } else { (0, 0) }
    }
}

/// A tree of files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Archive {
    /// By path, without a slash in front. Each folder stands before what is in it.
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Puts it there, in place of what was there, and makes the folders above it.
    pub(crate) fn put(&mut self, path: &str, entry: Entry) {
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Folder(0o755));
        }
        self.entries.insert(path.to_owned(), entry);
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The archive as the kernel reads it. All is as old as `time`, in seconds since 1970.
    pub(crate) fn bytes(&self, time: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            member(&mut bytes, (number, time), path, entry);
        }
        member(&mut bytes, (0, 0), END, &Entry::File(0, Vec::new()));
        bytes
    }

    /// Reads what [`Archive::bytes`] wrote. None if it is something else.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut archive = Self::default();
        loop {
            let header = bytes.get(..HEADER).filter(|header| header.starts_with(MAGIC))?;
            let field = |index: usize| {
                let digits = std::str::from_utf8(&header[6 + 8 * index..14 + 8 * index]).ok()?;
                u32::from_str_radix(digits, 16).ok()
            };
            let (mode, size, name_size) = (field(1)?, field(6)? as usize, field(11)? as usize);
            let name = bytes.get(HEADER..HEADER + name_size.checked_sub(1)?)?;
            let path = String::from_utf8(name.to_vec()).ok()?;
            let start = padded(HEADER + name_size);
            let content = bytes.get(start..start + size)?.to_vec();
            if path == END {
                return Some(archive);
            }
            let entry = match mode & 0o170_000 {
                0o040_000 => Entry::Folder(mode & 0o7777),
                0o100_000 => Entry::File(mode & 0o7777, content),
                0o120_000 => Entry::Link(String::from_utf8(content).ok()?),
                _ => Entry::Device(field(9)?, field(10)?),
            };
            archive.entries.insert(path, entry);
            bytes = bytes.get(padded(start + size)..)?;
        }
    }
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn member(bytes: &mut Vec<u8>, (number, time): (u32, u32), path: &str, entry: &Entry) {
    let length = |of: usize| u32::try_from(of).expect("nothing here is as long as 4 GiB");
    let (major, minor) = entry.device();
    let links = if matches!(entry, Entry::Folder(_)) { 2 } else { 1 };
    let (size, name) = (length(entry.content().len()), length(path.len() + 1));
    bytes.extend_from_slice(MAGIC);
    for field in [number, entry.mode(), 0, 0, links, time, size, 0, 0, major, minor, name, 0] {
        bytes.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    bytes.resize(padded(bytes.len()), 0);
    bytes.extend_from_slice(entry.content());
    bytes.resize(padded(bytes.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[(&str, Entry)]) -> Archive {
        let mut archive = Archive::default();
        paths.iter().for_each(|(path, entry)| archive.put(path, entry.clone()));
        archive
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_in_whatever_order_it_was_made() {
        let (a, b) = (("bin/a", Entry::File(0o755, b"abc".to_vec())), ("b", Entry::Link("bin/a".to_owned())));
        assert_eq!(tree(&[a.clone(), b.clone()]).bytes(7), tree(&[b, a]).bytes(7));
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let archive = tree(&[("usr/lib/x", Entry::Device(5, 1))]);
        let paths: Vec<&str> = archive.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/lib", "usr/lib/x"]);
    }

    #[test]
    fn what_was_written_is_read() {
        let archive = tree(&[
            ("tmp", Entry::Folder(0o1777)),
            ("dev/console", Entry::Device(5, 1)),
            ("init", Entry::Link("sbin/init".to_owned())),
            ("etc/empty", Entry::File(0o644, Vec::new())),
            ("etc/odd", Entry::File(0o600, b"12345".to_vec())),
        ]);
        assert_eq!(Archive::read(&archive.bytes(0)), Some(archive));
        assert_eq!(Archive::read(b"070702"), None);
        assert_eq!(Archive::read(&[]), None);
    }

    #[test]
    fn cpio_reads_it_too() {
        let archive =
            tree(&[("etc/odd", Entry::File(0o640, b"12345".to_vec())), ("init", Entry::Link("x".to_owned()))]);
        let path = std::env::temp_dir().join(format!("bramble-cpio-{}", std::process::id()));
        std::fs::write(&path, archive.bytes(1_000_000_000)).expect("written");
        let said = crate::run::text(crate::run::command("cpio").args(["-itv", "--quiet", "-F"]).arg(&path));
        std::fs::remove_file(&path).expect("removed");
        // Where there is none, the kernel is the judge, in the tier that boots.
        let Ok(said) = said else { return };
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].contains("Sep  9  2001"), "{said}");
        assert!(lines[1].starts_with("-rw-r-----") && lines[1].contains(" 5 "), "{said}");
        assert!(lines[2].ends_with("init -> x"), "{said}");
    }
}
