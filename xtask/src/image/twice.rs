//! The same input gives the same bytes: what would keep it from that, and the comparison.
//!
//! Two tools write the time of the build into what they make and can't be told another: objcopy into the header of the kernel image,
//! grub-mkstandalone into the tar file inside GRUB. Both are given the time of the commit afterwards.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::epoch;
use crate::ui;

/// What two builds must have alike.
const ALIKE: [&str; 8] = [
    "root.img",
    "initrd.img",
    "glassgate.efi",
    "boot.img",
    "BOOTX64.EFI",
    "esp.img",
    "data.img",
    "glassgate.img",
];

/// Gives an EFI program the time of the commit. Its checksum, which no firmware looks at, becomes none.
pub fn efi_time(path: &Path) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    set_efi_time(&mut bytes, epoch()?.parse::<u64>()? as u32)
        .with_context(|| format!("{} is no EFI program", path.display()))?;
    Ok(std::fs::write(path, bytes)?)
}

fn set_efi_time(bytes: &mut [u8], time: u32) -> Option<()> {
    let head = u32::from_le_bytes(bytes.get(0x3c..0x40)?.try_into().ok()?) as usize;
    if bytes.get(head..head + 4)? != b"PE\0\0" {
        return None;
    }
    bytes.get_mut(head + 8..head + 12)?.copy_from_slice(&time.to_le_bytes());
    bytes.get_mut(head + 88..head + 92)?.fill(0);
    Some(())
}

/// Gives each file of a tar file that is somewhere in a file the time of the commit.
pub fn tar_times(path: &Path) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let found = set_tar_times(&mut bytes, epoch()?.parse()?);
    ensure!(found > 0, "{} has no tar file in it", path.display());
    Ok(std::fs::write(path, bytes)?)
}

fn set_tar_times(bytes: &mut [u8], time: u64) -> usize {
    let magics: Vec<usize> =
        bytes.windows(5).enumerate().filter(|(_, five)| five == b"ustar").map(|(at, _)| at).collect();
    let mut found = 0;
    for at in magics {
        let Some(head) = at.checked_sub(257).and_then(|start| bytes.get_mut(start..start + 512)) else {
            continue;
        };
        let told =
            std::str::from_utf8(&head[148..155]).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
        // Only what has a right checksum is a head, whatever else says `ustar`.
        if told != Some(tar_sum(head)) {
            continue;
        }
        head[136..147].copy_from_slice(format!("{time:011o}").as_bytes());
        let sum = tar_sum(head);
        head[148..155].copy_from_slice(format!("{sum:07o}").as_bytes());
        found += 1;
    }
    found
}

/// The sum of the bytes of a head, its own field taken as blanks.
fn tar_sum(head: &[u8]) -> u32 {
    let sum = |range: std::ops::Range<usize>| head[range].iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(0..148) + 8 * 32 + sum(156..512)
}

/// Compares what two builds made; an error names what differs. Signatures do, and are explained.
pub fn compare(first: &Path, second: &Path) -> Result<()> {
    let mut differ = Vec::new();
    for name in ALIKE {
        let doing = ui::doing(format_args!("compare {name}"));
        match difference(&first.join(name), &second.join(name), u64::MAX)? {
            None => doing.done("the same bytes"),
            Some(at) => {
                doing.done(format_args!("differs from byte {at} on"));
                differ.push(name);
            }
        }
    }
    let name = "glassgate.raucb";
    let doing = ui::doing("compare the update's content");
    match difference(&first.join(name), &second.join(name), squashfs_bytes(&first.join(name))?)? {
        None => doing
            .done("the same bytes; behind it are a random salt, its hash tree and a signature with its time"),
        Some(at) => {
            doing.done(format_args!("differs from byte {at} on"));
            differ.push(name);
        }
    }
    ensure!(differ.is_empty(), "two builds of the same input differ: {}", differ.join(", "));
    Ok(())
}

/// How long the file system at the beginning of a file is, as its superblock says.
fn squashfs_bytes(path: &Path) -> Result<u64> {
    let mut head = [0; 48];
    File::open(path)?.read_exact(&mut head)?;
    ensure!(head[..4] == *b"hsqs", "{} does not begin with a squashfs", path.display());
    let bytes: [u8; 8] = head[40..48].try_into()?;
    Ok(u64::from_le_bytes(bytes))
}

/// Where two files begin to differ, within so many bytes.
fn difference(first: &Path, second: &Path, within: u64) -> Result<Option<u64>> {
    let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
    let (mut a, mut b) = (open(first)?.take(within), open(second)?.take(within));
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let (n, m) = (fill(&mut a, &mut left)?, fill(&mut b, &mut right)?);
        if let Some(inner) = left[..n].iter().zip(&right[..m]).position(|(a, b)| a != b) {
            return Ok(Some(at + inner as u64));
        }
        if n != m {
            return Ok(Some(at + n.min(m) as u64));
        }
        if n == 0 {
            return Ok(None);
        }
        at += n as u64;
    }
}

fn fill(from: &mut impl std::io::Read, block: &mut [u8]) -> Result<usize> {
    let mut n = 0;
    while n < block.len() {
        match from.read(&mut block[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_build_is_gone() {
        let program = |time: u8| {
            let mut bytes = vec![0; 256];
            bytes[0x3c] = 0x80;
            bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
            bytes[0x88] = time;
            bytes[0x80 + 88] = time;
            bytes
        };
        let (mut a, mut b) = (program(1), program(2));
        assert_ne!(a, b);
        set_efi_time(&mut a, 7).unwrap();
        set_efi_time(&mut b, 7).unwrap();
        assert_eq!((&a, a[0x88]), (&b, 7));
        assert_eq!(set_efi_time(&mut [0; 128], 7), None);
        assert_eq!(set_efi_time(&mut [0xff; 128], 7), None);
    }

    #[test]
    fn heads_of_tar_files_get_one_time_and_nothing_else_changes() {
        let file = |time: u64| {
            let mut head = [0; 512];
            head[..4].copy_from_slice(b"name");
            head[136..147].copy_from_slice(format!("{time:011o}").as_bytes());
            head[257..262].copy_from_slice(b"ustar");
            let sum = tar_sum(&head);
            head[148..155].copy_from_slice(format!("{sum:07o}").as_bytes());
            let mut bytes = b"before it, ustar".to_vec();
            bytes.resize(300, 1);
            bytes.extend(head);
            bytes.extend(*b"behind it, ustar");
            bytes
        };
        let (mut a, mut b) = (file(1_700_000_000), file(1_700_009_999));
        assert_ne!(a, b);
        assert_eq!((set_tar_times(&mut a, 9), set_tar_times(&mut b, 9)), (1, 1));
        assert_eq!(a, b);
        assert_eq!(a, file(9));
    }

    #[test]
    fn a_difference_is_found_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let mut bytes = vec![5; 3 << 20];
        std::fs::write(&a, &bytes).unwrap();
        std::fs::write(&b, &bytes).unwrap();
        assert_eq!(difference(&a, &b, u64::MAX).unwrap(), None);
        bytes[2_500_000] = 6;
        std::fs::write(&b, &bytes).unwrap();
        assert_eq!(difference(&a, &b, u64::MAX).unwrap(), Some(2_500_000));
        assert_eq!(difference(&a, &b, 2_500_000).unwrap(), None);
        std::fs::write(&b, &bytes[..100]).unwrap();
        assert_eq!(difference(&a, &b, u64::MAX).unwrap(), Some(100));
    }
}
