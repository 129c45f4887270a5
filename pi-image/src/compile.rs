//! Compiles `bramble` for a Pi, or for a container of nothing else: linked with all it needs, so that it misses no
//! library there. The compiler for armv7 is rustup's where it has one, else Debian's, unpacked beside the downloads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::packages::{Lock, Package, Packages, Store};
use crate::{CROSS_COMPILER, Error, run};

/// Architecture that `bramble` is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// PCs, for containers.
    Amd64,
    /// A Raspberry Pi 2 or later with a 32-bit system.
    Armv7,
}

impl Target {
    /// As Rust calls it.
    #[must_use]
    pub fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// As its folder and the command line call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Armv7 => "armv7",
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = [Self::Amd64, Self::Armv7].into_iter().find(|target| target.name() == name);
        found.ok_or_else(|| Error::Other(format!("{name:?} is no target; there are amd64 and armv7")))
    }
}

/// Compiles `bramble` of `workspace` without shared libraries, in the release profile. Its path, and a note if it is
/// not the locked compiler that did it.
///
/// # Errors
/// If there is no compiler, or it fails; it has then said why on stderr.
pub fn binary(workspace: &Path, target: Target, packages: Packages) -> Result<(PathBuf, Option<String>), Error> {
    let scratch = target_folder(workspace).join("pi-image");
    let prepared = |lock: Lock| prepare(workspace, target, &lock).map(|()| lock);
    let (lock, note) = packages.with(workspace, &scratch, prepared)?;
    Ok((binary_from(workspace, target, &lock)?, note))
}

/// Sees to it that there is a compiler.
pub(crate) fn prepare(workspace: &Path, target: Target, lock: &Lock) -> Result<(), Error> {
    if rustup_has(workspace, target) {
        return Ok(());
    }
    Compiler::of_debian(&Store::of_user(), lock).map(|_| ())
}

/// As [`binary`], with this lock.
pub(crate) fn binary_from(workspace: &Path, target: Target, lock: &Lock) -> Result<PathBuf, Error> {
    // A folder of its own for each: another compiler, or other flags, would make cargo build everything else anew.
    let folder = target_folder(workspace).join("static").join(target.name());
    let mut cargo = run::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "bramble-cli",
        "--bin",
        "bramble",
    ]);
    cargo.args(["--target", target.triple(), "--target-dir"]).arg(&folder);
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let mut flags = Flags::new(workspace, &folder);
    if target == Target::Armv7 {
        cargo.env("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER", linker()?);
        cargo.env("CC_armv7_unknown_linux_gnueabihf", linker()?);
    }
    if !rustup_has(workspace, target) {
        let compiler = Compiler::of_debian(&Store::of_user(), lock)?;
        flags.hide(&compiler.prefix, "/rust");
        cargo.env("RUSTC", compiler.rustc);
    }
    eprintln!("Compiling bramble for {}.", target.triple());
    run::finish(cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.rust()).env("CFLAGS", flags.c()))?;
    Ok(folder.join(target.triple()).join("release/bramble"))
}

/// Of what is linked into `bramble` besides its crates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) rust: String,
    pub(crate) libc: String,
    pub(crate) gcc: String,
}

impl Versions {
    /// Of the compilers that [`binary_from`] takes for armv7.
    pub(crate) fn of_armv7(workspace: &Path, lock: &Lock) -> Result<Self, Error> {
        let mut rustc = if rustup_has(workspace, Target::Armv7) {
            run::command(rustc())
        } else {
            run::command(Compiler::of_debian(&Store::of_user(), lock)?.rustc)
        };
        let said = run::text(rustc.current_dir(workspace).arg("--version"))?;
        let rust = said.split(' ').nth(1).unwrap_or("unknown").to_owned();
        let gcc = run::text(run::command(linker()?).arg("-dumpfullversion"))?.trim().to_owned();
        // Elsewhere than on Debian it has another name, or none.
        let mut dpkg = run::command("dpkg-query");
        let libc = run::text(dpkg.args(["--show", "--showformat", "${Version}", "libc6-dev-armhf-cross"]));
        Ok(Self { rust, libc: libc.unwrap_or_else(|_| "unknown".to_owned()), gcc })
    }
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |folder| workspace.join(folder))
}

fn linker() -> Result<PathBuf, Error> {
    const PROGRAM: &str = "arm-linux-gnueabihf-gcc";
    run::find(PROGRAM).ok_or_else(|| Error::Missing { program: PROGRAM.to_owned(), package: CROSS_COMPILER.to_owned() })
}

