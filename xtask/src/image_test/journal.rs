//! Every write of the machine to its disk, in the order in which the disk took them, as QEMU's `blklogwrites` keeps them (the format of
//! Linux' `dm-log-writes`), and the disk as it was at any moment in between.
//!
//! A disk with a cache that power cuts empty is told by it as well: what was written since the last flush may be there or not, block by block
//! of the 4 KiB that flash and large disks write at once. What was flushed is there.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR: u64 = 512;
/// Sectors that are there together or not at all.
const BLOCK: u64 = 8;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// Something that the machine asked of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Data, at a place of the disk.
    Write {
        /// First sector.
        sector: u64,
        /// How many.
        sectors: u64,
        /// Where its bytes are in the file.
        at: u64,
    },
    /// All that was written before is to stay.
    Flush,
}

impl Entry {
    /// Whether it writes into these sectors.
    pub fn touches(&self, first: u64, count: u64) -> bool {
        match self {
            Self::Write { sector, sectors, .. } => *sector < first + count && first < *sector + *sectors,
            Self::Flush => false,
        }
    }
}

/// The file, and what is in it.
pub struct Journal {
    file: File,
    /// In their order.
    pub entries: Vec<Entry>,
}

impl Journal {
    /// Reads all of it.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let entries = parse(&file).with_context(|| format!("{} is no log of writes", path.display()))?;
        Ok(Self { file, entries })
    }

    /// How much a log has by now, while the machine is still writing; up to the last flush of the disk or a little more.
    pub fn count(path: &Path) -> Result<usize> {
        let mut count = [0; 8];
        File::open(path)?.read_exact_at(&mut count, 16)?;
        Ok(u64::from_le_bytes(count) as usize)
    }

    /// Does the writes `from` to `to`, without `to`, to a disk; those that `keep` wants, asked block by block.
    pub fn apply(&self, disk: &File, from: usize, to: usize, mut keep: impl FnMut() -> bool) -> Result<()> {
        let mut sector_bytes = [0; SECTOR as usize];
        for entry in self.entries.get(from..to).context("beyond the log")? {
            let Entry::Write { sector, sectors, at } = *entry else { continue };
            let mut kept = keep();
            for n in 0..sectors {
                if n > 0 && (sector + n) % BLOCK == 0 {
                    kept = keep();
                }
                if kept {
                    self.file.read_exact_at(&mut sector_bytes, at + n * SECTOR)?;
                    disk.write_all_at(&sector_bytes, (sector + n) * SECTOR)?;
                }
            }
        }
        Ok(())
    }

    /// The last flush before an entry: what was written before it is on the disk whatever happens.
    pub fn flushed(&self, before: usize) -> usize {
        let entries = self.entries.get(..before).unwrap_or(&self.entries);
        entries.iter().rposition(|entry| *entry == Entry::Flush).unwrap_or(0)
    }
}

fn parse(file: &File) -> Result<Vec<Entry>> {
    let number = |bytes: &[u8], at: usize| -> u64 {
        bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let mut head = [0; 32];
    file.read_exact_at(&mut head, 0)?;
    // Asked after the count, which goes up when entries are there: the machine may be writing still.
    let length = file.metadata()?.len();
    ensure!(number(&head, 0) == MAGIC && number(&head, 8) == 1, "it does not begin as one");
    let (count, size) = (number(&head, 16), number(&head, 24) & 0xffff_ffff);
    ensure!(size == SECTOR, "its sectors have {size} bytes");
    let (mut entries, mut at) = (Vec::new(), SECTOR);
    for n in 0..count {
        ensure!(at + SECTOR <= length, "it ends in entry {n} of {count}");
        file.read_exact_at(&mut head, at)?;
        let (sector, sectors, flags) = (number(&head, 0), number(&head, 8), number(&head, 16));
        at += SECTOR;
        if flags & FLUSH != 0 {
            entries.push(Entry::Flush);
        }
        match flags & DISCARD {
            0 if sectors > 0 => {
                ensure!(sectors < 1 << 24 && at + sectors * SECTOR <= length, "entry {n} has no end");
                entries.push(Entry::Write { sector, sectors, at });
                at += sectors * SECTOR;
            }
            0 => {}
            _ => bail!("entry {n} discards, which the disk was told not to offer"),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut bytes = [MAGIC, 1, entries.len() as u64, SECTOR].map(u64::to_le_bytes).concat();
        bytes.resize(512, 0);
        for (sector, data, flags) in entries {
            let at = bytes.len();
            bytes.extend([*sector, data.len() as u64, *flags, 0].map(u64::to_le_bytes).concat());
            bytes.resize(at + 512, 0);
            bytes.extend(data.iter().flat_map(|byte| [*byte; 512]));
        }
        bytes
    }

    fn written(bytes: &[u8]) -> (tempfile::TempDir, Result<Journal>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, bytes).unwrap();
        let journal = Journal::read(&path);
        (dir, journal)
    }

    #[test]
    fn the_disk_of_each_moment() {
        let (dir, journal) = written(&log(&[(0, &[1, 2], 0), (0, &[], FLUSH), (1, &[3], 0), (4, &[4], 0)]));
        let journal = journal.unwrap();
        assert_eq!(journal.entries.len(), 4);
        assert_eq!([0, 1, 2, 4].map(|n| journal.flushed(n)), [0, 0, 1, 1]);
        assert!(journal.entries[0].touches(1, 1) && !journal.entries[0].touches(2, 9));
        let disk = |to: usize, keep: bool| {
            let path = dir.path().join("disk");
            std::fs::write(&path, [0; 6 * 512]).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            let flushed = journal.flushed(to);
            journal.apply(&file, 0, flushed, || true).unwrap();
            journal.apply(&file, flushed, to, || keep).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<u8>>()
        };
        assert_eq!(disk(0, true), [0, 0, 0, 0, 0, 0]);
        assert_eq!(disk(1, true), [1, 2, 0, 0, 0, 0]);
        assert_eq!(disk(1, false), [0, 0, 0, 0, 0, 0]);
        assert_eq!(disk(4, true), [1, 3, 0, 0, 4, 0]);
        assert_eq!(disk(4, false), [1, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn a_block_is_lost_as_a_whole() {
        let (dir, journal) = written(&log(&[(6, &[7; 12], 0)]));
        let path = dir.path().join("disk");
        std::fs::write(&path, [0; 20 * 512]).unwrap();
        let (file, mut asked) = (File::options().write(true).open(&path).unwrap(), 0);
        let every_other = || {
            asked += 1;
            asked % 2 == 0
        };
        journal.unwrap().apply(&file, 0, 1, every_other).unwrap();
        let there: Vec<usize> = std::fs::read(&path)
            .unwrap()
            .chunks(512)
            .enumerate()
            .filter(|(_, s)| s[0] == 7)
            .map(|(n, _)| n)
            .collect();
        assert_eq!((asked, there), (3, (8..16).collect()));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let good = log(&[(0, &[1], 0)]);
        assert!(written(&good).1.is_ok());
        assert!(written(&good[..700]).1.is_err());
        assert!(written(&good[1..]).1.is_err());
        assert!(written(b"").1.is_err());
        assert!(written(&log(&[(0, &[], DISCARD)])).1.is_err());
        let mut long = good;
        long[520..528].copy_from_slice(&(1u64 << 40).to_le_bytes());
        assert!(written(&long).1.is_err());
    }
}
