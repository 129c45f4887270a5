//! Debian's apt knows mirrors, proxies and signatures. It is asked in a folder of its own, so that neither this
//! machine's packages nor its sources count, and nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Lock, Package};
use crate::{Error, run};

const HELPER: &str = "/usr/lib/apt/apt-helper";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org";

/// Debian's name for whatever its kernel for armv7 is today.
pub(super) const KERNEL: &str = "linux-image-armmp";
/// Rust's standard library, of which the compiler needs one for each architecture, in one version.
pub(super) const STANDARD_LIBRARY: &str = "libstd-rust-web-dev";

/// A request for packages of one architecture.
struct PackageRequest {
    arch: &'static str,
    /// The first line counts alone where the others cannot be had.
    suites: &'static [(&'static str, &'static str)],
    /// Without what they depend on.
    alone: &'static [&'static str],
    /// With all they depend on.
    whole: &'static [&'static str],
}

const CARD: PackageRequest = PackageRequest {
    arch: "armhf",
    suites: &[("trixie", "main non-free-firmware"), ("trixie-security", "main non-free-firmware")],
    alone: &["base-files", "busybox-static", "ca-certificates", "raspi-firmware", STANDARD_LIBRARY],
    whole: &["dropbear-bin"],
};

/// Where rustup has no standard library for armv7, Debian has: the browsers of its older release are built with a new
/// compiler. bookworm's runs on every newer system too.
const COMPILER: PackageRequest = PackageRequest {
    arch: "amd64",
    suites: &[("bookworm", "main"), ("bookworm-security", "main")],
    alone: &["rustc-web", STANDARD_LIBRARY],
    whole: &["libllvm22"],
};

/// Packages that every machine that links has. What cargo builds for the compiler to load is linked with them: a second
/// one in the same process may be older.
const OF_THE_MACHINE: &[&str] = &["libc6", "libgcc-s1", "libstdc++6", "gcc-12-base"];

/// Asks Debian's signed indexes for the newest version of everything. Also what could not be had, in a sentence.
///
/// # Errors
/// If apt is not here or an index cannot be had, or is not signed by Debian.
pub fn refresh(scratch: &Path) -> Result<(Lock, Option<String>), Error> {
    if !Path::new(KEYRING).is_file() {
        return Err(Error::Missing { program: KEYRING.to_owned(), package: "debian-archive-keyring".to_owned() });
    }
    let (card, card_note) = Root::open(&CARD, scratch)?;
    let (compiler, compiler_note) = Root::open(&COMPILER, scratch)?;
    let kernel = card.depends(KERNEL, false)?.into_iter().find(|name| name.starts_with("linux-image-"));
    let kernel = kernel.ok_or_else(|| Error::Other(format!("{KERNEL} depends on no kernel")))?;
    let mut packages = card.locate(&[card.names(&CARD)?, vec![kernel]].concat())?;
    // Its own standard library has its version in its name.
    let own =
        compiler.depends(STANDARD_LIBRARY, false)?.into_iter().filter(|name| name.starts_with("libstd-rust-web-"));
    let names = compiler.names(&COMPILER)?.into_iter().filter(|name| !OF_THE_MACHINE.contains(&name.as_str()));
    packages.extend(compiler.locate(&names.chain(own).collect::<Vec<_>>())?);
    let notes: Vec<String> = [card_note, compiler_note].into_iter().flatten().collect();
    Ok((Lock::new(packages), (!notes.is_empty()).then(|| notes.join(" "))))
}

/// A folder that apt takes for a whole system with nothing installed.
struct Root {
    configuration: PathBuf,
    /// `trixie`, say.
    release: &'static str,
}

impl Root {
    fn open(request: &PackageRequest, scratch: &Path) -> Result<(Self, Option<String>), Error> {
        match Self::with(request, request.suites, scratch) {
            Ok(root) => Ok((root, None)),
            Err(why) => {
                let (first, rest) = request.suites.split_first().expect("a constant with an element");
                let root = Self::with(request, &[*first], scratch).map_err(|_| why)?;
                let rest: Vec<&str> = rest.iter().map(|(suite, _)| *suite).collect();
                let note = "cannot be had from the mirror now, so their updates are missing";
                Ok((root, Some(format!("The indexes of {} for {} {note}.", rest.join(", "), request.arch))))
            }
        }
    }

