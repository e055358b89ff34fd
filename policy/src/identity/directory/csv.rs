//! A directory as CSV: a line of columns, then a line for each entry.

use std::borrow::Cow;

use super::{Reader, Written};
use crate::diagnostic::Diagnostics;

pub(super) const COLUMNS: &str = "subject,group,device,enrolled_by,enrolled";

/// Reads the lines. An error where they are no directory at all.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<(), Diagnostics> {
    let text = reader.text;
    let mut begin = 0;
    for (i, whole) in text.text.split_inclusive('\n').enumerate() {
        let line = whole.trim_end_matches(['\n', '\r']);
        let at = begin;
        begin += whole.len();
        if i == 0 {
            if line != COLUMNS {
                let message = "these are not the columns of a directory";
                let fault = text.error(at..at + line.len(), "bad-columns", message);
                return Err(fault.help(format!("the first line is `{COLUMNS}`")).into());
            }
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let more = match values(line, at) {
            Some(written) => reader.take(&written),
            None => {
                let fault = text.error(at..at + line.len(), "bad-entry", "a line has five values");
                reader.faults.push(fault.help("separate them by commas; no value has one"));
                !reader.faults.is_full()
            }
        };
        if !more {
            break;
        }
    }
    Ok(())
}

/// The values of a line that begins there.
fn values(line: &str, at: usize) -> Option<Written<'_>> {
    let mut begin = at;
    let mut values = line.split(',').map(|whole| {
        let value = whole.trim();
        let start = begin + (whole.len() - whole.trim_start().len());
        begin += whole.len() + 1;
        (Cow::Borrowed(value), start..start + value.len())
    });
    let five = [values.next()?, values.next()?, values.next()?, values.next()?, values.next()?];
    values.next().is_none().then_some(Written(five))
}
