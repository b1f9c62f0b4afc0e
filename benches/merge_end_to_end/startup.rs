//! How long `mergekit merge` takes when there is next to nothing to merge.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::bail;

use crate::models::Llama;
use crate::recipes::Recipe;
use crate::table::median;

const REPEAT: usize = 11;

/// A merge of two layers; the models are made if they are not there.
pub(crate) fn config(parent: &Path) -> anyhow::Result<String> {
    let llama = Llama { hidden: 64, layers: 2, intermediate: 96, vocabulary: 128 };
    let models = llama.prepare(parent, crate::models::NAMES.len())?;
    let recipe = Recipe::find("linear").expect("the table has a recipe for it");
    Ok(recipe.config(&models))
}

/// Seconds from starting the program to its end, side files and waiting for the disk included.
pub(crate) fn measure(parent: &Path) -> anyhow::Result<f64> {
    let text = config(parent)?;
    let directory = tempfile::tempdir_in(parent)?;
    let config = directory.path().join("merge.yml");
    std::fs::write(&config, text)?;
    let run = |index: usize| {
        let start = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_mergekit"))
            .arg("merge")
            .arg(&config)
            .arg(directory.path().join(index.to_string()))
            .stderr(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(start.elapsed().as_secs_f64()),
            false => bail!("`mergekit merge {}` failed", config.display()),
        }
    };
    let seconds: anyhow::Result<Vec<f64>> = (0..REPEAT).map(run).collect();
    Ok(median(seconds?))
}
