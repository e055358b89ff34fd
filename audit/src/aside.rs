//! Logs that could not be gone on with: moved out of the way as they are, and kept for whoever asks what happened.
//!
//! ```text
//! damaged-0001/why     what was wrong
//! damaged-0001/…       the log, without the space that it kept in reserve
//! ```
//!
//! So that a disk that damages log after log is not filled with them, three are kept: the first, and the last two. Each is as large
//! as a log may be at most. What is deleted is named in the record about the new one.

use crate::disk::Disk;
use crate::open::{KEY, PUBLIC_KEY};
use crate::recover::CHECKPOINT;
use crate::wal;
use std::io;

const PREFIX: &str = "damaged-";
/// How many are kept: the first, and the last ones.
const KEPT: usize = 3;
/// The key first: what is left without it is found damaged again, whatever becomes of this process. The public key last: without it,
/// nothing is left.
const PARTS: [&str; 6] = [KEY, wal::FOLDER, "tile", "checkpoint.witnessed", CHECKPOINT, PUBLIC_KEY];

/// Moves a log out of the way, all of it. Says what was wrong and where it lies.
pub(crate) fn set_aside(disk: &dyn Disk, why: &str) -> io::Result<String> {
    let mut there = folders(disk)?;
    let parts = disk.names("")?;
    let is_there = |part: &str| parts.iter().any(|there| there == part);
    let (mut why, mut deleted) = (why.to_owned(), String::new());
    let unfinished = there.last().copied().filter(|number| is_unfinished(disk, *number, &parts));
    let number = match unfinished {
        Some(number) => {
            // That its key is gone is what the first try did.
            if !is_there(KEY) {
                why = reason(disk, number).unwrap_or(why);
            }
            number
        }
        None => {
            let number = there.last().map_or(1, |last| last.saturating_add(1));
            while there.len() >= KEPT {
                // Behind the first, the oldest.
                let oldest = there.remove(1);
                disk.remove_all(&folder(oldest))?;
                deleted = format!("; {}/ was deleted, {KEPT} are kept", folder(oldest));
            }
            number
        }
    };
    let aside = folder(number);
    // Nice to have, and no reason not to begin anew.
    _ = disk.replace(&format!("{aside}/{WHY}"), why.as_bytes(), false);
    disk.remove(wal::RESERVE)?;
    for part in PARTS.into_iter().filter(|part| is_there(part)) {
        disk.rename(part, &format!("{aside}/{part}"))?;
    }
    Ok(format!("{why}; it lies in {aside}/{deleted}"))
}

/// Why the last one was set aside, and where it lies.
pub(crate) fn last(disk: &dyn Disk) -> io::Result<Option<String>> {
    Ok(folders(disk)?.last().map(|number| {
        let why = reason(disk, *number).unwrap_or_else(|| "the log before was damaged".to_owned());
        format!("{why}; it lies in {}/", folder(*number))
    }))
}

const WHY: &str = "why";

fn folder(number: u32) -> String {
    format!("{PREFIX}{number:04}")
}

fn reason(disk: &dyn Disk, number: u32) -> Option<String> {
    let why = disk.read(&format!("{}/{WHY}", folder(number))).ok().flatten()?;
    Some(String::from_utf8_lossy(&why).into_owned())
}

/// Those that are there, oldest first.
fn folders(disk: &dyn Disk) -> io::Result<Vec<u32>> {
    let names = disk.names("")?;
    let number = |name: &String| name.strip_prefix(PREFIX)?.parse().ok();
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.retain(|number| names.contains(&folder(*number)));
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether a log was being moved there when the process died: nothing is there yet, or what is missing there is still here.
fn is_unfinished(disk: &dyn Disk, number: u32, parts: &[String]) -> bool {
    let there =
        |part: &str| disk.size(&format!("{}/{part}", folder(number))).is_ok_and(|size| size.is_some());
    let here = |part: &str| parts.iter().any(|here| here == part);
    let none = !PARTS.iter().any(|part| there(part));
    let rest = here(PUBLIC_KEY) && !here(KEY) && !PARTS.iter().any(|part| here(part) && there(part));
    none || rest
}
