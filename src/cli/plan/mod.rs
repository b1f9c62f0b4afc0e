//! `mergekit plan`: what a merge would do, without doing it.

mod json;
mod names;
mod table;
mod tensor;
mod words;

pub(super) use words::{heading, introduce};

use std::path::PathBuf;

use clap::Args;

use super::failure::line_of;
use super::options::MergeSettings;
use super::terminal::print;
use super::{Failure, Talk, Verbosity};
use crate::checkpoint::Layout;
use crate::config::ConfigFile;
use crate::engine::{Engine, EngineError, Estimate};
use crate::plan::MergePlan;

/// Show what a merge would do, without doing it
///
/// Reads the config and the headers of the models, no weights, and prints every kind of tensor, the
/// parameters after gradients and filters, and the bytes and memory that the merge will take. What is
/// wrong with a merge is found as by `mergekit merge`, with the same messages and exit codes. Of models
/// on the Hub, small files and headers are fetched, and no weights in safetensors.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mergekit plan configs/ties.yml
      the whole merge on a page
  mergekit plan merge.yml --tensor layers.0.self_attn.q_proj
      one tensor: its inputs and every parameter, with the line that it comes from
  mergekit plan merge.yml --tensor 'model.layers.*.mlp.up_proj.weight'
      the same for all layers
  mergekit plan merge.yml --json | jq '.bytes'
      for programs; docs/plan.md explains the fields")]
pub(super) struct Arguments {
    /// The merge config, a YAML file
    config: PathBuf,

    /// Show this tensor of the output: its name, a part of it, or a pattern with * and ?; repeatable
    #[arg(short, long = "tensor", value_name = "NAME")]
    tensors: Vec<String>,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: MergeSettings,

    #[command(flatten)]
    verbosity: Verbosity,
}

/// A plan with all that there is to say about it.
struct View<'v> {
    file: &'v ConfigFile,
    plan: &'v MergePlan,
    layout: &'v Layout,
    estimate: Estimate,
    memory_limit: Option<u64>,
}

impl View<'_> {
    /// The line that a path in the config leads to, or the path where that is not known.
    fn line_of(&self, field: &str) -> String {
        line_of(field, self.file).unwrap_or_else(|| field.to_owned())
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let talk = Talk::new(arguments.verbosity);
    let settings = &arguments.settings;
    let file = ConfigFile::read(&arguments.config)?;
    let (plan, _) = settings.plan(&file, talk)?;
    let layout = Layout::in_format(settings.format(), plan.tensor_infos(), settings.out_shard_size)
        .map_err(EngineError::from)?;
    let engine: Engine = settings.engine(talk)?;
    let view = View {
        file: &file,
        plan: &plan,
        layout: &layout,
        estimate: engine.estimate(&plan)?,
        memory_limit: settings.memory_limit,
    };
    let chosen = names::choose(&plan, &arguments.tensors)?;
    introduce(&plan, talk);
    print(&match (arguments.json, arguments.tensors.is_empty()) {
        (true, _) => json::render(&view, &chosen),
        (false, true) => table::render(&view),
        (false, false) => tensor::render(&view, &chosen),
    })
}
