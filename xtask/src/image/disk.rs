//! The disk: partitions by sfdisk, FAT by mtools, ext4 by mke2fs, all in files, put together by copying.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::kernel::Boot;
use super::root::Root;
use super::{Recipe, run_tool, sources};
use crate::stop::Stop;

/// What GRUB's image needs of GRUB.
const GRUB_MODULES: &str = "part_gpt fat boot chain loadenv regexp test echo sleep reboot normal true";
/// Behind the last partition: the second partition table, and room to whole MiB.
const TAIL: u64 = 2 << 20;

/// `layout.sfdisk`, as far as it is needed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name in the table.
    pub name: String,
    /// First sector.
    pub start: u64,
    /// Size in sectors of 512 bytes.
    pub sectors: u64,
    /// Its identifier.
    pub uuid: String,
}

/// Reads the layout.
pub fn layout() -> Result<Layout> {
    let path = sources().join("layout.sfdisk");
    parse(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Layout> {
    let mut partitions = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("start=")) {
        let value = |key: &str| {
            let fields = line.split(',').filter_map(|field| field.trim().split_once('='));
            let mut values =
                fields.filter(|(k, _)| *k == key).map(|(_, value)| value.trim_matches('"').to_owned());
            values.next().with_context(|| format!("no `{key}` in `{line}`"))
        };
        let number = |key: &str| Ok::<_, anyhow::Error>(value(key)?.parse::<u64>()?);
        partitions.push(Partition {
            name: value("name")?,
            start: number("start")?,
            sectors: number("size")?,
            uuid: value("uuid")?,
        });
    }
    ensure!(!partitions.is_empty(), "no partitions");
    for pair in partitions.windows(2) {
        ensure!(
            pair[0].start + pair[0].sectors <= pair[1].start,
            "{} reaches into {}",
            pair[0].name,
            pair[1].name
        );
    }
    Ok(Layout { partitions })
}

impl Layout {
    /// A partition by its name.
    pub fn partition(&self, name: &str) -> Result<&Partition> {
        let mut named = self.partitions.iter().filter(|partition| partition.name == name);
        named.next().with_context(|| format!("image/layout.sfdisk has no partition `{name}`"))
    }

    fn end(&self) -> u64 {
        self.partitions.last().map_or(0, |last| (last.start + last.sectors) * 512)
    }
}

/// Makes the disk with the first slot filled.
pub fn write(boot: &Boot, root: &Root, recipe: &Recipe, stop: &Stop) -> Result<PathBuf> {
    let layout = layout()?;
    let disk = recipe.out.join("glassgate.img");
    let part = recipe.out.join("glassgate.img.part");
    let file = File::create(&part)?;
    file.set_len(layout.end() + TAIL)?;
    let mut sfdisk = Command::new("sfdisk");
    sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(&part);
    sfdisk.stdin(File::open(sources().join("layout.sfdisk"))?).stdout(Stdio::null());
    ensure!(sfdisk.status()?.success(), "sfdisk does not take image/layout.sfdisk");
    let esp = esp(recipe, layout.partition("esp")?.sectors * 512, stop)?;
    let data = data(recipe, layout.partition("data")?, stop)?;
    for (name, from) in [("esp", &esp), ("boot-a", &boot.image), ("root-a", &root.file), ("data", &data)] {
        stop.check()?;
        let partition = layout.partition(name)?;
        let size = std::fs::metadata(from)?.len();
        ensure!(
            size <= partition.sectors * 512,
            "{name} has {size} bytes, and its partition {}",
            partition.sectors * 512
        );
        put(from, &file, partition.start * 512)?;
    }
    file.sync_all()?;
    std::fs::rename(&part, &disk)?;
    Ok(disk)
}

/// Copies a file to a place in another one, without the blocks that are zero there anyway.
fn put(from: &Path, mut to: &File, at: u64) -> Result<()> {
    let mut source = File::open(from)?;
    let (mut block, mut offset) = (vec![0; 1 << 16], at);
    loop {
        let n = source.read(&mut block)?;
        if n == 0 {
            return Ok(());
        }
        if block[..n].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(offset))?;
            to.write_all(&block[..n])?;
        }
        offset += n as u64;
    }
}