/// The compiler that cargo would take by itself.
fn rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Whether the compiler that cargo would take has the standard library of `target`.
fn rustup_has(workspace: &Path, target: Target) -> bool {
    let mut rustc = run::command(rustc());
    let said = run::text(rustc.current_dir(workspace).args(["--print", "target-libdir", "--target", target.triple()]));
    said.is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Compiler flags besides those that cargo gives.
struct Flags {
    /// Folders of this machine, and what stands in the binary instead.
    hidden: Vec<(String, &'static str)>,
}

impl Flags {
    fn new(workspace: &Path, target: &Path) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        let mut flags = Self { hidden: Vec::new() };
        flags.hide(workspace, "/bramble");
        flags.hide(&cargo, "/cargo");
        // The last that fits counts, and it may lie in the workspace.
        flags.hide(target, "/target");
        flags
    }

    fn hide(&mut self, folder: &Path, name: &'static str) {
        self.hidden.push((folder.display().to_string(), name));
    }

    fn rust(&self) -> String {
        // At a fixed address, no pointer in the program has to be changed when it starts, so all roles share those
        // pages: an idle registry on amd64 has 268 kB of its own instead of 416. Stack and heap stay at random ones.
        let fixed = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"].map(str::to_owned);
        let hidden = self.hidden.iter().map(|(folder, name)| format!("--remap-path-prefix={folder}={name}"));
        fixed.into_iter().chain(hidden).collect::<Vec<_>>().join("\x1f")
    }

    fn c(&self) -> String {
        self.hidden
            .iter()
            .map(|(folder, name)| format!("-ffile-prefix-map={folder}={name}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Starts every program of amd64.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Debian's compiler for amd64 with the standard libraries of amd64 and armhf.
struct Compiler {
    prefix: PathBuf,
    /// A script that starts it with its own libraries.
    rustc: PathBuf,
}

impl Compiler {
    fn of_debian(store: &Store, lock: &Lock) -> Result<Self, Error> {
        let packages: Vec<&Package> = lock.packages().filter(|package| package.is_of_compiler()).collect();
        let rustc = packages.iter().find(|package| package.name == "rustc-web");
        let rustc = rustc.ok_or_else(|| Error::NotLocked { name: "rustc-web".to_owned(), arch: "amd64".to_owned() })?;
        // Named by what is in it: another lock has another.
        let sums: String = packages.iter().map(|package| package.sha256.get(..4).unwrap_or_default()).collect();
        let prefix = store.folder().join(format!("rust/{}-{sums}", rustc.version));
        if !prefix.is_dir() {
            let parent = prefix.parent().expect("it was joined");
            std::fs::create_dir_all(parent).map_err(Error::file(parent))?;
            store.unpack(&packages, &prefix)?;
        }
        let compiler = Self { rustc: prefix.join("rustc"), prefix };
        compiler.write_script()?;
        compiler.libraries_are_of_one_compiler()?;
        Ok(compiler)
    }

    fn write_script(&self) -> Result<(), Error> {
        let usr = self.prefix.join("usr").display().to_string().replace('\'', r"'\''");
        // Not LD_LIBRARY_PATH: the linker would inherit it.
        let script = format!(
            "#!/bin/sh\nexec {LOADER} --library-path '{usr}/lib/x86_64-linux-gnu' '{usr}/bin/rustc' --sysroot '{usr}' \"$@\"\n"
        );
        if std::fs::read_to_string(&self.rustc).is_ok_and(|written| written == script) {
            return Ok(());
        }
        std::fs::write(&self.rustc, script).map_err(Error::file(&self.rustc))?;
        run::output(run::command("chmod").arg("755").arg(&self.rustc)).map(|_| ())
    }

    /// Fails if the libraries come from two releases of Debian; the compiler would refuse another's library with many
    /// words.
    fn libraries_are_of_one_compiler(&self) -> Result<(), Error> {
        let said = run::text(Command::new(&self.rustc).arg("--version"))?;
        let version = said.trim();
        for target in [Target::Amd64, Target::Armv7] {
            let folder = self.prefix.join("usr/lib/rustlib").join(target.triple()).join("lib");
            let files = std::fs::read_dir(&folder).map_err(Error::file(&folder))?.flatten().map(|entry| entry.path());
            let is_core = |path: &PathBuf| {
                path.to_string_lossy().contains("/libcore-") && path.extension().is_some_and(|end| end == "rmeta")
            };
            let core = files.into_iter().find(is_core);
            let core = core.ok_or_else(|| Error::Other(format!("{} has no libcore", folder.display())))?;
            let content = std::fs::read(&core).map_err(Error::file(&core))?;
            if !content.windows(version.len()).any(|window| window == version.as_bytes()) {
                let why = "is of another compiler; run `cargo xtask image refresh`";
                return Err(Error::Other(format!("{version}: the standard library for {} {why}", target.triple())));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_as_a_person_would() {
        assert_eq!("armv7".parse::<Target>().expect("a target").triple(), "armv7-unknown-linux-gnueabihf");
        let why = "arm64".parse::<Target>().expect_err("not yet").to_string();
        assert_eq!(why, "\"arm64\" is no target; there are amd64 and armv7");
    }

    #[test]
    fn the_folders_of_this_machine_are_hidden() {
        let flags = Flags::new(Path::new("/home/user/bramble"), Path::new("/home/user/bramble/target"));
        assert!(flags.rust().contains("\x1f--remap-path-prefix=/home/user/bramble=/bramble\x1f"));
        assert!(flags.c().ends_with("-ffile-prefix-map=/home/user/bramble/target=/target"));
    }
}
