//! Store of downloaded packages, for every checkout of this user. A kept file is trusted no more than a download: its
//! checksum is taken each time before it is used.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Package, apt, sha256};
use crate::{Error, run};

/// The folder of downloaded packages.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// `$XDG_CACHE_HOME/bramble`, or `~/.cache/bramble`.
    #[must_use]
    pub fn of_user() -> Self {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        Self::at(cache.unwrap_or_else(std::env::temp_dir).join("bramble"))
    }

    /// In a folder of your own.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, package: &Package) -> PathBuf {
        self.folder.join("packages").join(package.file_name())
    }

    /// The packages' files, in the order of the packages: each has the sum of the lock.
    ///
    /// # Errors
    /// If one is no longer on the mirror, cannot be downloaded, or has another sum.
    pub fn fetch(&self, packages: &[&Package]) -> Result<Vec<PathBuf>, Error> {
        let folder = self.folder.join("packages");
        std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let missing = self.not_right(packages)?;
        if !missing.is_empty() {
            eprintln!("Downloading {} packages of Debian.", missing.len());
            apt::download(&missing, &|package| self.path(package))?;
            if let Some(package) = self.not_right(&missing)?.first() {
                return Err(self.wrong(package));
            }
        }
        Ok(packages.iter().map(|package| self.path(package)).collect())
    }

    /// Packages that are not in the store or not what the lock says.
    fn not_right<'a>(&self, packages: &[&'a Package]) -> Result<Vec<&'a Package>, Error> {
        let (here, mut not_right): (Vec<&Package>, Vec<&Package>) =
            packages.iter().partition(|package| self.path(package).is_file());
        let files: Vec<PathBuf> = here.iter().map(|package| self.path(package)).collect();
        let sums = sha256(&files)?;
        not_right
            .extend(here.iter().zip(sums).filter(|(package, sum)| package.sha256 != *sum).map(|(package, _)| package));
        Ok(not_right)
    }

    fn wrong(&self, package: &Package) -> Error {
        let found = sha256(&[self.path(package)]).ok().and_then(|mut sums| sums.pop());
        Error::Checksum {
            name: package.file_name().to_owned(),
            found: found.unwrap_or_else(|| "unknown".to_owned()),
            expected: package.sha256.clone(),
        }
    }

    /// Unpacks the packages one over the other into `folder`, which must not be there yet. It appears when it is whole.
    pub(crate) fn unpack(&self, packages: &[&Package], folder: &Path) -> Result<(), Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let files = self.fetch(packages)?;
        let mut unfinished = folder.as_os_str().to_owned();
        unfinished.push(format!(".{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let unfinished = PathBuf::from(unfinished);
        std::fs::create_dir_all(&unfinished).map_err(Error::file(&unfinished))?;
        for file in files {
            run::output(run::command("dpkg-deb").arg("--extract").arg(file).arg(&unfinished))?;
        }
        match std::fs::rename(&unfinished, folder) {
            // Another process was faster, with the same packages.
            Err(_) if folder.is_dir() => std::fs::remove_dir_all(&unfinished).map_err(Error::file(&unfinished)),
            other => other.map_err(Error::file(folder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Lock;
    use crate::packages::tests::BUSYBOX;

    #[test]
    fn a_kept_file_with_another_sum_is_not_taken_for_the_package() {
        let folder = std::env::temp_dir().join(format!("bramble-store-{}", std::process::id()));
        let store = Store::at(folder.clone());
        let lock = Lock::parse(BUSYBOX).expect("one package");
        let package = lock.card("busybox-static").expect("it is there");
        assert_eq!(store.not_right(&[package]).expect("asked"), [package]);
        std::fs::create_dir_all(folder.join("packages")).expect("a folder");
        std::fs::write(store.path(package), "something else").expect("written");
        assert_eq!(store.not_right(&[package]).expect("asked"), [package]);
        let why = store.wrong(package).to_string();
        assert!(why.contains(&package.sha256) && why.contains("nothing of it was used"), "{why}");
        let mut same = package.clone();
        same.sha256 = sha256(&[store.path(package)]).expect("a sum").remove(0);
        assert_eq!(store.fetch(&[&same]).expect("no download is needed"), [store.path(package)]);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
