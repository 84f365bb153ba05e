//! Rows as bytes, in each format.
//!
//! Not here: which rows go into which file (`partition`). Invariant: all three formats hold the same values under the same names.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use crate::row::{COLUMNS, Cell, Column, Kind, Row};

/// One JSON object a line.
pub(crate) fn json_lines(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    rows.iter().try_for_each(|row| writeln!(out, "{}", row.to_json()))
}

/// CSV as RFC 4180 has it: a heading, CRLF, quotes where they are needed.
pub(crate) fn csv(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    write!(out, "{}\r\n", names.join(","))?;
    for row in rows {
        let cells: Vec<String> = row.cells.iter().map(field).collect();
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Nothing => String::new(),
        Cell::Whole(number) => number.to_string(),
        Cell::Text(text) if text.contains(['"', ',', '\r', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Cell::Text(text) => text.clone(),
    }
}

/// A whole Parquet file of one row group.
pub(crate) fn parquet<W: Write + Send>(out: W, rows: &[Row]) -> Result<(), ParquetError> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(out, schema()?, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for at in 0..COLUMNS.len() {
        let Some(mut writer) = group.next_column()? else { break };
        let cells = rows.iter().map(|row| row.cells.get(at).unwrap_or(&Cell::Nothing));
        // 1 where there is a value, 0 where there is none.
        let levels: Vec<i16> =
            cells.clone().map(|cell| i16::from(*cell != Cell::Nothing)).collect();
        match COLUMNS.get(at).map(|column| column.kind) {
            Some(Kind::Text) => {
                let texts: Vec<ByteArray> = cells.filter_map(as_text).collect();
                writer.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None)?;
            }
            Some(Kind::Whole | Kind::Time) | None => {
                let numbers: Vec<i64> = cells.filter_map(as_whole).collect();
                writer.typed::<Int64Type>().write_batch(&numbers, Some(&levels), None)?;
            }
        }
        writer.close()?;
    }
    group.close()?;
    file.close().map(|_| ())
}

fn as_text(cell: &Cell) -> Option<ByteArray> {
    match cell {
        Cell::Text(text) => Some(ByteArray::from(text.as_str())),
        Cell::Nothing | Cell::Whole(_) => None,
    }
}

fn as_whole(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Whole(number) => Some(*number),
        Cell::Nothing | Cell::Text(_) => None,
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let fields = COLUMNS.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("record").with_fields(fields).build().map(Arc::new)
}

fn column(column: &Column) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Whole => (Physical::INT64, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    Type::primitive_type_builder(column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
        .map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_where_it_must_be() {
        let text = |text: &str| field(&Cell::Text(text.to_owned()));
        assert_eq!(text("plain text"), "plain text");
        assert_eq!(text("a,b"), "\"a,b\"");
        assert_eq!(text("say \"no\"\n"), "\"say \"\"no\"\"\n\"");
        assert_eq!(
            (field(&Cell::Nothing), field(&Cell::Whole(-3))),
            (String::new(), "-3".to_owned())
        );
    }
}
