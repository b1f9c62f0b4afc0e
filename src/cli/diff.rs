//! `mergekit diff`: how two models differ and, with their base, where each went.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::Failure;
use super::statistics::StatisticsArguments;
use crate::inspect::Difference;
use crate::report::{
    COMPARED, ComparedModels, compared, difference_json, difference_statistics, difference_text,
};

/// Show how two models differ, layer by layer
#[derive(Debug, Args)]
#[command(after_help = "\
With --base, the task vectors A − base and B − base are compared too: their lengths, the cosine of
the angle between them, how often signs agree, and how many elements either model moved. Where
signs disagree, a merge of both cancels.

Examples:
  mergekit diff examples/demo/base examples/demo/adder
      where a fine-tune differs from its base
  mergekit diff examples/demo/adder examples/demo/sorter --base examples/demo/base
      how two fine-tunes get along
  mergekit diff a b --base c --heat-map signs.svg --quantity sign_agreement
      a picture of it
  mergekit diff a b --tensors --csv numbers.csv
      every tensor, and all numbers for a spreadsheet; docs/inspect.md explains them")]
pub(super) struct Arguments {
    /// Model A: a directory, a file of weights, or a model of the Hub, `organisation/name`; with an adapter,
    /// `MODEL+ADAPTER`
    a: PathBuf,

    /// Model B
    b: PathBuf,

    /// The model that both come from
    #[arg(long, value_name = "MODEL")]
    base: Option<PathBuf>,

    /// What the heat map shows; `relative` if not given, with a base `task_cosine`
    #[arg(long, value_name = "NAME", requires = "heat_map")]
    #[arg(value_parser = PossibleValuesParser::new(COMPARED.iter().map(|quantity| quantity.key)))]
    quantity: Option<String>,

    #[command(flatten)]
    statistics: StatisticsArguments,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let with_base = arguments.base.is_some();
    let default = if with_base { "task_cosine" } else { "relative" };
    let key = arguments.quantity.as_deref().unwrap_or(default);
    let Some(quantity) = compared(with_base).iter().find(|quantity| quantity.key == key) else {
        return Err(Failure::refused(
            format!("`--quantity {key}` is about task vectors, which need a base model"),
            "name the model that both come from with `--base MODEL`",
        ));
    };
    let measuring = arguments.statistics.begin()?;
    let a = measuring.open(&arguments.a)?;
    let b = measuring.open(&arguments.b)?;
    let base = arguments.base.as_ref().map(|base| measuring.open(base)).transpose()?;
    let bar = measuring.talk.read_progress(Difference::bytes(&a, &b, base.as_ref()));
    let difference =
        Difference::measure(&a, &b, base.as_ref(), &measuring.options, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let difference = difference?;

    let models =
        ComparedModels { a: a.label(), b: b.label(), base: base.as_ref().map(|base| base.label()) };
    let mut names = vec![format!("A: {}", models.a), format!("B: {}", models.b)];
    names.extend(models.base.map(|base| format!("base: {base}")));
    arguments.statistics.show(
        &measuring,
        &difference_statistics(&difference, with_base),
        quantity,
        &names,
        || difference_text(&models, &difference, arguments.statistics.tensors),
        || difference_json(&models, &difference),
    )
}
