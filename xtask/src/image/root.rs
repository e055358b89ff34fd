//! The root: packages unpacked, pruned, overlaid; then a squashfs with its hash tree behind it.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use ring::digest::{SHA256, digest};

use super::packages::{Fetched, Part};
use super::{Recipe, folder, fresh, run_tool, sources};
use crate::stop::Stop;
use crate::ui;

/// Block size of squashfs' hash tree, and of the device above it.
const BLOCK: u64 = 4096;

/// Packages, unpacked side by side.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Everything of the root.
    pub root: PathBuf,
    /// The kernel's package.
    pub kernel: PathBuf,
    /// What only the initrd has.
    pub initrd: PathBuf,
}

/// The root, verified.
#[derive(Clone, Debug)]
pub struct Root {
    /// squashfs and hash tree.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Blocks of data, before the hash tree.
    pub blocks: u64,
    /// Salt of the hash tree, as hexadecimal digits.
    pub salt: String,
    /// As hexadecimal digits.
    pub root_hash: String,
    /// Size of the gateway's binary in it.
    pub binary_bytes: u64,
}

/// Unpacks all packages, unless they are already: the folder's name follows from the lock file and the list of what is left out.
pub fn unpack(parts: &[Fetched], stop: &Stop) -> Result<Tree> {
    let mut all = std::fs::read(sources().join("packages.lock"))?;
    all.extend(std::fs::read(sources().join("prune.txt"))?);
    let name: String =
        digest(&SHA256, &all).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let done = folder().join("trees").join(name);
    let tree =
        |dir: &Path| Tree { root: dir.join("root"), kernel: dir.join("kernel"), initrd: dir.join("initrd") };
    if done.exists() {
        return Ok(tree(&done));
    }
    let doing = ui::doing(format_args!("unpack {} packages", parts.len()));
    let part = done.with_extension("part");
    fresh(&part)?;
    let making = tree(&part);
    for dir in [&making.root, &making.initrd, &making.kernel] {
        merged_usr(dir)?;
    }
    for Fetched { package, file } in parts {
        stop.check()?;
        doing.now(&package.name);
        let to = match package.part {
            Part::Root => &making.root,
            Part::Kernel => &making.kernel,
            Part::Initrd => &making.initrd,
        };
        unpack_one(file, to).with_context(|| format!("unpacking {}", file.display()))?;
    }
    closed(&making.root)?;
    std::fs::rename(&part, &done)?;
    doing.done("");
    Ok(tree(&done))
}

/// `/bin`, `/sbin` and `/lib` are links into `/usr`, before anything is unpacked through them.
fn merged_usr(dir: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::fs::create_dir_all(dir.join("usr").join(name))?;
        symlink(format!("usr/{name}"), dir.join(name))?;
    }
    Ok(())
}

fn unpack_one(package: &Path, to: &Path) -> Result<()> {
    let mut unpack =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let stream = unpack.stdout.take().context("no stream")?;
    let exclude = sources().join("prune.txt");
    let tar = Command::new("tar")
        .args([
            "-x",
            "--keep-directory-symlink",
            "--no-same-owner",
            "--no-same-permissions",
            "--delay-directory-restore",
        ])
        .arg(format!("--exclude-from={}", exclude.display()))
        .arg("-C")
        .arg(to)
        .stdin(stream)
        .status()?;
    ensure!(unpack.wait()?.success() && tar.success(), "dpkg-deb or tar failed");
    Ok(())
}

/// An error if a program or library asks for a library that is not there: a name in `leave_out` or `prune.txt` too many.
fn closed(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    for dir in ["usr/bin", "usr/sbin", "usr/lib"] {
        elf_files(&root.join(dir), &mut files)?;
    }
    let names: BTreeSet<String> =
        files.iter().filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())).collect();
    let mut missing = BTreeSet::new();
    for some in files.chunks(200) {
        let output = Command::new("readelf").arg("-dW").args(some).stderr(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let mut of = "";
        for line in said.lines() {
            if let Some(file) = line.strip_prefix("File: ") {
                of = file;
            } else if let Some((_, rest)) = line.split_once("(NEEDED)") {
                let name =
                    rest.split_once('[').and_then(|(_, rest)| rest.split(']').next()).unwrap_or_default();
                if !names.contains(name) {
                    missing.insert(format!(
                        "{} needs {name}",
                        Path::new(of).strip_prefix(root).unwrap_or(Path::new(of)).display()
                    ));
                }
            }
        }
    }
    if !missing.is_empty() {
        let all: Vec<_> = missing.into_iter().collect();
        bail!(
            "libraries are missing: take their packages out of `leave_out` in image/packages.toml\n  {}",
            all.join("\n  ")
        );
    }
    Ok(())
}

/// Files that begin as programs and libraries do, and links to them.
fn elf_files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    use std::io::Read as _;
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "modules" {
                elf_files(&path, found)?;
            }
            continue;
        }
        let mut head = [0; 4];
        let is_elf = std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut head)).is_ok()
            && head == *b"\x7fELF";
        if is_elf {
            found.push(path);
        }
    }
    Ok(())
}

