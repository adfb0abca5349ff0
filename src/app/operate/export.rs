//! `flashdeal export`: tables for spreadsheets and for programs.
//!
//! CSV is opened by people in spreadsheets, which run a text that begins like a formula. So in CSV
//! such a text gets an apostrophe in front, and so does one that begins with an apostrophe: taking
//! one leading apostrophe off every text of name, sku, external_id and reference gives back what
//! was stored. ndjson has every text as it is.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde::Serializer;
use serde::ser::SerializeMap;
use sqlx::Connection;

use super::output::quietly;
use super::report::{check_schema, sale_id};
use crate::adapters::postgres::export_repo::{self, Cell, Export, ExportError};
use crate::app::cli::{ExportArgs, ExportFormat, ExportTable};
use crate::app::commands::{Done, Failure, on_books};
use crate::app::config::Settings;
use crate::app::database::Database;
use crate::domain::id::SaleId;

/// What is collected before it is written, in bytes.
const BUFFER: usize = 64 * 1024;
/// What a spreadsheet takes for the beginning of a formula, in either width, and our own mark.
const DANGEROUS: [char; 9] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\''];

/// Exports a table.
pub(in crate::app) async fn run(settings: &Settings, args: &ExportArgs) -> Done {
    let sale = args.sale.as_deref().map(sale_id).transpose()?;
    on_books(settings, async |database| on(database, settings, args, sale).await).await
}

async fn on(
    database: &Database,
    settings: &Settings,
    args: &ExportArgs,
    sale: Option<SaleId>,
) -> Done {
    check_schema(database, settings).await?;
    let table = match args.table {
        ExportTable::Orders => export_repo::ORDERS,
        ExportTable::Ledger => export_repo::LEDGER,
        ExportTable::Sales => export_repo::SALES,
    };
    let mut connection = database.unhurried(settings).await?;
    let mut sheet = Sheet::new(BufWriter::with_capacity(BUFFER, io::stdout()), args.format, table);
    let exported = export_repo::export(&mut connection, table, sale, |row| sheet.row(row)).await;
    let written = match exported {
        Ok(()) => sheet.finish(),
        Err(ExportError::Sink(error)) => Err(error),
        Err(error) => return Err(Failure::other(error)),
    };
    if written.is_ok() {
        connection.close().await.map_err(Failure::other)?;
    } else {
        // Rows may still be on their way: they are not waited for.
        connection.close_hard().await.map_err(Failure::other)?;
    }
    quietly(written)?;
    Ok(ExitCode::SUCCESS)
}

/// Rows as text. A table without rows has a header all the same, a failure before the first row
/// has nothing.
enum Sheet<W: Write> {
    Csv { out: Box<csv::Writer<W>>, header: Option<&'static [&'static str]> },
    Ndjson { out: W, columns: &'static [&'static str] },
}

impl<W: Write> Sheet<W> {
    fn new(out: W, format: ExportFormat, table: Export) -> Sheet<W> {
        let columns = table.columns;
        match format {
            ExportFormat::Csv => {
                Sheet::Csv { out: Box::new(csv::Writer::from_writer(out)), header: Some(columns) }
            }
            ExportFormat::Ndjson => Sheet::Ndjson { out, columns },
        }
    }

    fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        match self {
            Sheet::Csv { out, header } => {
                if let Some(names) = header.take() {
                    out.write_record(names).map_err(bare)?;
                }
                for cell in cells {
                    out.write_field(field(cell).as_bytes()).map_err(bare)?;
                }
                out.write_record(None::<&[u8]>).map_err(bare)
            }
            Sheet::Ndjson { out, columns } => {
                object(out, columns, cells)?;
                out.write_all(b"\n")
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Sheet::Csv { mut out, header } => {
                if let Some(names) = header {
                    out.write_record(names).map_err(bare)?;
                }
                out.flush()
            }
            Sheet::Ndjson { mut out, .. } => out.flush(),
        }
    }
}

fn bare(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn field(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::Absent => Cow::Borrowed(""),
        Cell::Number(number) => Cow::Owned(number.to_string()),
        Cell::Exact(text) => Cow::Borrowed(text),
        Cell::Text(text) if text.starts_with(DANGEROUS) => Cow::Owned(format!("'{text}")),
        Cell::Text(text) => Cow::Borrowed(text),
    }
}

/// One object, members in the order of the columns, without those that have no value.
fn object(out: &mut impl Write, columns: &[&str], cells: &[Cell]) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::new(out);
    let mut object = serializer.serialize_map(None)?;
    for (name, cell) in columns.iter().zip(cells) {
        match cell {
            Cell::Absent => {}
            Cell::Number(number) => object.serialize_entry(name, number)?,
            Cell::Exact(text) | Cell::Text(text) => object.serialize_entry(name, text)?,
        }
    }
    Ok(object.end()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: ExportFormat, rows: &[[Cell; 12]]) -> String {
        let mut out = Vec::new();
        let mut sheet = Sheet::new(&mut out, format, export_repo::SALES);
        for row in rows {
            sheet.row(row).unwrap();
        }
        sheet.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    fn sale(name: &str) -> [Cell; 12] {
        let mut row = [const { Cell::Absent }; 12];
        row[0] = Cell::Exact("0190b000-0000-7000-8000-000000000001".to_owned());
        row[1] = Cell::Text(name.to_owned());
        row[4] = Cell::Exact("-9.90".to_owned());
        row[5] = Cell::Number(-5);
        row
    }

    #[test]
    fn no_text_is_a_formula_and_every_text_can_be_had_back() {
        let head = format!("{}\n", export_repo::SALES.columns.join(","));
        assert_eq!(written(ExportFormat::Csv, &[]), head);
        for (name, cell) in [
            ("Lamp", "Lamp"),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("'tis", "''tis"),
            ("a, \"b\"", "\"a, \"\"b\"\"\""),
            ("-1, \"", "\"'-1, \"\"\""),
        ] {
            let text = written(ExportFormat::Csv, &[sale(name)]);
            let row = format!("0190b000-0000-7000-8000-000000000001,{cell},,,-9.90,-5,,,,,,\n");
            assert_eq!(text, format!("{head}{row}"));
        }
    }

    #[test]
    fn an_object_has_its_members_in_order_and_none_without_a_value() {
        assert_eq!(written(ExportFormat::Ndjson, &[]), "");
        let one = "{\"id\":\"0190b000-0000-7000-8000-000000000001\",\"name\":\"=1\",\
                   \"unit_price\":\"-9.90\",\"stock\":-5}\n";
        assert_eq!(written(ExportFormat::Ndjson, &[sale("=1"), sale("=1")]), one.repeat(2));
    }
}
