//! `mergekit inspect`: what is in a model.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::Failure;
use super::statistics::StatisticsArguments;
use crate::inspect::Inspection;
use crate::report::{INSPECTED, inspection_json, inspection_statistics, inspection_text};

/// Show what is in a model: parameters, types, norms of layers and tensors
#[derive(Debug, Args)]
#[command(after_help = "\
Norms and extremes are those of the finite elements; NaN and infinite ones are counted.

Examples:
  mergekit inspect examples/demo/base
      kinds of tensors and layers
  mergekit inspect model --tensors
      every tensor too
  mergekit inspect model --csv numbers.csv --heat-map rms.svg
      all numbers for a spreadsheet, and a picture
  mergekit inspect model --json | jq .total.parameters
      numbers for programs; docs/inspect.md explains them")]
pub(super) struct Arguments {
    /// A model directory, a file of weights, or a model of the Hub, `organisation/name`; with an adapter,
    /// `MODEL+ADAPTER`
    model: PathBuf,

    /// What the heat map shows
    #[arg(long, value_name = "NAME", default_value = "rms", requires = "heat_map")]
    #[arg(value_parser = PossibleValuesParser::new(INSPECTED.iter().map(|quantity| quantity.key)))]
    quantity: String,

    #[command(flatten)]
    statistics: StatisticsArguments,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let measuring = arguments.statistics.begin()?;
    let model = measuring.open(&arguments.model)?;
    let bar = measuring.talk.read_progress(Inspection::bytes(&model));
    let inspection = Inspection::measure(&model, &measuring.options, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let inspection = inspection?;

    let quantity = INSPECTED.iter().find(|quantity| quantity.key == arguments.quantity);
    arguments.statistics.show(
        &measuring,
        &inspection_statistics(&inspection),
        quantity.expect("clap accepts these names only"),
        &[model.label().to_owned()],
        || inspection_text(&model, &inspection, arguments.statistics.tensors),
        || inspection_json(&model, &inspection),
    )
}
