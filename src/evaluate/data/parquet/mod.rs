//! Apache Parquet: texts, numbers, booleans, and lists and objects of them; dates, times and decimals.
//!
//! Columns of other values, such as images, are left out: tasks with texts can do without.

mod times;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row as Record};
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type as SchemaType};
use serde_json::Value;

use self::times::Unit;
use super::{Row, Rows, complete, not_empty};
use crate::evaluate::EvaluateError;
use crate::panics;

/// Reads files one after the other.
pub(super) fn read(paths: &[PathBuf]) -> Result<Rows, EvaluateError> {
    let mut all = Rows::default();
    for path in paths {
        let file = File::open(path)
            .map_err(|source| EvaluateError::Read { path: path.to_owned(), source })?;
        // The library panics at some files that are damaged.
        let found = panics::caught(|| read_rows(file));
        let problem = |problem: String| EvaluateError::Parquet { path: path.to_owned(), problem };
        let found = found.unwrap_or_else(|| Err("it is damaged".to_owned())).map_err(problem)?;
        all.rows.append(&mut not_empty(path, found.rows)?);
        all.left_out.extend(found.left_out);
    }
    all.rows = complete(all.rows);
    Ok(all)
}

fn read_rows(file: File) -> Result<Rows, String> {
    let sentence = |error: ParquetError| match error {
        ParquetError::General(text) | ParquetError::EOF(text) | ParquetError::NYI(text) => text,
        other => other.to_string(),
    };
    let reader = SerializedFileReader::new(file).map_err(sentence)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let (root, fields) = (schema.root_schema(), schema.root_schema().get_fields());
    let (kept, kinds): (Vec<_>, Vec<Kind>) = fields
        .iter()
        .enumerate()
        .filter_map(|(index, field)| Some((Arc::clone(field), kind(schema, index, field)?)))
        .unzip();
    if kept.is_empty() {
        return Err("none of its columns has texts, numbers, booleans or times".to_owned());
    }
    let left_out = fields.iter().map(|field| field.name());
    let is_left_out = |name: &&str| kept.iter().all(|field| field.name() != *name);
    let left_out = left_out.filter(is_left_out).map(str::to_owned).collect();
    let wanted = SchemaType::group_type_builder(root.name()).with_fields(kept).build();
    let records = reader.get_row_iter(Some(wanted.map_err(sentence)?)).map_err(sentence)?;
    let row = |record: Record| -> Result<Row, String> {
        let columns = record.get_column_iter().zip(&kinds);
        columns.map(|((name, field), kind)| Ok((name.clone(), kind.value(field)?))).collect()
    };
    let rows =
        records.map(|record| row(record.map_err(sentence)?)).collect::<Result<_, String>>()?;
    Ok(Rows { rows, left_out })
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Texts, numbers, booleans, or lists and objects of them.
    Plain,
    Decimal,
    Date,
    Time(Unit),
    Moment(Unit),
}

/// What the values of a column of rows are; `None` for one that is left out: bytes, times with a zone
/// (the zone is not in the column), and what holds times or bytes inside.
fn kind(schema: &SchemaDescriptor, index: usize, field: &SchemaType) -> Option<Kind> {
    let leaves =
        || (0..schema.num_columns()).filter(|&leaf| schema.get_column_root_idx(leaf) == index);
    if leaves().all(|leaf| is_plain(&schema.column(leaf))) && !has_map(field) {
        return Some(Kind::Plain);
    }
    let column = schema.column(leaves().next()?);
    if !field.is_primitive() || column.max_rep_level() > 0 {
        return None;
    }
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Timestamp(moment)), _) if !moment.is_adjusted_to_u_t_c => {
            Some(Kind::Moment(unit(moment.unit)))
        }
        // Older files do not say whether a moment has a zone.
        (None, ConvertedType::TIMESTAMP_MILLIS) => Some(Kind::Moment(Unit::Millis)),
        (None, ConvertedType::TIMESTAMP_MICROS) => Some(Kind::Moment(Unit::Micros)),
        (Some(LogicalType::Time(time)), _) => Some(Kind::Time(unit(time.unit))),
        (None, ConvertedType::TIME_MILLIS) => Some(Kind::Time(Unit::Millis)),
        (None, ConvertedType::TIME_MICROS) => Some(Kind::Time(Unit::Micros)),
        (_, ConvertedType::DATE) => Some(Kind::Date),
        (_, ConvertedType::DECIMAL) => Some(Kind::Decimal),
        _ => None,
    }
}

fn unit(unit: TimeUnit) -> Unit {
    match unit {
        TimeUnit::MILLIS => Unit::Millis,
        TimeUnit::MICROS => Unit::Micros,
        TimeUnit::NANOS => Unit::Nanos,
    }
}

fn has_map(field: &SchemaType) -> bool {
    let is_map = matches!(
        field.get_basic_info().converted_type(),
        ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE
    );
    is_map || (field.is_group() && field.get_fields().iter().any(|field| has_map(field)))
}

