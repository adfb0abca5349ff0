//! A CSV file of users: read twice, first to find everything that is wrong with it, then to import
//! it. Rows are held one at a time; only the ids are remembered, to find one that comes twice.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use csv::{ErrorKind, StringRecord};

use crate::adapters::postgres::import_repo::NewUser;
use crate::domain::id::UserId;
use crate::domain::money::Money;
use crate::domain::text::ShortText;

/// Ids of so many rows are remembered: some hundred MB at most.
const ROWS_MAX: u64 = 1_000_000;
/// An unclosed quote makes one row of a whole file.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The columns; only the first must be there.
const COLUMNS: [&str; 4] = ["id", "external_id", "name", "balance"];
/// The longest list of bad rows that is worth reading.
const COMPLAINTS_MAX: usize = 20;

/// A row and where it stands.
pub(super) struct UserRow {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// What it says.
    pub(super) user: NewUser,
}

/// A file without a fault.
pub(super) struct UserFile {
    path: PathBuf,
    /// How many rows it has.
    pub(super) rows: u64,
}

/// Why a file is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadFile {
    /// There is nothing to read.
    Unreadable(String),
    /// So many faults, the first of them as sentences.
    Faulty(u64, Vec<String>),
}

/// Reads all of it and says everything that is wrong.
pub(super) fn check(path: &Path) -> Result<UserFile, BadFile> {
    let unreadable = |reason: String| BadFile::Unreadable(format!("{}: {reason}", path.display()));
    let about = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !about.is_file() {
        return Err(unreadable("is no file; it is read twice".to_owned()));
    }
    if about.len() > BYTES_MAX {
        return Err(unreadable(format!("has more than {BYTES_MAX} bytes; split it")));
    }
    let mut reader = open(path).map_err(unreadable)?;
    let mut faults = Faults::default();
    let Some(columns) = faults.keep(Columns::of(&mut reader)) else {
        return Err(faults.into());
    };
    let (mut ids, mut external_ids) = (HashMap::new(), HashMap::new());
    let mut rows = 0;
    for record in reader.records() {
        rows += 1;
        if rows > ROWS_MAX {
            return Err(unreadable(format!("has more than {ROWS_MAX} rows; split it")));
        }
        let Some(UserRow { line, user }) = faults.keep(read(record, &columns)) else { continue };
        if let Some(before) = ids.insert(user.id, line) {
            faults.add(format!("line {line}: id {} stands on line {before} already", user.id));
        }
        let Some(external_id) = user.external_id else { continue };
        let shown = external_id.to_string();
        if let Some(before) = external_ids.insert(external_id, line) {
            let fault =
                format!("line {line}: external_id {shown:?} stands on line {before} already");
            faults.add(fault);
        }
    }
    if faults.count > 0 {
        return Err(faults.into());
    }
    Ok(UserFile { path: path.to_owned(), rows })
}

impl UserFile {
    /// The rows; a fault now means that somebody changed the file.
    pub(super) fn read(&self) -> Result<impl Iterator<Item = Result<UserRow, String>>, String> {
        let mut reader = open(&self.path)?;
        let columns = Columns::of(&mut reader)?;
        Ok(reader.into_records().map(move |record| read(record, &columns)))
    }
}

#[derive(Default)]
struct Faults {
    count: u64,
    first: Vec<String>,
}

impl Faults {
    fn add(&mut self, fault: String) {
        self.count += 1;
        if self.first.len() < COMPLAINTS_MAX {
            self.first.push(fault);
        }
    }

    fn keep<T>(&mut self, read: Result<T, String>) -> Option<T> {
        read.map_err(|fault| self.add(fault)).ok()
    }
}

impl From<Faults> for BadFile {
    fn from(faults: Faults) -> BadFile {
        BadFile::Faulty(faults.count, faults.first)
    }
}

fn open(path: &Path) -> Result<csv::Reader<File>, String> {
    csv::ReaderBuilder::new().from_path(path).map_err(|error| error.to_string())
}

/// Where each column stands.
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn of(reader: &mut csv::Reader<File>) -> Result<Columns, String> {
        let header = reader.headers().map_err(|error| fault(&error))?;
        let accepted = "accepted are id, external_id, name and balance, comma-separated";
        let mut places = [None; COLUMNS.len()];
        for (at, name) in header.iter().enumerate() {
            let column = COLUMNS.iter().position(|column| *column == name);
            let column = column.ok_or_else(|| format!("line 1: column {name:?}: {accepted}"))?;
            if places[column].replace(at).is_some() {
                return Err(format!("line 1: column {name} comes twice"));
            }
        }
        if places[0].is_none() {
            return Err(format!("line 1: there is no column id; {accepted}"));
        }
        Ok(Columns(places))
    }

    fn cell<'a>(&self, record: &'a StringRecord, column: usize) -> Option<&'a str> {
        record.get(self.0[column]?).filter(|text| !text.is_empty())
    }
}

