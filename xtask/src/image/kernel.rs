//! The kernel image of a slot: kernel, initrd and command line behind systemd's EFI stub, in a file system of its own.
//!
//! One file, so that one signature of the firmware (Secure Boot) or one checksum holds all three, and with the root hash in the
//! command line the root as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::root::{Root, Tree};
use super::{Recipe, fresh, lines_of, run_tool, sources};
use crate::stop::Stop;

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// The kernel image, in the file system of a boot slot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The file system.
    pub image: PathBuf,
    /// Size of the kernel image in it.
    pub bytes: u64,
    /// Of that, the kernel.
    pub kernel_bytes: u64,
    /// Of that, the initrd.
    pub initrd_bytes: u64,
}

/// Which modules of `modules.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those of the initrd.
    Initrd,
}

/// Makes initrd, kernel image and boot file system.
pub fn write(tree: &Tree, root: &Root, recipe: &Recipe, stop: &Stop) -> Result<Boot> {
    let version = version(tree)?;
    let kernel = tree.kernel.join("boot").join(format!("vmlinuz-{version}"));
    let initrd = initrd(tree, recipe, stop)?;
    let cmdline = recipe.out.join("cmdline");
    let words = std::fs::read_to_string(sources().join("cmdline"))?;
    let words: Vec<&str> = words.split_whitespace().collect();
    let verity = format!("glassgate.verity={}:{}:{}", root.blocks, root.salt, root.root_hash);
    std::fs::write(&cmdline, format!("{} {verity}", words.join(" ")))?;
    let efi = recipe.out.join("glassgate.efi");
    let release = recipe.out.join("root/usr/lib/os-release");
    join(
        &[(".osrel", &release), (".cmdline", &cmdline), (".linux", &kernel), (".initrd", &initrd)],
        &efi,
        stop,
    )?;
    let image = recipe.out.join("boot.img");
    let sectors = super::disk::layout()?.partition("boot-a")?.sectors;
    super::disk::fat(&image, sectors * 512, "GGBOOT", 0x6747_4254, &[(&efi, "glassgate.efi")], stop)?;
    let size = |path: &Path| Ok::<_, std::io::Error>(std::fs::metadata(path)?.len());
    Ok(Boot { bytes: size(&efi)?, kernel_bytes: size(&kernel)?, initrd_bytes: size(&initrd)?, image })
}

/// The version of the kernel in the tree.
fn version(tree: &Tree) -> Result<String> {
    let dir = tree.kernel.join("usr/lib/modules");
    let mut names =
        std::fs::read_dir(&dir)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        _ => bail!("{} does not hold one kernel", dir.display()),
    }
}

/// Copies the modules of `modules.txt`, with all that they need, into a tree, and writes the index that modprobe reads.
pub fn modules(tree: &Tree, to: &Path, which: Which, stop: &Stop) -> Result<()> {
    let version = version(tree)?;
    let from = tree.kernel.join("usr/lib/modules").join(&version);
    if !from.join("modules.dep").exists() {
        run_tool(Command::new("depmod").arg("-b").arg(&tree.kernel).arg(&version), stop)?;
    }
    let needs = needs(&std::fs::read_to_string(from.join("modules.dep"))?);
    let built_in: BTreeSet<String> =
        lines_of(&from.join("modules.builtin"))?.iter().map(|path| module_name(path)).collect();
    let mut wanted = BTreeSet::new();
    for line in lines_of(&sources().join("modules.txt"))? {
        let (name, is_initrd) = match line.split_once(' ') {
            Some((name, "initrd")) => (name, true),
            None => (line.as_str(), false),
            Some((_, more)) => bail!("image/modules.txt: `{more}` behind `{line}` means nothing"),
        };
        let key = module_name(name);
        match needs.get(&key) {
            _ if which == Which::Initrd && !is_initrd => {}
            Some(paths) => wanted.extend(paths.iter().cloned()),
            None => ensure!(built_in.contains(&key), "image/modules.txt: this kernel has no module `{name}`"),
        }
    }
    let into = to.join("usr/lib/modules").join(&version);
    for path in &wanted {
        let file = into.join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(&into))?;
        std::fs::copy(from.join(path), &file)?;
    }
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        std::fs::copy(from.join(name), into.join(name))?;
    }
    run_tool(Command::new("depmod").arg("-b").arg(to).arg(&version), stop)?;
    Ok(())
}

/// Each module with the paths of itself and all that it needs.
fn needs(dep: &str) -> BTreeMap<String, Vec<String>> {
    let lines = dep.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(path, needs)| {
            let all = std::iter::once(path).chain(needs.split_whitespace()).map(str::to_owned).collect();
            (module_name(path), all)
        })
        .collect()
}

