use std::path::PathBuf;
use std::time::Duration;

use super::super::{Budget, EvaluationOptions, OptimizerKind, OptimizerOptions, RestartKind};
use super::*;
use crate::lm::{DeviceChoice, Storage};

const MERGE: &str = "
merge:
  merge_method: linear
  models:
    - {model: a, parameters: {weight: {uniform: [0, 1]}}}
    - {model: b, parameters: {weight: 1}}
";

#[test]
fn sections_have_defaults() {
    let file = read(&format!("{MERGE}tasks: [x]\n")).unwrap();
    assert_eq!(
        file.optimizer,
        OptimizerOptions {
            kind: OptimizerKind::CmaEs,
            population: None,
            sigma0: 1.0 / 6.0,
            seed: 0,
            restarts: RestartKind::None
        }
    );
    assert_eq!(file.budget, Budget { evaluations: 100, wall_clock: None, target: None });
    assert_eq!(
        file.evaluation,
        EvaluationOptions {
            limit: None,
            num_fewshot: None,
            batch_size: None,
            dtype: Storage::F32,
            device: DeviceChoice::Cpu
        }
    );
    assert_eq!((file.validation.fraction, file.validation.seed), (0.5, 1));
    assert_eq!(file.output, PathBuf::from("results/try"));
    assert_eq!(file.task_path, [PathBuf::from("evaluators")]);
}

#[test]
fn sections_are_read() {
    let file = read(&format!(
        "{MERGE}
tasks:
  - {{name: arithmetic, metric: 'exact_match,none', weight: 2}}
task_path: [here, there]
optimizer: {{kind: random, sigma0: 0.3, seed: 18446744073709551615, restarts: none}}
budget: {{evaluations: 200, wall_clock: 1h30m, target: 0.99}}
evaluation: {{limit: 50, num_fewshot: 0, batch_size: auto, dtype: float32, device: cpu}}
validation: {{fraction: 0, seed: 7}}
output: out
"
    ))
    .unwrap();
    assert_eq!(file.optimizer.kind, OptimizerKind::Random);
    assert_eq!(file.optimizer.population, None);
    let text = format!("{MERGE}tasks: [x]\noptimizer: {{population: 12, restarts: bipop}}\n");
    let optimizer = read(&text).unwrap().optimizer;
    assert_eq!((optimizer.population, optimizer.restarts), (Some(12), RestartKind::Bipop));
    assert_eq!(file.optimizer.seed, u64::MAX);
    assert_eq!(file.budget.wall_clock, Some(Duration::from_secs(5400)));
    assert_eq!(file.budget.target, Some(0.99));
    assert_eq!(file.evaluation.limit, Some(50));
    assert_eq!(file.evaluation.num_fewshot, Some(0));
    assert_eq!(file.validation.fraction, 0.0);
    assert_eq!(file.output, PathBuf::from("out"));
    assert_eq!(file.task_path.len(), 2);
    assert_eq!(file.tasks[0].weight, 2.0);
    assert!(file.text.starts_with("\nmerge:"));
}

/// The message behind `searches/try.yml:` and the hint.
fn refused(text: &str) -> (String, String) {
    let error = read(text).map(|_| ()).unwrap_err();
    assert!(error.is_users_mistake(), "{error}");
    let message = error.to_string();
    let message = message.strip_prefix("searches/try.yml:").unwrap_or(&message).to_owned();
    (message, error.hint().unwrap_or_default())
}