/// Lays everything together and writes the verified file.
pub fn write(tree: &Tree, recipe: &Recipe, stop: &Stop) -> Result<Root> {
    let stage = recipe.out.join("root");
    if stage.exists() {
        std::fs::remove_dir_all(&stage)?;
    }
    run_tool(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&tree.root).arg(&stage), stop)?;
    for overlay in &recipe.overlays {
        run_tool(
            Command::new("cp").args(["-a", "--no-preserve=ownership"]).arg(overlay.join(".")).arg(&stage),
            stop,
        )?;
    }
    super::kernel::modules(tree, &stage, super::kernel::Which::All, stop)?;
    own_files(&stage, recipe)?;
    // No package's own choice of services counts, only the preset of the image.
    let systemctl = |args: &[&str]| {
        run_tool(Command::new("systemctl").arg(format!("--root={}", stage.display())).args(args), stop)
    };
    systemctl(&["preset-all"])?;
    systemctl(&["set-default", "multi-user.target"])?;
    for at in ["proc", "sys", "dev", "run", "tmp", "var", "root", "mnt"] {
        std::fs::create_dir_all(stage.join(at))?;
    }
    // Folders of packages below /var: the data partition has its own.
    fresh(&stage.join("var"))?;
    std::fs::set_permissions(stage.join("etc/shadow"), PermissionsExt::from_mode(0o600))?;
    // mksquashfs brings what is younger down to SOURCE_DATE_EPOCH, and leaves what was made earlier: links of an unpacked tree, by the day it was unpacked.
    let script = format!("find . -exec touch -h -d @{} {{}} +", super::epoch()?);
    run_tool(Command::new("sh").args(["-c", &script]).current_dir(&stage), stop)?;
    verified(&stage, recipe, stop)
}

fn own_files(stage: &Path, recipe: &Recipe) -> Result<()> {
    let Recipe { version, .. } = recipe;
    let write = |path: &str, text: &str| {
        let path = stage.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(stage))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for path in ["etc/os-release", "usr/lib/os-release", "etc/mtab", "etc/glassgate", "etc/resolv.conf"] {
        drop(std::fs::remove_file(stage.join(path)));
    }
    write(
        "usr/lib/os-release",
        &format!(
            "NAME=Glassgate\nID=glassgate\nID_LIKE=debian\nPRETTY_NAME=\"Glassgate {version}\"\nVERSION=\"{version}\"\n\
             VERSION_ID=\"{version}\"\nIMAGE_ID=glassgate\nIMAGE_VERSION=\"{version}\"\n"
        ),
    )?;
    symlink("../usr/lib/os-release", stage.join("etc/os-release"))?;
    symlink("../proc/self/mounts", stage.join("etc/mtab"))?;
    symlink("/var/lib/glassgate/config", stage.join("etc/glassgate"))?;
    symlink("/run/systemd/resolve/resolv.conf", stage.join("etc/resolv.conf"))?;
    // A clock that was never set shows no time before this.
    write("usr/lib/clock-epoch", "")?;
    let manual = std::fs::read(sources().join("../docs/flash.md")).unwrap_or_default();
    write("usr/share/glassgate/flash.md", &String::from_utf8_lossy(&manual))?;
    write("etc/rauc/keyring.pem", &std::fs::read_to_string(&recipe.keys.keyring)?)?;
    let binary = stage.join("usr/bin/glassgate");
    std::fs::copy(&recipe.binary, &binary)
        .with_context(|| format!("no binary at {}", recipe.binary.display()))?;
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
    let strip = Command::new("strip").arg("--strip-debug").arg(&binary).status()?;
    ensure!(strip.success(), "strip failed");
    binary_is_closed(&binary, stage)
}

/// The gateway finds its libraries in the image, not only on the machine that built it.
fn binary_is_closed(binary: &Path, stage: &Path) -> Result<()> {
    let output = Command::new("readelf").arg("-dW").arg(binary).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let needed =
        said.lines().filter_map(|line| line.split_once("(NEEDED)")?.1.split_once('[')?.1.split(']').next());
    let missing: Vec<&str> = needed
        .filter(|name| {
            let dirs = ["usr/lib/x86_64-linux-gnu", "usr/lib64"];
            !dirs.iter().any(|dir| stage.join(dir).join(name).exists())
        })
        .collect();
    ensure!(
        missing.is_empty(),
        "the gateway needs libraries that the image has not: {}; build it with the feature `static-dpdk`",
        missing.join(", ")
    );
    Ok(())
}

fn verified(stage: &Path, recipe: &Recipe, stop: &Stop) -> Result<Root> {
    let file = recipe.out.join("root.img");
    let level = if recipe.quick { "3" } else { "19" };
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mut squash = Command::new("mksquashfs");
    squash.arg(stage).arg(&file);
    squash.args([
        "-noappend",
        "-quiet",
        "-no-progress",
        "-all-root",
        "-no-xattrs",
        "-b",
        "262144",
        "-comp",
        "zstd",
    ]);
    squash.args(["-Xcompression-level", level]);
    // SOURCE_DATE_EPOCH is the time of the file system, and every file's time is that: the same bytes for the same input.
    run_tool(&mut squash, stop)?;
    let data = std::fs::metadata(&file)?.len();
    ensure!(data % BLOCK == 0, "mksquashfs left {data} bytes, which are no whole blocks");
    let blocks = data / BLOCK;
    // From the version, so that the same input gives the same tree.
    let salt: String =
        digest(&SHA256, recipe.version.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let mut verity = Command::new("veritysetup");
    verity.arg("format").arg(&file).arg(&file);
    verity.args(["--no-superblock", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096"]);
    verity.args([
        format!("--data-blocks={blocks}"),
        format!("--hash-offset={data}"),
        format!("--salt={salt}"),
    ]);
    let said = run_tool(&mut verity, stop)?;
    let hash = said.lines().find_map(|line| line.strip_prefix("Root hash:")).map(str::trim);
    let root_hash = hash.with_context(|| format!("veritysetup gave no root hash:\n{said}"))?.to_owned();
    Ok(Root {
        bytes: std::fs::metadata(&file)?.len(),
        binary_bytes: std::fs::metadata(stage.join("usr/bin/glassgate"))?.len(),
        file,
        blocks,
        salt,
        root_hash,
    })
}