fn read(record: Result<StringRecord, csv::Error>, columns: &Columns) -> Result<UserRow, String> {
    let record = record.map_err(|error| fault(&error))?;
    let line = record.position().map_or(0, csv::Position::line);
    let bad = |column: usize, text: &str, reason: &dyn std::fmt::Display| {
        let shown: String = text.chars().take(60).collect();
        format!("line {line}: {} {shown:?}: {reason}", COLUMNS[column])
    };
    let text = |column: usize| {
        let text = columns.cell(&record, column);
        text.map(|text| ShortText::parse(text).map_err(|error| bad(column, text, &error)))
            .transpose()
    };
    let id = columns.cell(&record, 0).unwrap_or_default();
    let balance = columns.cell(&record, 3).unwrap_or("0.00");
    let user = NewUser {
        id: UserId::parse(id).ok_or_else(|| bad(0, id, &"is no UUID"))?,
        external_id: text(1)?,
        name: text(2)?,
        balance: Money::parse(balance).map_err(|error| bad(3, balance, &error))?,
    };
    Ok(UserRow { line, user })
}

/// What the CSV reader complains about, as one sentence with its line.
fn fault(error: &csv::Error) -> String {
    let at = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {at}: has {len} cells, the header has {expected_len}")
        }
        ErrorKind::Utf8 { .. } => format!("line {at}: is not UTF-8"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, text: &[u8]) -> Vec<String> {
        let name = format!("flashdeal-user-file-{}-{name}.csv", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let checked = check(&path);
        std::fs::remove_file(&path).unwrap();
        match checked {
            Ok(_) => Vec::new(),
            Err(BadFile::Faulty(count, faults)) => {
                assert_eq!(count, faults.len() as u64);
                faults
            }
            Err(BadFile::Unreadable(reason)) => vec![reason],
        }
    }

    const ONE: &str = "0190a000-0000-7000-8000-000000000001";
    const TWO: &str = "0190a000-0000-7000-8000-000000000002";

    #[test]
    fn a_sound_file_may_have_its_columns_in_any_order() {
        let good = [
            format!("id\n{ONE}\n{TWO}\n"),
            format!("\u{feff}balance,id\r\n5.00,{ONE}\r\n,{TWO}\r\n"),
            format!("id,name,external_id,balance\n{ONE},\"Ann, \"\"A\"\"\",a-1,0.00\n{TWO},,,\n"),
            "id,balance\n".to_owned(),
        ];
        for (at, text) in good.iter().enumerate() {
            assert_eq!(faults(&format!("good-{at}"), text.as_bytes()), [""; 0], "{text}");
        }
    }

    #[test]
    fn every_fault_is_named_with_its_line() {
        let text = format!(
            "id,external_id,name,balance\n{ONE},a,Ann,5.00\nnobody,b,Bob,5.00\n{TWO},c,Cid,5\n\
             {TWO},a,Dan,1.00\n{ONE},e\n{},f,\"two\nlines\",1.00\n{ONE},,,1.00\n",
            TWO.replace('2', "3")
        );
        let expected = [
            "line 3: id \"nobody\": is no UUID",
            "line 4: balance \"5\": an amount is a string like \"49.90\": no sign, no leading \
             zeros, at most 11 digits, a point and exactly two decimals",
            "line 5: external_id \"a\" stands on line 2 already",
            "line 6: has 2 cells, the header has 4",
            "line 7: name \"two\\nlines\": must not contain control characters",
            &format!("line 9: id {ONE} stands on line 2 already"),
        ];
        assert_eq!(faults("bad", text.as_bytes()), expected);
        for (name, text, fault) in [
            ("semicolons", &b"id;name\n"[..], "line 1: column \"id;name\": accepted are"),
            ("no-id", b"name,balance\n", "line 1: there is no column id; accepted are"),
            ("twice", b"id,name,name\n", "line 1: column name comes twice"),
            ("empty", b"", "line 1: there is no column id"),
            ("latin", b"id,name\n0190a000-0000-7000-8000-000000000001,\xe4\n", "line 2: is not"),
        ] {
            let found = faults(name, text);
            assert!(found.len() == 1 && found[0].starts_with(fault), "{name}: {found:?}");
        }
    }
}
