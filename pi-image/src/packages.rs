//! A mirror changes from day to day, and a download can be anything. The lock names every package by its SHA-256; what
//! does not fit is never unpacked.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Error, run};

mod apt;
mod store;

pub use apt::refresh;
pub use store::Store;

/// A Debian package in exactly one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// `trixie`, `bookworm-security`, ...
    pub suite: String,
    /// `armhf`, `amd64` or `all`.
    pub arch: String,
    /// Name of the package.
    pub name: String,
    /// As Debian writes it, with epoch.
    pub version: String,
    /// In lower-case hex.
    pub sha256: String,
    /// Path on a mirror, below `debian/` or `debian-security/`.
    pub pool: String,
}

impl Package {
    /// The last part of its path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.pool.rsplit('/').next().unwrap_or(&self.pool)
    }

    /// `debian` or `debian-security`: a mirror has both side by side.
    #[must_use]
    pub fn archive(&self) -> &'static str {
        if self.suite.ends_with("-security") { "debian-security" } else { "debian" }
    }

    /// The compiler's parts; everything else is for the card.
    #[must_use]
    pub fn is_of_compiler(&self) -> bool {
        self.arch == "amd64" || self.name == apt::STANDARD_LIBRARY
    }

    fn parse(line: &str) -> Result<Self, &'static str> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [suite, arch, name, version, sha256, pool] = fields[..] else {
            return Err("it does not have the six fields suite, architecture, name, version, SHA-256 and path");
        };
        if sha256.len() != 64 || !sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("the fifth field is no SHA-256 in lower-case hex");
        }
        if !pool.starts_with("pool/") || !pool.ends_with(".deb") || pool.split('/').any(|part| part == "..") {
            return Err("the sixth field is no path of a package, pool/....deb");
        }
        let [suite, arch, name, version, sha256, pool] = [suite, arch, name, version, sha256, pool].map(str::to_owned);
        Ok(Self { suite, arch, name, version, sha256, pool })
    }
}

impl fmt::Display for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, arch, name, version, sha256, pool } = self;
        write!(formatter, "{suite} {arch} {name} {version} {sha256} {pool}")
    }
}

/// All packages that an image is made of, and the compiler for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Sorted; no two have the same architecture and name.
    packages: Vec<Package>,
}

impl Lock {
    /// Reads it from a file.
    ///
    /// # Errors
    /// If it cannot be read, or a line is no package.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
        Self::parse(&text).map_err(|(line, why)| Error::Lock { path: path.to_owned(), line, why })
    }

    /// Of any packages.
    fn new(mut packages: Vec<Package>) -> Self {
        packages.sort();
        packages.dedup();
        Self { packages }
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut packages: Vec<Package> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let package = Package::parse(line).map_err(|why| (number, why))?;
            if packages.iter().any(|other| other.name == package.name && other.arch == package.arch) {
                return Err((number, "the package stands in the lock twice"));
            }
            packages.push(package);
        }
        Ok(Self::new(packages))
    }

    /// Packages of the lock.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter()
    }

    /// The package of this name that is for the card.
    ///
    /// # Errors
    /// If there is none.
    pub fn card(&self, name: &str) -> Result<&Package, Error> {
        let found = self.packages().find(|package| !package.is_of_compiler() && package.name == name);
        found.ok_or_else(|| Error::NotLocked { name: name.to_owned(), arch: "armhf".to_owned() })
    }

    /// The kernel's own package, whose name has its version.
    ///
    /// # Errors
    /// If there is none.
    pub fn kernel(&self) -> Result<&Package, Error> {
        let found = self.packages().find(|package| package.name.starts_with("linux-image-"));
        found.ok_or_else(|| Error::NotLocked { name: apt::KERNEL.to_owned(), arch: "armhf".to_owned() })
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "# Written by `cargo xtask image refresh`: suite, architecture, name, version, SHA-256, path."
        )?;
        self.packages().try_for_each(|package| writeln!(formatter, "{package}"))
    }
}

