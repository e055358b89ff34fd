//! `cargo xtask image`: the firmware, from pinned packages of Debian and our own binary to a disk that can be flashed.
//!
//! ```text
//!  packages.lock ─► unpacked ─► root + root/ + binary ─► squashfs + hash tree ─┐ root hash
//!                       │                                                      ▼
//!                       └─► kernel, modules ─► initrd ─────────────► one kernel image (UKI) ─► boot.img
//!                                                                                                 │
//!                        disk: ESP (GRUB) · boot-a · root-a · boot-b · root-b · data ◄────────────┤
//!                        bundle: boot.img + root.img, signed ◄────────────────────────────────────┘
//! ```
//!
//! What it is made of stands in `image/` as files. Nothing here needs root, a loop device or a mount: packages are unpacked, file
//! systems written by their own tools into files. The only network it uses is apt's.

pub mod budget;
pub mod bundle;
pub mod disk;
pub mod kernel;
pub mod packages;
pub mod root;
pub mod sbom;
pub mod twice;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::stop::Stop;
use crate::{process, setup, ui, workspace};
use budget::Budgets;
use bundle::Keys;

/// No step takes longer, but for the compiler.
const PATIENCE: Duration = Duration::from_secs(1200);
/// Of the compiler, from nothing, on a busy machine.
const COMPILER: Duration = Duration::from_secs(3600);

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "\
What comes out, in target/image:
  glassgate.img     a disk with both slots' places; write it to a disk with `dd`, see docs/flash.md
  glassgate.raucb   the same version as a signed update
  sbom.json         all packages and crates in it, with versions and hashes (CycloneDX)

Examples:
  cargo xtask image                                all of it, with the test key of this work tree
  cargo xtask image --keys ~/keys                  signed by your own key: see docs/flash.md for the files
  cargo xtask image --binary target/release/glassgate
  cargo xtask image --twice                        build it twice and compare
  cargo xtask image --lock                         take Debian's present versions into image/packages.lock")]
pub struct Options {
    /// Resolve the packages of image/packages.toml anew into image/packages.lock, and end.
    #[arg(long)]
    pub lock: bool,
    /// The gateway to put in, in place of a release build of this work tree with DPDK linked in.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// A folder with `update.key.pem`, `update.cert.pem` and `keyring.pem`. Without it a key for tests is made in target/image/keys.
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// The version, in place of that of the work tree.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Put everything together a second time, in another folder, and compare: the same input gives the same bytes.
    #[arg(long)]
    pub twice: bool,
    /// Install what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// As `VERSION_ID` and in the bundle.
    pub version: String,
    /// The gateway.
    pub binary: PathBuf,
    /// Who signs, and whom the image trusts.
    pub keys: Keys,
    /// Folders that are laid over the root, one after the other.
    pub overlays: Vec<PathBuf>,
    /// Whether it may be large for being made quickly.
    pub quick: bool,
    /// Where it goes.
    pub out: PathBuf,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The disk.
    pub disk: PathBuf,
    /// The signed update.
    pub bundle: PathBuf,
    /// Root hash of the verified root, as hexadecimal digits.
    pub root_hash: String,
    /// Size of each part, in bytes.
    pub sizes: Vec<(&'static str, u64)>,
}

impl Made {
    /// What an earlier run made by this recipe, if all of it is there.
    pub fn of_last_run(recipe: &Recipe) -> Option<Self> {
        let (disk, bundle) = (recipe.out.join("glassgate.img"), recipe.out.join("glassgate.raucb"));
        (disk.is_file() && bundle.is_file()).then(|| Self {
            disk,
            bundle,
            root_hash: String::new(),
            sizes: Vec::new(),
        })
    }
}

/// The folder of the project's own files for the image.
pub fn sources() -> PathBuf {
    workspace::root().join("image")
}

/// Where everything is made.
pub fn folder() -> PathBuf {
    workspace::target().join("image")
}

/// Makes the image, the update and the list of parts.
pub fn run(options: &Options, stop: &Stop) -> Result<()> {
    ui::heading("Setup");
    setup::run(&setup::Options { yes: options.yes, image: true, ..setup::Options::default() })?;
    if options.lock {
        ui::heading("Packages");
        return packages::lock(stop);
    }
    ui::heading("Image");
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build_binary(stop)?,
    };
    let keys = match &options.keys {
        Some(dir) => Keys::from(dir)?,
        None => Keys::for_tests(&folder().join("keys"), stop)?,
    };
    let version = match &options.version {
        Some(version) => version.clone(),
        None => version()?,
    };
    let recipe =
        Recipe { version, binary, keys, overlays: vec![sources().join("root")], quick: false, out: folder() };
    let made = make(&recipe, stop)?;
    let doing = ui::doing("list of parts");
    let parts = sbom::write(&recipe, &folder().join("sbom.json"))?;
    doing.done(parts);
    if options.twice {
        ui::heading("Again");
        let again = Recipe { out: folder().join("again"), ..recipe.clone() };
        make(&again, stop)?;
        twice::compare(&recipe.out, &again.out)?;
        std::fs::remove_dir_all(&again.out)?;
    }
    ui::heading("Result");
    Budgets::read(&sources().join("budgets.toml"))?.hold(&made.sizes)?;
    for path in [&made.disk, &made.bundle] {
        let size = std::fs::metadata(path)?.len();
        ui::line(format_args!(
            "  {}  {}  sha256 {}",
            path.display(),
            ui::bytes(size),
            packages::sha256_of(path)?
        ));
    }
    ui::line(format_args!("  version {}, root hash {}", recipe.version, made.root_hash));
    if options.keys.is_none() {
        ui::line("  signed by a key for tests: give your own with --keys before a machine leaves the house");
    }
    Ok(())
}

