//! From packages and the checkout to files in `dist/`. The same inputs give the same bytes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::card::{FatFile, Workshop};
use crate::compile::{self, Target, Versions};
use crate::contents::{self, Part};
use crate::cpio::Archive;
use crate::modules::{self, Kernel};
use crate::options::Options;
use crate::packages::{self, Lock, Package, Store};
use crate::root::{self, read};
use crate::sbom::{self, Subject};
use crate::{Error, run};

/// Image and lists that a build wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildOutput {
    /// To be written to a card as it is.
    pub image: PathBuf,
    /// The same for a download: `xz`.
    pub compressed: PathBuf,
    /// List of the image's contents, as SPDX.
    pub sbom: PathBuf,
    /// SHA-256 of the other three.
    pub sums: PathBuf,
    /// Irregularities of the build, a sentence each.
    pub notes: Vec<String>,
    /// Secrets of the user that are in the image now, for example "the cluster's key".
    pub secrets: Vec<&'static str>,
}

/// Builds the image.
///
/// # Errors
/// If an option is wrong, a package cannot be had, or a program fails.
pub fn build(options: &Options) -> Result<BuildOutput, Error> {
    let personal = options.files()?;
    let origin = Origin::of(&options.workspace)?;
    let scratch = Scratch::new(&options.workspace)?;
    let store = Store::of_user();
    let (sources, note) = Sources::get(options, &store)?;
    let bramble = compile::binary_from(&options.workspace, Target::Armv7, &sources.lock)?;

    eprintln!("Putting the card together.");
    let workshop = Workshop { scratch: &scratch.0, time: origin.time };
    let data = workshop.data()?;
    let archive = sources.archive(options, &origin, &bramble, &workshop)?;
    let initramfs = root::compressed(&archive.bytes(origin.time), &scratch.0)?;
    let parts = sources.parts(&options.workspace)?;
    let mut files = sources.boot_files(options, &origin, &parts)?;
    files.push(FatFile { path: "initramfs.img".to_owned(), bytes: initramfs });
    files.extend(personal.files);
    let card = workshop.card(&workshop.fat(&files)?, &data)?;

    let mut built = deliver(options, &origin, &card, &parts)?;
    built.notes.extend(note);
    built.secrets = personal.secrets;
    Ok(built)
}

/// State of the sources: commit and time.
struct Origin {
    /// Of the workspace.
    version: String,
    /// Seconds since 1970: of the last commit, so that a rebuild gives the same.
    time: u32,
    /// Of git, with `-dirty` if something is not committed.
    revision: String,
}

impl Origin {
    fn of(workspace: &Path) -> Result<Self, Error> {
        let git = |arguments: &[&str]| run::text(run::command("git").arg("-C").arg(workspace).args(arguments));
        let given = std::env::var("SOURCE_DATE_EPOCH").ok();
        let time = given.map_or_else(|| git(&["log", "-1", "--format=%ct"]).ok(), Some);
        let time = time.and_then(|time| time.trim().parse().ok()).ok_or_else(|| {
            Error::Other(
                "this is no git checkout; set SOURCE_DATE_EPOCH to the seconds since 1970 that the image shall bear"
                    .to_owned(),
            )
        })?;
        let mut revision =
            git(&["rev-parse", "--short=12", "HEAD"]).map_or("unknown".to_owned(), |text| text.trim().to_owned());
        if git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|changes| !changes.is_empty()) {
            revision.push_str("-dirty");
        }
        Ok(Self { version: env!("CARGO_PKG_VERSION").to_owned(), time, revision })
    }
}

/// A folder for one build, gone with it: two builds at a time do not meet.
struct Scratch(PathBuf);

