//! A kernel for every board there is comes with 4,000 modules; a Pi 2 needs few of them. They are named in `modules`;
//! what those need is found out here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cpio::{Archive, Entry};
use crate::{Error, run};

/// Files of depmod that busybox reads.
const TABLES: &[&str] = &["modules.dep", "modules.alias", "modules.symbols", "modules.softdep"];
/// Files of the kernel that depmod reads.
const OF_THE_KERNEL: &[&str] = &["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// A kernel package as it was unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    folder: PathBuf,
    /// `6.12.107+deb13-armmp`, say.
    pub(crate) version: String,
}

impl Kernel {
    pub(crate) fn unpacked(folder: &Path) -> Result<Self, Error> {
        let all = folder.join("usr/lib/modules");
        let mut names = std::fs::read_dir(&all).map_err(Error::file(&all))?.flatten();
        let found = names.next().ok_or_else(|| Error::Other(format!("{} has no modules", folder.display())))?;
        let version = found.file_name().to_string_lossy().into_owned();
        Ok(Self { folder: folder.to_owned(), version })
    }

    /// Path of the compressed kernel image.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    /// A description of a board.
    pub(crate) fn device_tree(&self, name: &str) -> PathBuf {
        self.folder.join(format!("usr/lib/linux-image-{}", self.version)).join(name)
    }

    /// Puts the modules of this name and what they need into `archive`, not compressed: the archive will be. `scratch`
    /// is an empty folder.
    pub(crate) fn put_modules(&self, names: &[&str], scratch: &Path, archive: &mut Archive) -> Result<(), Error> {
        let staged = scratch.join("usr/lib/modules").join(&self.version);
        let base = self.base(scratch)?;
        let mut files = BTreeSet::new();
        for name in names {
            files.extend(self.needed_for(name, &base)?);
        }
        for file in &files {
            let relative =
                file.strip_prefix(self.own()).map_err(|_| Error::Other(format!("{} is elsewhere", file.display())))?;
            let target = staged.join(relative.with_extension(""));
            create_parent(&target)?;
            let bytes = run::output(run::command("xz").args(["--decompress", "--stdout"]).arg(file))?;
            std::fs::write(&target, &bytes).map_err(Error::file(&target))?;
            archive.put(&self.path_of(&relative.with_extension("").to_string_lossy()), Entry::File(0o644, bytes));
        }
        self.copy_lists(&staged)?;
        run::output(run::command("depmod").arg("--basedir").arg(scratch).arg(&self.version))?;
        for name in TABLES.iter().chain(["modules.builtin"].iter()) {
            let path = staged.join(name);
            archive.put(&self.path_of(name), Entry::File(0o644, std::fs::read(&path).map_err(Error::file(&path))?));
        }
        Ok(())
    }

    fn own(&self) -> PathBuf {
        self.folder.join("usr/lib/modules").join(&self.version)
    }

    fn path_of(&self, name: &str) -> String {
        format!("lib/modules/{}/{name}", self.version)
    }

    fn copy_lists(&self, folder: &Path) -> Result<(), Error> {
        for name in OF_THE_KERNEL {
            let target = folder.join(name);
            create_parent(&target)?;
            std::fs::copy(self.own().join(name), &target).map_err(Error::file(&target))?;
        }
        Ok(())
    }

    /// Lets depmod look at all modules. It and modprobe look into `lib/modules` or, in newer ones, `usr/lib/modules`.
    fn base(&self, scratch: &Path) -> Result<PathBuf, Error> {
        let base = scratch.join("all");
        for folder in [scratch.to_owned(), base.clone()] {
            let modules = folder.join("usr/lib/modules");
            std::fs::create_dir_all(&modules).map_err(Error::file(&modules))?;
            std::os::unix::fs::symlink("usr/lib", folder.join("lib")).map_err(Error::file(&folder))?;
        }
        let version = base.join("usr/lib/modules").join(&self.version);
        std::fs::create_dir(&version).map_err(Error::file(&version))?;
        self.copy_lists(&version)?;
        std::os::unix::fs::symlink(self.own().join("kernel"), version.join("kernel")).map_err(Error::file(&version))?;
        run::output(run::command("depmod").arg("--basedir").arg(&base).arg(&self.version))?;
        Ok(base)
    }

    /// The files of a module and of those it needs; none if it is part of the kernel itself.
    fn needed_for(&self, name: &str, base: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut modprobe = run::command("modprobe");
        modprobe.arg("--dirname").arg(base).args(["--set-version", &self.version, "--config", "/dev/null"]);
        let said = run::text(modprobe.args(["--ignore-install", "--show-depends", name])).map_err(|_| {
            Error::Other(format!("kernel {} has no module {name}; correct pi-image/modules", self.version))
        })?;
        let marker = format!("/{}/", self.version);
        let files = said.lines().filter_map(|line| line.strip_prefix("insmod ")).map(str::trim_end);
        Ok(files.filter_map(|file| file.split_once(&marker)).map(|(_, relative)| self.own().join(relative)).collect())
    }
}

/// The names in a list with comments.
pub(crate) fn listed(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split('#').next()).map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn create_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().expect("it was joined");
    std::fs::create_dir_all(parent).map_err(Error::file(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_have_comments() {
        assert_eq!(listed("# why\n\ndwc2 # USB\n  vfat\n"), ["dwc2", "vfat"]);
    }

    #[test]
    fn each_listed_module_says_what_it_is_for() {
        for line in include_str!("../modules").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(line.contains(" # "), "{line}");
        }
    }

    #[test]
    fn what_is_on_the_card_is_loaded_and_what_is_loaded_is_on_the_card() {
        let scripts = [include_str!("../root/etc/init.d/boot"), include_str!("../root/etc/init.d/late")];
        let lines = scripts.iter().flat_map(|script| script.lines()).filter(|line| !line.starts_with('#'));
        let lines = lines.filter(|line| line.contains("modprobe ") || line.contains("set -- "));
        let words = lines.flat_map(|line| line.split([' ', ';'])).map(|word| word.replace('-', "_"));
        let loaded: BTreeSet<String> = words.collect();
        let listed: BTreeSet<String> =
            listed(include_str!("../modules")).iter().map(|name| name.replace('-', "_")).collect();
        let missing: Vec<_> = listed.difference(&loaded).collect();
        assert!(missing.is_empty(), "no script loads {missing:?}");
        let is_module = |word: &&String| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let no_module = ["modprobe", "set", "then", "else", "fi", "if", "__", "_a", "_e", ""];
        let strange: Vec<_> = loaded.difference(&listed).filter(is_module).collect();
        let strange: Vec<_> = strange.into_iter().filter(|word| !no_module.contains(&word.as_str())).collect();
        assert!(strange.is_empty(), "pi-image/modules lacks {strange:?}");
    }
}
