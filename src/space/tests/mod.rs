//! Search files as a whole: text in, merge configs out.

mod files;
mod genomes;
mod merges;
mod properties;

use std::path::Path;

use super::{SearchFile, SearchSpace, SpaceError, Variable};
use crate::config::{MergeConfig, OutputSlice, Recipe, Scalar, Settings};

fn read(text: &str) -> Result<SearchFile, SpaceError> {
    SearchFile::parse(text, Path::new("searches/try.yml"))
}

/// A search file with this merge config, given as it stands under `merge:`.
fn merge(config: &str) -> Result<SearchFile, SpaceError> {
    let indented: String = config.lines().map(|line| format!("  {line}\n")).collect();
    read(&format!("merge:\n{indented}tasks: [arithmetic]\n"))
}

fn space(file: &SearchFile, layers: usize) -> SearchSpace {
    SearchSpace::new(file, layers).unwrap()
}

fn names(space: &SearchSpace) -> Vec<&str> {
    space.variables().iter().map(|variable| variable.name.as_str()).collect()
}

fn slices(config: &MergeConfig) -> &[OutputSlice] {
    match &config.recipe {
        Recipe::Slices(slices) => slices,
        other => panic!("{other:?}"),
    }
}

/// The parameter of input `input` in every layer, in the order of the output.
fn by_layer(config: &MergeConfig, input: usize, parameter: &str, tensor: &str) -> Vec<f64> {
    let stack = |n: usize, scopes: &[&Settings]| -> Vec<f64> {
        (0..n)
            .map(|layer| {
                let t = if n == 1 { 1.0 } else { layer as f64 / (n - 1) as f64 };
                let mut settings = scopes.iter().filter_map(|scope| scope.get(parameter));
                let scalar = settings.find_map(|setting| setting.resolve(tensor, t)).unwrap();
                scalar.as_number().unwrap()
            })
            .collect()
    };
    match &config.recipe {
        Recipe::Models(models) => stack(8, &[&models[input].parameters, &config.parameters]),
        Recipe::Slices(slices) => slices
            .iter()
            .flat_map(|slice| {
                let source = &slice.sources[input];
                let scopes = [&source.parameters, &slice.parameters, &config.parameters];
                stack(source.layers.len(), &scopes)
            })
            .collect(),
        Recipe::Modules(_) => panic!("not for modules"),
    }
}

fn scalar(settings: &Settings, name: &str) -> Scalar {
    settings[name].resolve("", 0.0).unwrap()
}

/// What `mergekit merge` would read of the config that a search writes.
fn reread(config: &MergeConfig) -> MergeConfig {
    MergeConfig::parse(&config.to_yaml(), Path::new("best_config.yaml")).unwrap()
}
