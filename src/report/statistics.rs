//! Statistics of models as tables, CSV and JSON.

use serde_json::{Map, Value, json};

use super::columns::{Align, table};
use super::quantity::Quantity;
use super::shape_text;
use crate::architecture::Location;
use crate::inspect::{Accumulate, Groups, Measured};
use crate::kernels::dtype::DType;

/// Statistics of all tensors of one or two models, and which of them to show.
#[derive(Debug)]
pub struct Statistics<'s, T: 'static> {
    /// All quantities, for CSV and JSON.
    pub quantities: &'static [Quantity<T>],
    /// Those shown in tables.
    pub columns: Vec<&'static Quantity<T>>,
    /// Every tensor.
    pub tensors: &'s [Measured<T>],
    /// The same tensors in groups.
    pub groups: &'s Groups<T>,
}

impl<T: Accumulate> Statistics<'_, T> {
    /// A table by kind and one by layer, with the total; on demand one of every tensor.
    pub fn tables(&self, every_tensor: bool) -> String {
        let groups = self.groups;
        let mut kinds = vec![self.headings(&["kind"])];
        kinds.extend(groups.by_kind().map(|(kind, part)| self.line(&[kind], part)));
        kinds.push(self.line(&["all"], &groups.total));
        let mut text = table(&kinds, &[Align::Left, Align::Point]);

        let mut layers = vec![self.headings(&["layer"])];
        layers.extend(groups.before.iter().map(|(kind, part)| self.line(&[kind], part)));
        for (layer, part) in &groups.layers {
            layers.push(self.line(&[&groups.layer_name(layer)], part));
        }
        layers.extend(groups.after.iter().map(|(kind, part)| self.line(&[kind], part)));
        if !groups.layers.is_empty() {
            text.push('\n');
            text.push_str(&table(&layers, &[Align::Left, Align::Point]));
        }

        if every_tensor {
            let mut tensors = vec![self.headings(&["tensor", "type", "shape"])];
            tensors.extend(self.tensors.iter().map(|tensor| {
                let (dtypes, shape) = (dtypes_text(&tensor.dtypes), shape_text(&tensor.shape));
                self.line(&[&tensor.name, &dtypes, &shape], &tensor.part)
            }));
            text.push('\n');
            text.push_str(&table(&tensors, &[Align::Left, Align::Left, Align::Left, Align::Point]));
        }
        text
    }

    fn headings(&self, first: &[&str]) -> Vec<String> {
        let columns = self.columns.iter().map(|quantity| quantity.heading);
        first.iter().copied().chain(columns).map(str::to_owned).collect()
    }

    fn line(&self, first: &[&str], part: &T) -> Vec<String> {
        let cells = self.columns.iter().map(|quantity| quantity.text(part));
        first.iter().map(|&cell| cell.to_owned()).chain(cells).collect()
    }

    /// One row for the whole, for each kind, layer and tensor, told apart by the column `scope`.
    /// Numbers have as many digits as it takes to read the same number back. What there is not is
    /// empty.
    pub fn csv(&self) -> String {
        let mut rows = csv::Writer::from_writer(Vec::new());
        let first = ["scope", "name", "layer", "kind", "dtype", "shape"];
        let header = first.into_iter().chain(self.quantities.iter().map(|quantity| quantity.key));
        rows.write_record(header).expect(IN_MEMORY);
        let mut write = |first: [&str; 6], part: &T| {
            let cells = self.quantities.iter().map(|quantity| quantity.exact(part));
            let row = first.iter().map(|&cell| cell.to_owned()).chain(cells);
            rows.write_record(row).expect(IN_MEMORY);
        };
        write(["total", "", "", "", "", ""], &self.groups.total);
        for (kind, part) in self.groups.by_kind() {
            write(["kind", kind, "", kind, "", ""], part);
        }
        for (layer, part) in &self.groups.layers {
            let (name, index) = (self.groups.layer_name(layer), layer.index.to_string());
            write(["layer", &name, &index, "", "", ""], part);
        }
        for tensor in self.tensors {
            let layer = match tensor.place.location {
                Location::Layer(layer) => layer.to_string(),
                Location::Pre | Location::Post => String::new(),
            };
            let (dtypes, shape) = (dtypes_text(&tensor.dtypes), shape_text(&tensor.shape));
            let kind = &tensor.place.kind;
            write(["tensor", &tensor.name, &layer, kind, &dtypes, &shape], &tensor.part);
        }
        let bytes = rows.into_inner().expect(IN_MEMORY);
        String::from_utf8(bytes).expect("all fields are text")
    }

    /// The keys `total`, `kinds`, `layers` and `tensors`.
    pub fn json(&self) -> Map<String, Value> {
        let mut kinds = Vec::new();
        for (kind, part) in self.groups.by_kind() {
            kinds.push(self.object([("kind", json!(kind))], part));
        }
        let mut layers = Vec::new();
        for (layer, part) in &self.groups.layers {
            let first = [("layer", json!(layer.index)), ("stack", json!(layer.stack))];
            layers.push(self.object(first, part));
        }
        let mut tensors = Vec::new();
        for tensor in self.tensors {
            let layer = match tensor.place.location {
                Location::Layer(layer) => Some(layer),
                Location::Pre | Location::Post => None,
            };
            let dtypes: Vec<String> = tensor.dtypes.iter().map(DType::to_string).collect();
            let first = [
                ("name", json!(tensor.name)),
                ("layer", json!(layer)),
                ("kind", json!(tensor.place.kind)),
                ("dtypes", json!(dtypes)),
                ("shape", json!(tensor.shape)),
            ];
            tensors.push(self.object(first, &tensor.part));
        }
        let mut object = Map::new();
        object.insert("total".to_owned(), self.object([], &self.groups.total));
        object.insert("kinds".to_owned(), Value::Array(kinds));
        object.insert("layers".to_owned(), Value::Array(layers));
        object.insert("tensors".to_owned(), Value::Array(tensors));
        object
    }

    fn object<const N: usize>(&self, first: [(&str, Value); N], part: &T) -> Value {
        let values = self.quantities.iter().map(|quantity| (quantity.key, quantity.json(part)));
        let entries = first.into_iter().chain(values);
        entries.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
    }
}

/// Why writing cannot fail: the sink is a vector, and all rows have a field for each column.
const IN_MEMORY: &str = "rows of equal length are written to memory";

/// `bfloat16`, or `bfloat16/float32` where models differ.
fn dtypes_text(dtypes: &[DType]) -> String {
    let all_equal = dtypes.windows(2).all(|pair| pair[0] == pair[1]);
    let shown = if all_equal { &dtypes[..dtypes.len().min(1)] } else { dtypes };
    shown.iter().map(DType::to_string).collect::<Vec<_>>().join("/")
}