#[test]
fn mistakes_in_sections_have_a_place() {
    for (section, message, hint) in [
        ("optimiser: {}", "8:1: optimiser: unknown field `optimiser`", "did you mean `optimizer`?"),
        (
            "budget: {evalutions: 3}",
            "8:10: budget.evalutions: unknown field `evalutions`",
            "did you mean `evaluations`?",
        ),
        (
            "budget: {evaluations: 0}",
            "8:23: budget.evaluations: expected a whole number of at least 1, found `0`",
            "",
        ),
        (
            "budget: {wall_clock: soon}",
            "8:22: budget.wall_clock: expected a time such as `30m`, `1h30m` or `90s`, found `soon`",
            "",
        ),
        (
            "optimizer: {kind: cma}",
            "8:19: optimizer.kind: `cma` is not possible",
            "possible are `cma_es`, `sep_cma_es`, `lra_cma_es`, `genetic`, `differential_evolution`, \
             `particle_swarm`, `random` and `sobol`",
        ),
        (
            "optimizer: {population: 3}",
            "8:25: optimizer.population: expected a whole number of at least 4, found `3`",
            "",
        ),
        (
            "optimizer: {kind: random, population: 8}",
            "8:27: optimizer.population: `random` draws every candidate on its own, in no population",
            "leave `population` out, or choose `kind: cma_es`",
        ),
        (
            "optimizer: {kind: genetic, restarts: bipop}",
            "8:28: optimizer.restarts: `genetic` has no reason to restart",
            "leave `restarts` out, or choose `kind: cma_es`",
        ),
        (
            "optimizer: {sigma0: 0}",
            "8:21: optimizer.sigma0: expected a number above 0 and at most 1, found `0`",
            "",
        ),
        (
            "validation: {fraction: 1}",
            "8:24: validation.fraction: expected a number from 0 to below 1, found `1`",
            "",
        ),
        (
            "evaluation: {device: cuda:first}",
            "8:22: evaluation.device: `cuda:first` is not possible",
            "possible are `cpu`, `cuda`, `cuda:N` and `metal`",
        ),
        (
            "evaluation: {limit: 0.5}",
            "8:21: evaluation.limit: a share of the items is not supported yet",
            "give the number of items per task",
        ),
        (
            "limit: 5",
            "8:1: limit: unknown field `limit`",
            "possible are `merge`, `tasks`, `task_path`, `optimizer`, `budget`, `evaluation`, `validation` and `output`",
        ),
        (
            "genome: {}",
            "8:1: genome: the search file has both `merge` and `genome`",
            "keep one of them",
        ),
    ] {
        let refusal = refused(&format!("{MERGE}tasks: [x]\n{section}\n"));
        assert_eq!(refusal, (message.to_owned(), hint.to_owned()));
    }
    assert_eq!(refused(MERGE).0, "2:1: field `tasks` is missing");
    assert_eq!(
        refused(&format!("{MERGE}tasks: [{{name: x, weight: 0}}, {{name: y, weight: 0.0}}]\n")),
        (
            "7:8: tasks: every task has weight 0, so all merges would have the same score"
                .to_owned(),
            "give at least one task another `weight`".to_owned()
        )
    );
    assert_eq!(
        refused(&format!("{MERGE}tasks: []\n")).0,
        "7:8: tasks: expected a list of at least one task, found an empty list"
    );
    assert_eq!(
        refused(&format!("{MERGE}tasks: [{{weight: 1}}]\n")).0,
        "7:9: tasks[0]: field `name` is missing"
    );
    assert_eq!(refused("tasks: [x]\n").0, "1:1: the search file has neither `merge` nor `genome`");
    assert_eq!(refused("merg: {}\ntasks: [x]\n").1, "did you mean `merge`?");
}

#[test]
fn options_of_both_forms_are_not_given_twice() {
    let text = "genome: {models: [a, b], merge_method: linear}\ntasks: [x]\nlimit: 5\n\
                evaluation: {limit: 6}\n";
    let (message, _) = refused(text);
    assert_eq!(message, "4:14: evaluation.limit: also given as `limit`");
}

