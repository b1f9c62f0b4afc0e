//! Apache Parquet: texts, numbers, booleans, and lists and objects of them.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row as Record};
use ::parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use super::{Row, complete, not_empty};
use crate::evaluate::EvaluateError;

/// Reads files one after the other.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Row>, EvaluateError> {
    let mut rows = Vec::new();
    for path in paths {
        let file = File::open(path)
            .map_err(|source| EvaluateError::Read { path: path.to_owned(), source })?;
        // The library panics at some files that are damaged.
        let found = catch_unwind(AssertUnwindSafe(|| read_rows(file)));
        let problem = |problem: String| EvaluateError::Parquet { path: path.to_owned(), problem };
        let found = found.unwrap_or_else(|_| Err("it is damaged".to_owned())).map_err(problem)?;
        rows.append(&mut not_empty(path, found)?);
    }
    Ok(complete(rows))
}

fn read_rows(file: File) -> Result<Vec<Row>, String> {
    let sentence = |error: ParquetError| match error {
        ParquetError::General(text) | ParquetError::EOF(text) | ParquetError::NYI(text) => text,
        other => other.to_string(),
    };
    let reader = SerializedFileReader::new(file).map_err(sentence)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    if let Some(column) = schema.columns().iter().find(|column| !is_supported(column)) {
        return Err(format!(
            "column `{}` has a type that is not supported; texts, numbers and booleans are",
            column.path().string()
        ));
    }
    let records = reader.get_row_iter(None).map_err(sentence)?;
    records.map(|record| object(&record.map_err(sentence)?)).collect()
}

fn is_supported(column: &ColumnDescriptor) -> bool {
    match column.physical_type() {
        Type::BOOLEAN | Type::FLOAT | Type::DOUBLE => true,
        Type::BYTE_ARRAY => {
            matches!(column.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM)
        }
        Type::INT32 | Type::INT64 => {
            matches!(column.logical_type_ref(), None | Some(LogicalType::Integer { .. }))
                && !matches!(
                    column.converted_type(),
                    ConvertedType::DECIMAL
                        | ConvertedType::DATE
                        | ConvertedType::TIME_MILLIS
                        | ConvertedType::TIME_MICROS
                        | ConvertedType::TIMESTAMP_MILLIS
                        | ConvertedType::TIMESTAMP_MICROS
                )
        }
        Type::FIXED_LEN_BYTE_ARRAY => column.logical_type_ref() == Some(&LogicalType::Float16),
        Type::INT96 => false,
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
    use super::*;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate").join(name)
    }

    // See tests/golden/evaluate/tables.py.
    #[test]
    fn values_are_those_of_the_datasets_library() {
        let rows = read(&[golden("types.parquet")]).expect("rows");
        let rows = Value::from(rows.into_iter().map(Value::Object).collect::<Vec<_>>());
        let expected = std::fs::read_to_string(golden("types.json")).expect("golden data");
        let expected: Value = serde_json::from_str(&expected).expect("golden data");
        assert_eq!(rows.to_string(), expected.to_string());
    }

    #[test]
    fn other_types_and_other_files_are_named() {
        let message = |path: &Path| {
            let error = read(&[path.to_owned()]).expect_err("not supported");
            error.to_string().replace(&path.display().to_string(), "t")
        };
        assert_eq!(
            message(&golden("dates.parquet")),
            "`t` cannot be read as Parquet: column `day` has a type that is not supported; texts, \
             numbers and booleans are"
        );
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
