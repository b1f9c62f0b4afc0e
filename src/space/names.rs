//! Short names of models, and names of variables that are unique.

use std::collections::HashSet;

use crate::config::ModelReference;

/// A name for each model: the end of its path, and of its adapter's behind a `+`, with as many
/// directories as it takes to tell it from the other models, and the whole reference where that does
/// not suffice.
///
/// Equal references have equal names.
pub(super) fn short_names(models: &[ModelReference]) -> Vec<String> {
    let mut distinct: Vec<&ModelReference> = Vec::new();
    for model in models {
        if !distinct.contains(&model) {
            distinct.push(model);
        }
    }
    let name_of = |model: &ModelReference| {
        let paths = std::iter::once(&model.model).chain(&model.lora);
        (1..=paths.map(|path| components(&path.path).count()).max().unwrap_or(0))
            .find(|&depth| {
                let name = ending(model, depth);
                distinct.iter().filter(|other| ending(other, depth) == name).count() == 1
            })
            .map_or_else(|| model.to_string(), |depth| ending(model, depth))
    };
    models.iter().map(name_of).collect()
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".")
}

fn ending(model: &ModelReference, depth: usize) -> String {
    let of_path = |path: &str| {
        let components: Vec<&str> = components(path).collect();
        components[components.len().saturating_sub(depth)..].join("/")
    };
    match &model.lora {
        None => of_path(&model.model.path),
        Some(adapter) => format!("{}+{}", of_path(&model.model.path), of_path(&adapter.path)),
    }
}

/// Appends ` #2`, ` #3`, … to names that were given before.
pub(super) fn make_unique<'a>(names: impl Iterator<Item = &'a mut String>) {
    let mut taken = HashSet::new();
    for name in names {
        let plain = name.clone();
        let mut count = 2;
        while !taken.insert(name.clone()) {
            *name = format!("{plain} #{count}");
            count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        let models: Vec<ModelReference> = paths.iter().map(|path| path.parse().unwrap()).collect();
        short_names(&models)
    }

    #[test]
    fn models_are_named_by_the_end_of_their_path() {
        assert_eq!(names(&["examples/demo/adder", "org/sorter/"]), ["adder", "sorter"]);
        assert_eq!(names(&["a/merged", "b/merged", "c"]), ["a/merged", "b/merged", "c"]);
        assert_eq!(names(&["m@v1", "m@v2"]), ["m@v1", "m@v2"]);
        assert_eq!(names(&["x/m", "m"]), ["x/m", "m"]);
        assert_eq!(names(&["m", "m", "."]), ["m", "m", "."]);
        assert_eq!(names(&["x/m", "x/m+y/lora", "x/m+z"]), ["m", "m+lora", "m+z"]);
        assert_eq!(names(&["x/m+y/lora", "x/m+z/lora"]), ["x/m+y/lora", "x/m+z/lora"]);
    }

    #[test]
    fn repeated_names_are_counted() {
        let mut names = ["a", "b", "a", "a #2", "a"].map(str::to_owned);
        make_unique(names.iter_mut());
        assert_eq!(names, ["a", "b", "a #2", "a #2 #2", "a #3"]);
    }
}
