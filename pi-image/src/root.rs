//! The root file system is one archive that the kernel unpacks into RAM: there is nothing on the card that a cut of the
//! power could leave half written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cpio::{Archive, Entry};
use crate::{Error, run};

/// Where busybox, the kernel or a script looks for a program outside /bin.
const IN_SBIN: &[&str] = &["init", "modprobe", "halt", "poweroff", "reboot"];
const LIBRARIES: &str = "usr/lib/arm-linux-gnueabihf";
/// Folders that something is mounted on or written to; by root alone.
const FOLDERS: &[(&str, u32)] = &[
    (".", 0o755), // the root itself, which the kernel would leave writable for all
    ("boot", 0o755),
    ("data", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o755),
];

/// Parts of the archive besides modules.
pub(crate) struct Parts<'a> {
    /// All packages but the kernel, unpacked over each other.
    pub(crate) packages: &'a Path,
    /// `bramble` for armv7.
    pub(crate) bramble: &'a Path,
    /// `pi-image/root`.
    pub(crate) own: &'a Path,
    /// The lines of /etc/bramble-release.
    pub(crate) release: String,
    /// An empty data partition, compressed by gzip.
    pub(crate) data: Vec<u8>,
}

impl Parts<'_> {
    /// Puts everything into `archive`; what is in `own` wins.
    pub(crate) fn put(self, archive: &mut Archive) -> Result<(), Error> {
        for (folder, permissions) in FOLDERS {
            archive.put(folder, Entry::Folder(*permissions));
        }
        // Before /dev is mounted, init's messages would go nowhere.
        archive.put("dev/console", Entry::Device(5, 1));
        archive.put("dev/null", Entry::Device(1, 3));
        archive.put("init", Entry::Link("sbin/init".to_owned()));
        self.put_busybox(archive)?;
        archive.put("bin/bramble", Entry::File(0o755, read(self.bramble)?));
        archive.put("etc/ssl/certs/ca-certificates.crt", Entry::File(0o644, self.certificates()?));
        for program in ["usr/sbin/dropbear", "usr/bin/dropbearkey"] {
            self.put_dynamic(program, archive)?;
        }
        archive.put("etc/bramble-release", Entry::File(0o644, self.release.into_bytes()));
        archive.put("usr/share/bramble/data.ext4.gz", Entry::File(0o644, self.data));
        put_folder(self.own, "", archive)
    }

    fn put_busybox(&self, archive: &mut Archive) -> Result<(), Error> {
        let bytes = read(&self.packages.join("usr/bin/busybox"))?;
        let applets = applets(&bytes).ok_or_else(|| Error::Other("busybox has no list of its applets".to_owned()))?;
        for name in applets.iter().filter(|name| *name != "busybox") {
            archive.put(&format!("bin/{name}"), Entry::Link("busybox".to_owned()));
        }
        for name in IN_SBIN {
            archive.put(&format!("sbin/{name}"), Entry::Link("../bin/busybox".to_owned()));
        }
        archive.put("bin/busybox", Entry::File(0o755, bytes));
        Ok(())
    }

    /// All that Debian trusts, in one file.
    fn certificates(&self) -> Result<Vec<u8>, Error> {
        let folder = self.packages.join("usr/share/ca-certificates/mozilla");
        let mut all = Vec::new();
        for path in sorted(&folder)? {
            all.extend(read(&path)?);
            if all.last() != Some(&b'\n') {
                all.push(b'\n');
            }
        }
        Ok(all)
    }

    /// A program with the libraries it asks for, and what those ask for.
    fn put_dynamic(&self, program: &str, archive: &mut Archive) -> Result<(), Error> {
        let mut waiting = vec![self.packages.join(program)];
        let mut seen = BTreeSet::new();
        archive.put(program, Entry::File(0o755, read(&waiting[0])?));
        while let Some(file) = waiting.pop() {
            for name in needed(&file)? {
                let library = self.packages.join(LIBRARIES).join(&name);
                if seen.insert(name.clone()) {
                    // The loader is asked for by its path.
                    let folder = if name.starts_with("ld-linux") { "lib" } else { LIBRARIES };
                    archive.put(&format!("{folder}/{name}"), Entry::File(0o755, read(&library)?));
                    waiting.push(library);
                }
            }
        }
        Ok(())
    }
}