/// Choice of packages for a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packages {
    /// The packages of packages.lock, or none.
    #[default]
    Locked,
    /// If the mirror has not got one of them any more, what it has today instead, and a note that says so. For tests,
    /// which must not fail on the day Debian has something newer.
    LockedOrToday,
}

impl Packages {
    /// Does `work` with the lock of the checkout, or with today's, which is left in `scratch`. Also the note.
    pub(crate) fn with<T>(
        self,
        workspace: &Path,
        scratch: &Path,
        work: impl Fn(Lock) -> Result<T, Error>,
    ) -> Result<(T, Option<String>), Error> {
        match work(Lock::read(&workspace.join("pi-image/packages.lock"))?) {
            Err(Error::Gone { names }) if self == Self::LockedOrToday => {
                let (lock, note) = refresh(scratch)?;
                let path = scratch.join("packages.lock");
                std::fs::write(&path, lock.to_string()).map_err(Error::file(&path))?;
                let gone = format!("No longer on the mirror: {};", names.join(", "));
                let why = format!("{gone} built with what Debian has today, so run `cargo xtask image refresh`.");
                let note = [Some(why), note].into_iter().flatten().collect::<Vec<_>>().join(" ");
                Ok((work(lock)?, Some(note)))
            }
            other => other.map(|done| (done, None)),
        }
    }
}

/// The SHA-256 of each file, in their order.
///
/// # Errors
/// If one cannot be read.
pub fn sha256(files: &[PathBuf]) -> Result<Vec<String>, Error> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let sums = run::text(run::command("sha256sum").arg("--zero").arg("--").args(files))?;
    let sums: Vec<String> = sums.split_terminator('\0').filter_map(|line| line.get(..64)).map(str::to_owned).collect();
    if sums.len() == files.len() {
        Ok(sums)
    } else {
        Err(Error::Other("sha256sum did not answer for each file".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const BUSYBOX: &str = "trixie armhf busybox-static 1:1.37.0-6+b9 8b35210e08d559ecc0ddb660dd96f6f9694f69eb27f1dc608f5eeda56d94509e pool/main/b/busybox/busybox-static_1.37.0-6+b9_armhf.deb";

    #[test]
    fn a_lock_reads_what_it_wrote() {
        let lock = Lock::parse(&format!("# a comment\n\n{BUSYBOX}\n")).expect("one package");
        let package = lock.card("busybox-static").expect("it is there");
        assert_eq!((package.version.as_str(), package.archive()), ("1:1.37.0-6+b9", "debian"));
        assert_eq!(package.file_name(), "busybox-static_1.37.0-6+b9_armhf.deb");
        assert_eq!(Lock::parse(&lock.to_string()), Ok(lock));
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number_and_what_is_wrong() {
        let wrong = |line: &str| Lock::parse(&format!("{BUSYBOX}\n{line}")).expect_err(line);
        assert_eq!(wrong(BUSYBOX), (2, "the package stands in the lock twice"));
        assert_eq!(wrong("trixie armhf").0, 2);
        let other = BUSYBOX.replace("busybox-static", "other");
        assert!(wrong(&other.replace("8b35", "8B35")).1.contains("SHA-256"));
        assert!(wrong(&other.replace("pool/main", "pool/../..")).1.contains("path"));
        assert!(wrong(&other.replace("pool/main", "/etc")).1.contains("path"));
    }

    #[test]
    fn a_package_that_is_not_locked_is_asked_for_by_refresh() {
        let lock = Lock::parse(BUSYBOX).expect("one package");
        let why = lock.card("dropbear-bin").expect_err("it is not there").to_string();
        assert!(why.contains("dropbear-bin") && why.contains("cargo xtask image refresh"), "{why}");
        assert!(lock.kernel().is_err());
    }

    #[test]
    fn sums_come_in_the_order_of_the_files() {
        let folder = std::env::temp_dir().join(format!("bramble-sums-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let files = [folder.join("b\\ c"), folder.join("a")];
        std::fs::write(&files[0], "").expect("written");
        std::fs::write(&files[1], "abc").expect("written");
        let sums = sha256(&files).expect("two sums");
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(sums[0].starts_with("e3b0c442") && sums[1].starts_with("ba7816bf"), "{sums:?}");
    }
}