fn is_plain(column: &ColumnDescriptor) -> bool {
    let logical = column.logical_type_ref();
    match column.physical_type() {
        Type::BOOLEAN | Type::FLOAT | Type::DOUBLE => true,
        Type::BYTE_ARRAY => matches!(
            column.converted_type(),
            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
        ),
        Type::INT32 | Type::INT64 => {
            let is_number = matches!(logical, None | Some(LogicalType::Integer { .. }));
            is_number && !is_no_number(column.converted_type())
        }
        Type::FIXED_LEN_BYTE_ARRAY => logical == Some(&LogicalType::Float16),
        Type::INT96 => false,
    }
}

/// Whether whole numbers stand for something else.
fn is_no_number(converted: ConvertedType) -> bool {
    matches!(
        converted,
        ConvertedType::DECIMAL
            | ConvertedType::DATE
            | ConvertedType::TIME_MILLIS
            | ConvertedType::TIME_MICROS
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS
    )
}

impl Kind {
    /// A value of such a column. Times and decimals are the text that Python prints.
    fn value(self, field: &Field) -> Result<Value, String> {
        Ok(match (self, count(field)) {
            (Self::Date, Some(days)) => times::date(days).into(),
            (Self::Time(unit), Some(count)) => times::time(count, unit).into(),
            (Self::Moment(unit), Some(count)) => times::moment(count, unit).into(),
            (Self::Decimal, _) if matches!(field, Field::Decimal(_)) => {
                field.to_string().trim_end_matches('.').into()
            }
            _ => value(field)?,
        })
    }
}

/// The number of days or units that stands for a time.
fn count(field: &Field) -> Option<i64> {
    match field {
        Field::Date(days) => Some((*days).into()),
        Field::TimeMillis(count) | Field::Int(count) => Some((*count).into()),
        Field::TimeMicros(count)
        | Field::TimestampMillis(count)
        | Field::TimestampMicros(count)
        | Field::Long(count) => Some(*count),
        _ => None,
    }
}

fn object(record: &Record) -> Result<Row, String> {
    record.get_column_iter().map(|(name, field)| Ok((name.clone(), value(field)?))).collect()
}

/// A value; a fraction of less precision is the same number in full precision, as it is in Python.
fn value(field: &Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(boolean) => Value::from(*boolean),
        Field::Byte(number) => Value::from(*number),
        Field::Short(number) => Value::from(*number),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UByte(number) => Value::from(*number),
        Field::UShort(number) => Value::from(*number),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Float16(number) => fraction(f64::from(*number)),
        Field::Float(number) => fraction(f64::from(*number)),
        Field::Double(number) => fraction(*number),
        Field::Str(text) => Value::from(text.as_str()),
        Field::Group(record) => Value::Object(object(record)?),
        Field::ListInternal(list) => {
            let items: Result<Vec<Value>, String> = list.elements().iter().map(value).collect();
            Value::from(items?)
        }
        other => return Err(format!("the value `{other}` has a type that is not supported")),
    })
}

/// A fraction as JSON; what JSON has no number for is the text that Python prints.
fn fraction(number: f64) -> Value {
    match serde_json::Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("nan"),
        None if number > 0.0 => Value::from("inf"),
        None => Value::from("-inf"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::testing::write;
    use super::super::{Format, Split};
    use super::*;
    use crate::evaluate::template::Template;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate").join(name)
    }

    fn assert_rows(data: &str, expected: &str) {
        let rows = read(&[golden(data)]).expect("rows").rows;
        let rows = Value::from(rows.into_iter().map(Value::Object).collect::<Vec<_>>());
        let expected = std::fs::read_to_string(golden(expected)).expect("golden data");
        let expected: Value = serde_json::from_str(&expected).expect("golden data");
        assert_eq!(rows.to_string(), expected.to_string(), "{data}");
    }

    // See tests/golden/evaluate/tables.py.
    #[test]
    fn values_are_those_of_the_datasets_library() {
        assert_rows("types.parquet", "types.json");
        assert_rows("times.parquet", "times.json");
    }

    #[test]
    fn columns_that_are_not_read_are_not_called_absent() {
        let split = Split::read(&[golden("times.parquet")], &Format::Parquet).expect("a split");
        let template = Template::new("{{ image }}").expect("a template");
        let problem = template.render(&split.documents[0].variables).expect_err("not read");
        let expected = "the column `image` has values of a kind that is not read";
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn every_codec_is_read() {
        for codec in ["none", "gzip", "brotli", "lz4", "zstd"] {
            assert_rows(&format!("codec_{codec}.parquet"), "codec.json");
        }
    }

    #[test]
    fn other_files_are_named() {
        let message = |path: &Path| {
            let error = read(&[path.to_owned()]).expect_err("not supported");
            error.to_string().replace(&path.display().to_string(), "t")
        };
        let (_directory, path) = write("t.parquet", b"PAR1 no, text");
        assert!(message(&path).starts_with("`t` cannot be read as Parquet: "));
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors_or_other_rows(
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            length in any::<prop::sample::Index>(),
        ) {
            let mut bytes = std::fs::read(golden("types.parquet")).expect("golden data");
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if length.index(8) == 0 {
                bytes.truncate(place);
            }
            let (_directory, path) = write("t.parquet", &bytes);
            let _ = read(&[path]);
        }
    }
}