impl Scratch {
    fn new(workspace: &Path) -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("build-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = folder(workspace).join(name);
        std::fs::create_dir_all(&path).map_err(Error::file(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it cannot be removed, it lies in target/, where it does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder(workspace: &Path) -> PathBuf {
    compile::target_folder(workspace).join("pi-image")
}

/// The packages, unpacked.
struct Sources {
    lock: Lock,
    kernel: Kernel,
    kernel_folder: PathBuf,
    /// All others over each other.
    others: PathBuf,
}

impl Sources {
    /// Also what is worth a note.
    fn get(options: &Options, store: &Store) -> Result<(Self, Option<String>), Error> {
        let workspace = &options.workspace;
        options.packages.with(workspace, &folder(workspace), |lock| Self::unpack(lock, store, workspace))
    }

    fn unpack(lock: Lock, store: &Store, workspace: &Path) -> Result<Self, Error> {
        compile::prepare(workspace, Target::Armv7, &lock)?;
        let kernel = lock.kernel()?;
        let others = |package: &&Package| !package.is_of_compiler() && *package != kernel;
        let others = unpacked(store, &lock.packages().filter(others).collect::<Vec<_>>(), workspace)?;
        let kernel_folder = unpacked(store, &[kernel], workspace)?;
        Ok(Self { kernel: Kernel::unpacked(&kernel_folder)?, kernel_folder, others, lock })
    }

    fn archive(
        &self,
        options: &Options,
        origin: &Origin,
        bramble: &Path,
        workshop: &Workshop<'_>,
    ) -> Result<Archive, Error> {
        let own = options.workspace.join("pi-image");
        let mut archive = Archive::default();
        let list = String::from_utf8_lossy(&read(&own.join("modules"))?).into_owned();
        let scratch = workshop.scratch.join("modules");
        self.kernel.put_modules(&modules::listed(&list), &scratch, &mut archive)?;
        let release = format!(
            "VERSION={}\nBUILT={}\nKERNEL={}\nREVISION={}\n",
            origin.version, origin.time, self.kernel.version, origin.revision
        );
        let data = run::output(
            run::command("gzip").args(["-9", "--no-name", "--stdout"]).arg(workshop.scratch.join("data.ext4")),
        )?;
        let parts = root::Parts { packages: &self.others, bramble, own: &own.join("root"), release, data };
        parts.put(&mut archive)?;
        Ok(archive)
    }

    fn parts(&self, workspace: &Path) -> Result<Vec<Part>, Error> {
        let mut parts = contents::debian(&self.lock, &self.others, &self.kernel_folder)?;
        parts.extend(contents::libraries(&Versions::of_armv7(workspace, &self.lock)?));
        parts.extend(contents::crates(workspace, Target::Armv7)?);
        Ok(parts)
    }

    /// All of the first partition but the initramfs and what is a person's.
    fn boot_files(&self, options: &Options, origin: &Origin, parts: &[Part]) -> Result<Vec<FatFile>, Error> {
        let mut files = contents::licences(parts, &self.others, &options.workspace)?;
        let firmware = self.others.join("usr/lib/raspi-firmware");
        let board = "bcm2836-rpi-2-b.dtb";
        for (name, from) in [
            ("vmlinuz", self.kernel.image()),
            (board, self.kernel.device_tree(board)),
            ("bootcode.bin", firmware.join("bootcode.bin")),
            // Not the smaller start_cd.elf: with it, HDMI stays dark (raspberrypi/firmware, issue 1486).
            ("start.elf", firmware.join("start.elf")),
            ("fixup.dat", firmware.join("fixup.dat")),
        ] {
            files.push(FatFile { path: name.to_owned(), bytes: read(&from)? });
        }
        for path in root::sorted(&options.workspace.join("pi-image/boot"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = String::from_utf8_lossy(&read(&path)?).into_owned();
            let text = text.replace("@VERSION@", &origin.version).replace("@KERNEL@", &self.kernel.version);
            files.push(FatFile { path: name, bytes: text.replace("@REVISION@", &origin.revision).into_bytes() });
        }
        Ok(files)
    }
}

/// The packages, unpacked once for all builds of this target folder.
fn unpacked(store: &Store, packages: &[&Package], workspace: &Path) -> Result<PathBuf, Error> {
    let sums: String = packages.iter().map(|package| package.sha256.get(..4).unwrap_or_default()).collect();
    let folder = folder(workspace).join("unpacked").join(sums);
    if folder.is_dir() {
        // Still to be had, or a build from the lock alone would fail elsewhere without a warning here.
        store.fetch(packages)?;
    } else {
        std::fs::create_dir_all(folder.parent().expect("it was joined")).map_err(Error::file(&folder))?;
        store.unpack(packages, &folder)?;
    }
    Ok(folder)
}

/// Moves the card to where it is wanted, with its companions.
fn deliver(options: &Options, origin: &Origin, card: &Path, parts: &[Part]) -> Result<BuildOutput, Error> {
    let out = options.out_folder();
    std::fs::create_dir_all(&out).map_err(Error::file(&out))?;
    let name = format!("bramble-pi2-{}.img", origin.version);
    let [image, compressed, sbom, sums] = [
        name.clone(),
        format!("{name}.xz"),
        format!("bramble-pi2-{}.spdx.json", origin.version),
        "SHA256SUMS".to_owned(),
    ]
    .map(|name| out.join(name));
    // One thread: with more, the file would depend on their number.
    run::output(run::command("xz").args(["-6", "--threads=1", "--keep", "--force", "--suffix=.xz"]).arg(card))?;
    let mut packed = card.as_os_str().to_owned();
    packed.push(".xz");
    move_to(card, &image)?;
    move_to(Path::new(&packed), &compressed)?;
    let sha256 = packages::sha256(std::slice::from_ref(&image))?.remove(0);
    let subject = Subject { file: &name, version: &origin.version, sha256: &sha256, time: origin.time };
    let mut text = serde_json::to_string_pretty(&sbom::document(&subject, parts)).expect("it has only strings as keys");
    text.push('\n');
    std::fs::write(&sbom, text).map_err(Error::file(&sbom))?;
    let listed = [&image, &compressed, &sbom];
    let lines = packages::sha256(&listed.map(PathBuf::clone))?
        .into_iter()
        .zip(listed)
        .map(|(sum, path)| format!("{sum}  {}\n", path.file_name().unwrap_or_default().to_string_lossy()));
    std::fs::write(&sums, lines.collect::<String>()).map_err(Error::file(&sums))?;
    Ok(BuildOutput { image, compressed, sbom, sums, notes: Vec::new(), secrets: Vec::new() })
}

/// Also onto another file system. Holes stay holes.
fn move_to(from: &Path, to: &Path) -> Result<(), Error> {
    if std::fs::rename(from, to).is_ok() {
        return Ok(());
    }
    run::output(run::command("cp").args(["--sparse=always", "--"]).arg(from).arg(to)).map(|_| ())
}