    fn with(request: &PackageRequest, suites: &[(&'static str, &str)], scratch: &Path) -> Result<Self, Error> {
        let folder = scratch.join(format!("apt-{}-{}", request.arch, suites.len()));
        for part in ["etc", "state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(folder.join(part)).map_err(Error::file(&folder))?;
        }
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(Error::file(&path)).map(|()| path)
        };
        let mirrors = Mirrors::of_this_machine();
        let source = |(suite, components): &(&str, &str)| {
            let archive = if suite.ends_with("-security") { &mirrors.security } else { &mirrors.main };
            format!("deb [signed-by={KEYRING} arch={}] {archive} {suite} {components}\n", request.arch)
        };
        write("sources.list", suites.iter().map(source).collect())?;
        write("status", String::new())?;
        let (home, arch) = (folder.display(), request.arch);
        let configuration = write(
            "apt.conf",
            format!(
                "Dir \"{home}\";\nDir::Etc \"{home}/etc\";\nDir::Etc::sourcelist \"{home}/sources.list\";\n\
                 Dir::Etc::sourceparts \"-\";\nDir::State \"{home}/state\";\nDir::State::status \"{home}/status\";\n\
                 Dir::Cache \"{home}/cache\";\nAPT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n\
                 APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
                 APT::Update::Error-Mode \"any\";\n"
            ),
        )?;
        let release = suites.first().expect("a constant with an element").0;
        let root = Self { configuration, release };
        run::output(root.apt("apt-get").args(["--quiet=2", "update"]))?;
        Ok(root)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = run::command(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }

    /// The names of all that is wanted.
    fn names(&self, request: &PackageRequest) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = request.alone.iter().map(|name| (*name).to_owned()).collect();
        for whole in request.whole {
            names.extend(self.depends(whole, true)?);
        }
        Ok(names)
    }

    /// Dependencies of `name`; with `all`, also theirs, and itself.
    fn depends(&self, name: &str, all: bool) -> Result<Vec<String>, Error> {
        let mut apt = self.apt("apt-cache");
        apt.args(["depends", "--important", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"]);
        let said = run::text(apt.args(all.then_some("--recurse")).arg(name))?;
        let names = said.lines().filter_map(|line| match line.split_once("Depends: ") {
            Some((_, dependency)) => Some(dependency),
            None => (all && !line.starts_with(' ')).then_some(line),
        });
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('<')).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Where the newest of each is.
    fn locate(&self, names: &[String]) -> Result<Vec<Package>, Error> {
        let said = run::text(self.apt("apt-get").args(["--print-uris", "download"]).args(names))?;
        said.lines().map(|line| located(line, self.release)).collect::<Option<Vec<_>>>().ok_or_else(|| {
            Error::Other("apt-get --print-uris download said something that is not understood".to_owned())
        })
    }
}

/// From `'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HEX`.
fn located(line: &str, release: &str) -> Option<Package> {
    let mut words = line.split_whitespace();
    let uri = decoded(words.next()?.trim_matches('\''));
    let file = decoded(words.next()?);
    let sha256 = words.nth(1)?.strip_prefix("SHA256:")?;
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version, arch) = (parts.next()?, parts.next()?, parts.next()?);
    let pool = &uri[uri.rfind("/pool/")? + 1..];
    let suite = if pool.starts_with("pool/updates/") { format!("{release}-security") } else { release.to_owned() };
    Package::parse(&format!("{suite} {arch} {name} {version} {sha256} {pool}")).ok()
}

/// With `%2b` and the like as the characters they stand for.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => plain.extend([&char::from(byte).to_string(), &part[2..]]),
            None => plain.extend(["%", part]),
        }
    }
    plain
}

/// Where the machine itself gets Debian's packages from, so that an air-gapped or distant one works.
struct Mirrors {
    main: String,
    security: String,
}

impl Mirrors {
    fn of_this_machine() -> Self {
        let mut apt = run::command("apt-get");
        apt.args(["indextargets", "--format", "$(ORIGIN) $(REPO_URI)"]);
        Self::among(&run::text(&mut apt).unwrap_or_default())
    }

    fn among(targets: &str) -> Self {
        let uris =
            || targets.lines().filter_map(|line| line.strip_prefix("Debian ")).map(|uri| uri.trim_end_matches('/'));
        let found =
            |end: &str| uris().find(|uri| uri.ends_with(end)).map_or_else(|| format!("{MIRROR}{end}"), str::to_owned);
        Self { main: found("/debian"), security: found("/debian-security") }
    }
}

/// Downloads each to where `path` says.
pub(super) fn download(packages: &[&Package], path: &dyn Fn(&Package) -> PathBuf) -> Result<(), Error> {
    let mirrors = Mirrors::of_this_machine();
    let mut helper = run::command(HELPER);
    helper.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download-file"]);
    for package in packages {
        let archive = if package.archive() == "debian-security" { &mirrors.security } else { &mirrors.main };
        helper.arg(format!("{archive}/{}", package.pool)).arg(path(package)).arg(format!("SHA256:{}", package.sha256));
    }
    match run::output(&mut helper) {
        Ok(_) => Ok(()),
        Err(Error::Program { said, .. }) if said.contains("404") => {
            let gone = packages
                .iter()
                .filter(|package| said.contains(package.file_name()) || said.contains(&encoded(package)));
            Err(Error::Gone { names: gone.map(|package| package.file_name().to_owned()).collect() })
        }
        Err(why) => Err(why),
    }
}

/// File name of the package as apt shows it.
fn encoded(package: &Package) -> String {
    package.file_name().replace('+', "%2b").replace('~', "%7e")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "'http://deb.debian.org/debian-security/pool/updates/main/l/llvm-toolchain-22/libllvm22_22.1.8-1%7edeb12u1_amd64.deb' libllvm22_1%3a22.1.8-1~deb12u1_amd64.deb 29378692 SHA256:729ec3e943d320515c2bbdc96acfffd7ce34861e62bd5c42726bf586d644dfe2";

    #[test]
    fn what_apt_prints_becomes_a_package() {
        let package = located(URI, "bookworm").expect("it is one");
        assert_eq!((package.suite.as_str(), package.version.as_str()), ("bookworm-security", "1:22.1.8-1~deb12u1"));
        assert_eq!(package.pool, "pool/updates/main/l/llvm-toolchain-22/libllvm22_22.1.8-1~deb12u1_amd64.deb");
        assert_eq!(located("Reading package lists...", "bookworm"), None);
    }

    #[test]
    fn the_mirror_is_the_machines_own_if_it_has_one_for_debian() {
        let own = Mirrors::among("Debian http://mirror.example/debian/\nDocker https://docker.example/debian\n");
        assert_eq!(
            (own.main.as_str(), own.security.as_str()),
            ("http://mirror.example/debian", "http://deb.debian.org/debian-security")
        );
        assert_eq!(Mirrors::among("").main, "http://deb.debian.org/debian");
    }

    #[test]
    fn a_percent_sign_that_stands_for_nothing_stays() {
        assert_eq!(decoded("1%3a2%7e3+%zz%2"), "1:2~3+%zz%2");
    }
}
