//! A directory as JSON: an array of objects with the columns as keys, all of them strings.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Reader, Written};
use crate::diagnostic::{Diagnostics, Text};

/// An object, and nothing else that could be read as one: an array of the values would be, too.
struct Object<'a>(Entry<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Entry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Entry<'de>, M::Error> {
                Entry::deserialize(MapAccessDeserializer::new(map))
            }
        }
        from.deserialize_map(Keys).map(Self)
    }
}

/// An entry whose values are still as they stand, so that their place is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    subject: &'a RawValue,
    #[serde(borrow)]
    group: &'a RawValue,
    #[serde(borrow)]
    device: &'a RawValue,
    #[serde(borrow)]
    enrolled_by: &'a RawValue,
    #[serde(borrow)]
    enrolled: &'a RawValue,
}

/// Reads the entries. An error where it is no JSON, or other JSON.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<(), Diagnostics> {
    let text = reader.text;
    let objects: Vec<Object<'_>> = serde_json::from_str(text.text).map_err(|error| fault_of(text, &error))?;
    for object in objects {
        let Object(Entry { subject, group, device, enrolled_by, enrolled }) = object;
        let values = [subject, group, device, enrolled_by, enrolled].map(|raw| value(text, raw));
        if let Some((_, at)) = values.iter().find(|(value, _)| value.is_none()) {
            let fault = text.error(at.clone(), "json", "this is no string");
            reader.faults.push(fault.help("write it in quotes"));
            if reader.faults.is_full() {
                break;
            }
        } else if !reader.take(&Written(values.map(|(value, at)| (value.unwrap_or_default(), at)))) {
            break;
        }
    }
    Ok(())
}

/// A string, if it is one, with the bytes that it stands in.
fn value<'a>(text: Text<'_>, raw: &'a RawValue) -> (Option<Cow<'a, str>>, std::ops::Range<usize>) {
    // What was read borrows from the text.
    let start = (raw.get().as_ptr() as usize).saturating_sub(text.text.as_ptr() as usize);
    (serde_json::from_str(raw.get()).ok(), start..start + raw.get().len())
}

/// What the reader of JSON refused, with its place.
fn fault_of(text: Text<'_>, error: &serde_json::Error) -> Diagnostics {
    let before: usize =
        text.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = before + error.column().saturating_sub(1);
    let whole = error.to_string();
    // The place is shown beside it.
    let message = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(message, _)| message);
    let help =
        "a directory is an array of objects with `subject`, `group`, `device`, `enrolled_by` and `enrolled`";
    text.error(at..at + 1, "json", message).help(help).into()
}
