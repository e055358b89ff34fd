use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;

use super::*;
use crate::store::tests::{filled, store};

/// Names and values of the first row.
fn read(path: &Path) -> (Vec<(String, Field)>, usize) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let first = rows.first().map(|row| row.get_column_iter().map(|(n, f)| (n.clone(), f.clone())).collect());
    (first.unwrap_or_default(), rows.len())
}

#[test]
fn every_column_of_every_row_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 3);
    let path = dir.path().join("rows.parquet");
    std::fs::write(&path, "what was there").unwrap();
    assert_eq!(export(&store, &path).unwrap(), 3);
    let mut rows = Vec::new();
    let mut keep = |row: &Row| {
        rows.push(row.clone());
        Ok(())
    };
    store.rows(&mut keep).unwrap();
    let (first, n) = read(&path);
    assert_eq!((n, first.len()), (3, COLUMNS.len()));
    let expected = &rows[0];
    for (name, field) in first {
        let (_, of) = COLUMNS.iter().find(|(column, _)| *column == name).unwrap();
        let expected = match of {
            Of::Text(of) => Field::Str(of(expected).to_owned()),
            Of::Word(of) => of(expected).map_or(Field::Null, |word| Field::Str(word.to_owned())),
            Of::Number(of) => Field::Long(of(expected)),
            Of::Time(of) => Field::TimestampMillis(of(expected) * 1000),
            Of::Flag(of) => Field::Bool(of(expected)),
        };
        assert_eq!(field, expected, "{name}");
    }
    assert!(!dir.path().join("rows.parquet.new").exists());
}

#[test]
fn no_rows_are_a_file_too_and_no_folder_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert_eq!(export(&store, &dir.path().join("none.parquet")).unwrap(), 0);
    assert_eq!(read(&dir.path().join("none.parquet")).1, 0);
    let why = format!("{:#}", export(&store, &dir.path().join("no/such/folder.parquet")).unwrap_err());
    assert!(why.contains("folder.parquet"), "{why}");
}