/// Makes an image by a recipe.
pub fn make(recipe: &Recipe, stop: &Stop) -> Result<Made> {
    std::fs::create_dir_all(&recipe.out)?;
    let parts = packages::fetch(stop)?;
    let tree = root::unpack(&parts, stop)?;
    let doing = ui::doing(format_args!("root {}", recipe.version));
    let root = root::write(&tree, recipe, stop)?;
    doing.done(format_args!("{}, root hash {}…", ui::bytes(root.bytes), &root.root_hash[..16]));
    let doing = ui::doing("kernel image");
    let boot = kernel::write(&tree, &root, recipe, stop)?;
    doing.done(ui::bytes(boot.bytes));
    let doing = ui::doing("disk");
    let disk = disk::write(&boot, &root, recipe, stop)?;
    doing.done(format_args!("{}", disk.display()));
    let doing = ui::doing("update");
    let update = bundle::write(&boot, &root, recipe, stop)?;
    let bundle_bytes = std::fs::metadata(&update)?.len();
    doing.done(ui::bytes(bundle_bytes));
    let sizes = vec![
        ("kernel", boot.kernel_bytes),
        ("initrd", boot.initrd_bytes),
        ("boot", boot.bytes),
        ("root", root.bytes),
        ("bundle", bundle_bytes),
        ("binary", root.binary_bytes),
    ];
    Ok(Made { disk, bundle: update, root_hash: root.root_hash, sizes })
}

/// A release build with DPDK inside.
pub fn build_binary(stop: &Stop) -> Result<PathBuf> {
    let doing = ui::doing("build the gateway (release, DPDK linked in; minutes)");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "-p", "glassgate", "--features", "static-dpdk"])
        .current_dir(workspace::root());
    let done = process::run(&mut cargo, &[], COMPILER, stop)?;
    ensure!(done.status.success(), "the gateway does not build:\n{}", done.stderr);
    let binary = workspace::target().join("release/glassgate");
    ensure!(binary.exists(), "cargo left no {}", binary.display());
    doing.done("");
    Ok(binary)
}

/// The version of the work tree: that of the crates, how many commits there are, and the last of them. Orders as versions do.
pub fn version() -> Result<String> {
    let git = |args: &[&str]| process::capture(Command::new("git").args(args).current_dir(workspace::root()));
    let count = git(&["rev-list", "--count", "HEAD"])?;
    let commit = git(&["rev-parse", "--short=8", "HEAD"])?;
    Ok(format!("{}+{}.{}", env!("CARGO_PKG_VERSION"), count.trim(), commit.trim()))
}

/// Seconds since 1970 of the last commit: the time of every file in the image, and the earliest that its clock can show.
pub fn epoch() -> Result<String> {
    let text = process::capture(
        Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(workspace::root()),
    )?;
    Ok(text.trim().to_owned())
}

/// Runs a command that must succeed; what it said is in the error.
pub fn run_tool(command: &mut Command, stop: &Stop) -> Result<String> {
    command.env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", epoch()?);
    let shown = process::show(command);
    let done = process::run(command, &[], PATIENCE, stop)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "`{shown}` failed ({})\n{said}{}", done.status, done.stderr.trim_end());
    Ok(said)
}

/// Lines of a file of the image without comments.
pub fn lines_of(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_owned());
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

/// Makes an empty folder.
pub fn fresh(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