/// `kernel/drivers/net/virtio_net.ko` is `virtio_net`, and so is `virtio-net`.
fn module_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

fn initrd(tree: &Tree, recipe: &Recipe, stop: &Stop) -> Result<PathBuf> {
    let stage = recipe.out.join("initrd");
    fresh(&stage)?;
    for dir in ["proc", "sys", "dev", "run", "sysroot", "data", "bin", "usr/lib64", "usr/sbin"] {
        std::fs::create_dir_all(stage.join(dir))?;
    }
    for name in ["lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), stage.join(name))?;
    }
    std::fs::copy(tree.initrd.join("usr/bin/busybox"), stage.join("bin/busybox"))?;
    std::fs::copy(sources().join("init"), stage.join("init"))?;
    // By this name the kernel asks for modules itself.
    std::os::unix::fs::symlink("../../bin/busybox", stage.join("usr/sbin/modprobe"))?;
    for path in lines_of(&sources().join("initrd.txt"))? {
        let to = stage.join(&path);
        std::fs::create_dir_all(to.parent().unwrap_or(&stage))?;
        // Links are followed: a library is one file under the name that it is asked by.
        std::fs::copy(tree.root.join(&path), &to)
            .with_context(|| format!("image/initrd.txt: no {path} in the packages"))?;
    }
    let listed = Command::new(stage.join("usr/lib64/ld-linux-x86-64.so.2"))
        .args(["--inhibit-cache", "--library-path"])
        .arg(stage.join("usr/lib/x86_64-linux-gnu"))
        .arg("--list")
        .arg(stage.join("usr/sbin/dmsetup"))
        .output()?;
    let said = String::from_utf8_lossy(&listed.stdout);
    let stray: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("=>") && !line.contains(&stage.display().to_string()))
        .collect();
    ensure!(
        listed.status.success() && stray.is_empty(),
        "image/initrd.txt lacks libraries of dmsetup:\n{}",
        stray.join("\n")
    );
    modules(tree, &stage, Which::Initrd, stop)?;
    let file = std::path::absolute(recipe.out.join("initrd.img"))?;
    let level = if recipe.quick { "-3" } else { "-19" };
    let script = format!(
        "find . -exec touch -h -d @{} {{}} + && find . -print0 | sort -z | cpio --null -o -H newc --reproducible -R 0:0 --quiet | zstd -q -f {level} -o {}",
        super::epoch()?,
        file.display()
    );
    run_tool(Command::new("sh").args(["-c", &script]).current_dir(&stage), stop)?;
    Ok(file)
}

/// Puts sections into the stub, behind its own.
fn join(sections: &[(&str, &PathBuf)], to: &Path, stop: &Stop) -> Result<()> {
    let said = run_tool(Command::new("objdump").args(["-h", "-w", STUB]), stop)?;
    let mut at = end_of_sections(&said).context("the EFI stub has no sections")?;
    let mut objcopy = Command::new("objcopy");
    for (name, file) in sections {
        objcopy.arg("--add-section").arg(format!("{name}={}", file.display()));
        objcopy.arg("--change-section-vma").arg(format!("{name}={at:#x}"));
        at = (at + std::fs::metadata(file)?.len()).next_multiple_of(0x1000);
    }
    run_tool(objcopy.arg(STUB).arg(to), stop)?;
    super::twice::efi_time(to)
}

/// Where the sections of `objdump -h` end, rounded up to pages.
fn end_of_sections(said: &str) -> Option<u64> {
    let ends = said.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.first()?.parse::<u32>().ok()?;
        let number = |at: usize| u64::from_str_radix(fields.get(at)?, 16).ok();
        Some(number(2)? + number(3)?)
    });
    ends.max().map(|end| end.next_multiple_of(0x1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_with_what_they_need() {
        let needs = needs(
            "kernel/net/bridge/bridge.ko: kernel/net/802/stp.ko kernel/net/llc/llc.ko\nkernel/net/llc/llc.ko:\n",
        );
        assert_eq!(needs["bridge"].len(), 3);
        assert_eq!(needs["llc"], ["kernel/net/llc/llc.ko"]);
        assert_eq!(module_name("kernel/drivers/net/virtio-net.ko.xz"), "virtio_net");
    }

    #[test]
    fn sections_go_behind_those_of_the_stub() {
        let said = "Sections:\nIdx Name          Size      VMA               LMA               File off  Algn  Flags\n  \
                    0 .text         00009a10  0000000000002000  0000000000002000  00000400  2**4  CONTENTS\n  \
                    1 .sdmagic      00000030  000000000000f000  000000000000f000  0000e200  2**2  CONTENTS\n";
        assert_eq!(end_of_sections(said), Some(0x10000));
        assert_eq!(end_of_sections("no sections"), None);
    }
}