/// GRUB with the choice of slots inside, and their first state.
fn esp(recipe: &Recipe, bytes: u64, stop: &Stop) -> Result<PathBuf> {
    let loader = recipe.out.join("BOOTX64.EFI");
    let mut grub = Command::new("grub-mkstandalone");
    grub.args(["-O", "x86_64-efi", "--fonts=", "--themes=", "--locales=", "--compress=no", "-o"])
        .arg(&loader);
    grub.arg(format!("--install-modules={GRUB_MODULES}")).arg(format!("--modules={GRUB_MODULES}"));
    grub.arg(format!("boot/grub/grub.cfg={}", sources().join("grub.cfg").display()));
    run_tool(&mut grub, stop)?;
    super::twice::tar_times(&loader)?;
    let env = recipe.out.join("grubenv");
    drop(std::fs::remove_file(&env));
    run_tool(Command::new("grub-editenv").arg(&env).arg("create"), stop)?;
    let first = ["ORDER=A B", "CONFIRMED=A", "A_OK=1", "A_TRY=0", "B_OK=0", "B_TRY=0"];
    run_tool(Command::new("grub-editenv").arg(&env).arg("set").args(first), stop)?;
    let image = recipe.out.join("esp.img");
    let files =
        [(&loader, "EFI/BOOT/BOOTX64.EFI"), (&env, "glassgate/grubenv"), (&env, "glassgate/grubenv.safe")];
    fat(&image, bytes, "GGESP", 0x6747_4553, &files.map(|(file, name)| (file.as_path(), name)), stop)?;
    Ok(image)
}

/// A FAT file system with files in it.
pub fn fat<P: AsRef<Path>>(
    image: &Path,
    bytes: u64,
    label: &str,
    serial: u32,
    files: &[(P, &str)],
    stop: &Stop,
) -> Result<()> {
    drop(std::fs::remove_file(image));
    File::create(image)?.set_len(bytes)?;
    let epoch = format!("@{}", super::epoch()?);
    // Sectors of a cluster are left to mformat: it takes FAT16 or FAT32 by the size.
    let mut format = Command::new("mformat");
    format.arg("-i").arg(image).args(["-N", &format!("{serial:08x}"), "-v", label, "::"]);
    run_tool(&mut format, stop)?;
    let mut made = std::collections::BTreeSet::new();
    for (file, name) in files {
        let mut dir = String::new();
        for part in name.split('/').collect::<Vec<_>>().split_last().map(|(_, dirs)| dirs).unwrap_or_default()
        {
            dir = format!("{dir}/{part}");
            if made.insert(dir.clone()) {
                run_tool(Command::new("mmd").arg("-i").arg(image).arg(format!("::{dir}")), stop)?;
            }
        }
        let copy = image.with_extension("one");
        std::fs::copy(file, &copy)?;
        run_tool(Command::new("touch").args(["-d", &epoch]).arg(&copy), stop)?;
        run_tool(
            Command::new("mcopy").args(["-m", "-i"]).arg(image).arg(&copy).arg(format!("::/{name}")),
            stop,
        )?;
        std::fs::remove_file(&copy)?;
    }
    Ok(())
}

fn data(recipe: &Recipe, partition: &Partition, stop: &Stop) -> Result<PathBuf> {
    let image = recipe.out.join("data.img");
    drop(std::fs::remove_file(&image));
    File::create(&image)?.set_len(partition.sectors * 512)?;
    let uuid = partition.uuid.to_lowercase();
    let mut make = Command::new("mke2fs");
    // Blocks of 4 KiB, by which disks lose what was not flushed: with smaller ones a power cut tore the superblock apart.
    make.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-L", "glassgate", "-U", &uuid]);
    make.args(["-E", &format!("hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0")]);
    make.env("E2FSPROGS_FAKE_TIME", super::epoch()?);
    run_tool(make.arg(&image), stop)?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_has_two_slots_and_data_last() {
        let layout = parse(include_str!("../../../image/layout.sfdisk")).unwrap();
        for pair in [["boot-a", "boot-b"], ["root-a", "root-b"]] {
            let [a, b] = pair.map(|name| layout.partition(name).unwrap().clone());
            assert_eq!(a.sectors, b.sectors);
        }
        assert_eq!(layout.partitions.last().unwrap().name, "data");
        assert!(layout.partition("swap").is_err());
        // The initrd tells slots by these.
        let init = include_str!("../../../image/init");
        for (name, slot) in [("boot-a", "A"), ("boot-b", "B")] {
            let uuid = &layout.partition(name).unwrap().uuid;
            assert!(init.contains(&format!("{uuid}) slots={slot}")), "{name}");
        }
    }

    #[test]
    fn partitions_that_overlap_are_refused() {
        let line =
            |start: u64, name: &str| format!("start={start}, size=10, type=X, uuid=Y, name=\"{name}\"\n");
        assert!(parse(&(line(0, "a") + &line(10, "b"))).is_ok());
        assert!(parse(&(line(0, "a") + &line(9, "b"))).unwrap_err().to_string().contains("reaches into"));
        assert!(parse("").is_err());
    }

    #[test]
    fn zeroes_are_not_written_and_everything_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut bytes = vec![0; 200_000];
        bytes[150_000] = 7;
        std::fs::write(&from, &bytes).unwrap();
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&to).unwrap();
        file.set_len(300_000).unwrap();
        put(&from, &file, 1000).unwrap();
        let written = std::fs::read(&to).unwrap();
        assert_eq!(
            (written[151_000], written.iter().filter(|b| **b != 0).count(), written.len()),
            (7, 1, 300_000)
        );
    }
}