/// The names in busybox's own table of applets, which are sorted and end with a zero each.
fn applets(busybox: &[u8]) -> Option<Vec<String>> {
    const BEGIN: &[u8] = b"[\0[[\0a";
    let start = busybox.windows(BEGIN.len()).position(|window| window == BEGIN)?;
    let mut names: Vec<String> = Vec::new();
    for name in busybox[start..].split(|byte| *byte == 0) {
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        match name {
            Some(name) if names.last().is_none_or(|last| last.as_str() < name) => names.push(name.to_owned()),
            _ => break,
        }
    }
    ["init", "modprobe", "mount", "sh", "udhcpc"]
        .iter()
        .all(|name| names.iter().any(|have| have == name))
        .then_some(names)
}

/// The libraries an ELF file asks for, and its loader.
fn needed(file: &Path) -> Result<Vec<String>, Error> {
    let said = run::text(run::command("arm-linux-gnueabihf-readelf").args(["--wide", "--dynamic"]).arg(file))?;
    let named = said.lines().filter(|line| line.contains("(NEEDED)"));
    Ok(named.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect())
}

/// Copies a folder as it is; a file that any user may execute, all may.
fn put_folder(folder: &Path, path: &str, archive: &mut Archive) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    for file in sorted(folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let about = std::fs::symlink_metadata(&file).map_err(Error::file(&file))?;
        if about.is_dir() {
            put_folder(&file, &path, archive)?;
        } else if about.is_symlink() {
            let target = std::fs::read_link(&file).map_err(Error::file(&file))?;
            archive.put(&path, Entry::Link(target.to_string_lossy().into_owned()));
        } else {
            let permissions = if about.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
            archive.put(&path, Entry::File(permissions, read(&file)?));
        }
    }
    Ok(())
}

/// Compresses by zstd, which the kernel unpacks several times as fast as xz. The result depends on the content alone.
pub(crate) fn compressed(archive: &[u8], scratch: &Path) -> Result<Vec<u8>, Error> {
    let (plain, packed) = (scratch.join("initramfs.cpio"), scratch.join("initramfs.img"));
    std::fs::write(&plain, archive).map_err(Error::file(&plain))?;
    run::output(run::command("zstd").args(["-19", "--single-thread", "--quiet", "-o"]).arg(&packed).arg(&plain))?;
    read(&packed)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(Error::file(path))
}

/// Paths in a folder, by name.
pub(crate) fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file(folder))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(Error::file(folder))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applets_are_read_from_busybox_itself() {
        let table = b"noise[\0[[\0ash\0init\0modprobe\0mount\0sh\0udhcpc\0zcat\0\x01\x02abc";
        assert_eq!(applets(table).expect("a table").len(), 9);
        assert_eq!(applets(b"noise[\0[[\0ash\0zcat\0\0"), None);
        assert_eq!(applets(b"something else"), None);
    }

    #[test]
    fn only_root_may_write_anywhere() {
        assert!(FOLDERS.contains(&(".", 0o755)), "without an entry of its own the root is 1777");
        assert!(FOLDERS.iter().all(|(_, permissions)| permissions & 0o022 == 0));
    }

    #[test]
    fn a_folder_is_copied_with_the_permissions_git_knows() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("bramble-root-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("etc/init.d")).expect("folders");
        std::fs::write(folder.join("etc/inittab"), "x").expect("written");
        std::fs::write(folder.join("etc/init.d/boot"), "y").expect("written");
        std::fs::set_permissions(folder.join("etc/init.d/boot"), std::fs::Permissions::from_mode(0o700)).expect("set");
        let mut archive = Archive::default();
        put_folder(&folder, "", &mut archive).expect("copied");
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(archive.get("etc/init.d/boot"), Some(&Entry::File(0o755, b"y".to_vec())));
        assert_eq!(archive.get("etc/inittab"), Some(&Entry::File(0o644, b"x".to_vec())));
    }
}