#[test]
fn mistakes_in_variables_have_a_place() {
    let with = |weight: &str| {
        refused(&format!(
            "merge:\n  merge_method: linear\n  models:\n    - model: a\n      parameters:\n        \
             weight: {weight}\n    - {{model: b, parameters: {{weight: 1}}}}\ntasks: [x]\n"
        ))
    };
    const PATH: &str = "merge.models[0].parameters.weight";
    for (weight, message) in [
        (
            "{uniform: [1, 0]}",
            "6:27: PATH.uniform: the lower bound 1 is not below the upper bound 0",
        ),
        (
            "{uniform: [1, 1]}",
            "6:27: PATH.uniform: the lower bound 1 is not below the upper bound 1",
        ),
        ("{uniform: [0]}", "6:27: PATH.uniform: expected two numbers `[low, high]`, found `[0]`"),
        (
            "{uniform: [-1.7e308, 1.7e308]}",
            "6:27: PATH.uniform: the bounds -1.7e308 and 1.7e308 are too far apart",
        ),
        (
            "{log_uniform: [0, 1]}",
            "6:31: PATH.log_uniform: the lower bound 0 of a logarithmic interval is not above 0",
        ),
        ("{uniform: [0, 1], init: 2}", "6:41: PATH.init: the start 2 is not between 0 and 1"),
        (
            "{uniform: [0, 1], layer_groups: 0}",
            "6:49: PATH.layer_groups: expected a whole number of at least 1, found `0`",
        ),
        (
            "{uniform: [0, 1], smooth: true}",
            "6:35: PATH.smooth: `smooth` needs at least 2 layer groups to pass between",
        ),
        (
            "{uniform: [0, 1], filters: [mlp, mlp.up]}",
            "6:50: PATH.filters[1]: filter `mlp.up` would never get a tensor",
        ),
        ("{uniform: [0, 1], inti: 0.5}", "6:35: PATH.inti: unknown field `inti`"),
        (
            "{uniform: [0, 1], log_uniform: [1, 2]}",
            "6:35: PATH.log_uniform: a variable is either `uniform` or `log_uniform`",
        ),
        ("{choice: [0, 1]}", "6:18: PATH.choice: a variable of kind `choice` is not supported yet"),
        ("{int: [0, 1]}", "6:18: PATH.int: a variable of kind `int` is not supported yet"),
        (
            "[{uniform: [0, 1], filters: [a]}, 1]",
            "6:18: PATH[0]: a search variable cannot stand here",
        ),
        ("0.5", "1:1: merge: the merge config has no search variable"),
    ] {
        assert_eq!(with(weight).0, message.replace("PATH", PATH), "{weight}");
    }
}

#[test]
fn variables_stand_only_for_numbers_of_parameters() {
    let config = "merge_method: {choice: [ties, linear]}\nmodels: [{model: a}]\n";
    let error = merge(config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "searches/try.yml:2:17: merge.merge_method: a search variable cannot stand here"
    );
    assert_eq!(error.hint().unwrap(), "only numbers of `parameters` can be search variables");
}

#[test]
fn the_ends_of_intervals_are_checked_as_parameters() {
    let config = "merge_method: ties\nbase_model: a\nmodels:\n  - model: b\n    parameters: \
                  {weight: 1, density: {uniform: [0.5, 1.5]}}\n";
    assert_eq!(
        merge(config).unwrap_err().to_string(),
        "searches/try.yml:6:40: merge.models[0].parameters.density: density is 1.5, outside 0..=1"
    );
    let config =
        "merge_method: tiess\nmodels: [{model: a, parameters: {weight: {uniform: [0, 1]}}}]\n";
    let error = merge(config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "searches/try.yml:2:17: merge.merge_method: unknown merge method `tiess`"
    );
}

#[test]
fn groups_need_layers() {
    let file = merge(
        "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: {uniform: [0, 1], \
         layer_groups: 9}}\n",
    )
    .unwrap();
    let error = SearchSpace::new(&file, 8).unwrap_err();
    assert_eq!(
        error.to_string(),
        "searches/try.yml:5:60: merge.models[0].parameters.weight.layer_groups: 9 groups do not \
         fit into 8 layers"
    );
    assert!(SearchSpace::new(&file, 9).is_ok());
}

#[test]
fn points_need_one_finite_coordinate_per_variable() {
    let file = read(&format!("{MERGE}tasks: [x]\n")).unwrap();
    let space = space(&file, 4);
    assert_eq!(space.initial(), [0.5]);
    assert!(matches!(space.decode(&[]), Err(SpaceError::Dimension { expected: 1, found: 0 })));
    assert!(matches!(space.decode(&[f64::NAN]), Err(SpaceError::NotFinite { .. })));
}

#[test]
fn variables_that_the_method_does_not_read_are_pointed_out() {
    let file = merge(
        "merge_method: linear\nmodels:\n  - model: a\n    parameters:\n      weight: 1\n      \
         density: {uniform: [0, 1]}\n",
    )
    .unwrap();
    let warnings: Vec<String> = file.warnings.iter().map(ToString::to_string).collect();
    let place = "searches/try.yml:7:9: merge.models[0].parameters.density";
    assert_eq!(warnings, [format!("{place}: `linear` does not read `density`")]);
}
