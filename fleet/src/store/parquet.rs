//! All rows of counts as an Apache Parquet file, for whatever a company analyses with.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::{HubStore, Row};

/// Rows of a row group: some 10 MB in memory.
const GROUP: usize = 1 << 16;

/// How a column is taken from a row.
enum Of {
    Text(fn(&Row) -> &str),
    Word(fn(&Row) -> Option<&str>),
    Number(fn(&Row) -> i64),
    /// Seconds since 1970, UTC; milliseconds in the file, as there are none of seconds.
    Time(fn(&Row) -> i64),
    Flag(fn(&Row) -> bool),
}

/// The columns, called as in the other forms of export.
const COLUMNS: [(&str, Of); 20] = [
    ("site", Of::Text(|row| &row.site)),
    ("log", Of::Text(|row| &row.log)),
    ("seq", Of::Number(|row| row.seq)),
    ("start", Of::Time(|row| row.start)),
    ("end", Of::Time(|row| row.end)),
    ("span", Of::Text(|row| &row.span)),
    ("measure", Of::Text(|row| &row.measure)),
    ("group", Of::Word(|row| row.group.as_deref())),
    ("category", Of::Word(|row| row.category.as_deref())),
    ("service", Of::Word(|row| row.service.as_deref())),
    ("rest", Of::Flag(|row| row.rest)),
    ("people_at_least", Of::Number(|row| row.people)),
    ("k", Of::Number(|row| row.k)),
    ("flows", Of::Number(|row| row.flows)),
    ("bytes_toserver", Of::Number(|row| row.bytes_toserver)),
    ("bytes_toclient", Of::Number(|row| row.bytes_toclient)),
    ("visits", Of::Number(|row| row.visits)),
    ("active_s", Of::Number(|row| row.active_s)),
    ("uploads", Of::Number(|row| row.uploads)),
    ("upload_bytes", Of::Number(|row| row.upload_bytes)),
];

/// Writes the file, all or nothing; what was there is replaced. Returns how many rows it has.
pub fn export(store: &HubStore, path: &Path) -> Result<usize> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let shown = || path.display().to_string();
    let made = File::create(&new).with_context(shown).and_then(|file| {
        let rows = write(store, &file)?;
        file.sync_all()?;
        std::fs::rename(&new, path).with_context(shown)?;
        Ok(rows)
    });
    if made.is_err() {
        // What can't be finished is of no use; that it can't be deleted either is no news.
        _ = std::fs::remove_file(&new);
    }
    made
}

fn write(store: &HubStore, out: impl Write + Send) -> Result<usize> {
    let schema = Arc::new(parse_message_type(&schema())?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(format!("glassgate-fleet {}", env!("CARGO_PKG_VERSION")))
        .build();
    let mut file = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    let (mut group, mut all) = (Vec::new(), 0);
    store.rows(|row| {
        group.push(row.clone());
        if group.len() >= GROUP {
            all += write_group(&mut file, &group)?;
            group.clear();
        }
        Ok(())
    })?;
    all += write_group(&mut file, &group)?;
    file.close()?;
    Ok(all)
}

fn schema() -> String {
    let columns = COLUMNS.iter().map(|(name, of)| match of {
        Of::Text(_) => format!("required binary {name} (STRING);"),
        Of::Word(_) => format!("optional binary {name} (STRING);"),
        Of::Number(_) => format!("required int64 {name};"),
        Of::Time(_) => format!("required int64 {name} (TIMESTAMP(MILLIS,true));"),
        Of::Flag(_) => format!("required boolean {name};"),
    });
    format!("message row {{ {} }}", columns.collect::<Vec<_>>().join(" "))
}

fn write_group<W: Write + Send>(file: &mut SerializedFileWriter<W>, rows: &[Row]) -> Result<usize> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut group = file.next_row_group()?;
    for (_, of) in &COLUMNS {
        let mut column = group.next_column()?.context("a column of the schema")?;
        write_column(&mut column, of, rows)?;
        column.close()?;
    }
    group.close()?;
    Ok(rows.len())
}

fn write_column(column: &mut SerializedColumnWriter<'_>, of: &Of, rows: &[Row]) -> Result<()> {
    let bytes = |text: &str| ByteArray::from(text);
    match of {
        Of::Text(of) => {
            let values: Vec<_> = rows.iter().map(|row| bytes(of(row))).collect();
            column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        }
        Of::Word(of) => {
            let values: Vec<_> = rows.iter().filter_map(of).map(bytes).collect();
            let is_there: Vec<_> = rows.iter().map(|row| i16::from(of(row).is_some())).collect();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&is_there), None)?;
        }
        Of::Number(of) => {
            let values: Vec<_> = rows.iter().map(of).collect();
            column.typed::<Int64Type>().write_batch(&values, None, None)?;
        }
        Of::Time(of) => {
            let values: Vec<_> = rows.iter().map(|row| of(row).saturating_mul(1000)).collect();
            column.typed::<Int64Type>().write_batch(&values, None, None)?;
        }
        Of::Flag(of) => {
            let values: Vec<_> = rows.iter().map(of).collect();
            column.typed::<BoolType>().write_batch(&values, None, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
