//! What is merged with each method, and how long that may take.

use std::fmt::Write;
use std::path::PathBuf;

/// How one method is run.
pub(crate) struct Recipe {
    pub method: &'static str,
    /// Most times the copy limit, where a target is set.
    pub target: Option<f64>,
    base: Base,
    /// Parameters of each model, of the base first where it is listed.
    models: &'static [&'static str],
    shared: &'static str,
}

/// Where the base model stands in a config.
#[derive(Clone, Copy)]
enum Base {
    /// `base_model` names it.
    Named,
    /// It is one model among others.
    Listed,
    Absent,
}

const NONE: &str = "{}";
const WEIGHTS: &[&str] = &["{weight: 0.5}", "{weight: 0.3}", "{weight: 0.4}"];
const HALVED: &[&str] =
    &["{weight: 0.5, density: 0.5}", "{weight: 0.3, density: 0.5}", "{weight: 0.4, density: 0.5}"];

const fn task_vectors(method: &'static str, target: f64, models: &'static [&str]) -> Recipe {
    Recipe { method, target: Some(target), base: Base::Named, models, shared: NONE }
}

const RECIPES: [Recipe; 20] = [
    Recipe {
        method: "passthrough",
        target: Some(1.3),
        base: Base::Absent,
        models: &[NONE],
        shared: NONE,
    },
    Recipe {
        method: "linear",
        target: Some(1.3),
        base: Base::Listed,
        models: &["{weight: 0.2}", "{weight: 0.5}", "{weight: 0.3}", "{weight: 0.4}"],
        shared: NONE,
    },
    task_vectors("task_arithmetic", 1.3, WEIGHTS),
    Recipe {
        method: "nearswap",
        target: Some(1.3),
        base: Base::Named,
        models: &[NONE],
        shared: "{t: 0.0001}",
    },
    task_vectors("ram", 1.3, &[NONE; 3]),
    Recipe {
        method: "ramplus_tl",
        target: None,
        base: Base::Named,
        models: &[NONE; 3],
        shared: NONE,
    },
    Recipe {
        method: "slerp",
        target: Some(2.0),
        base: Base::Named,
        models: &[NONE],
        shared: "{t: 0.4}",
    },
    task_vectors("nuslerp", 2.0, &["{weight: 0.5}", "{weight: 0.3}"]),
    task_vectors("multislerp", 2.0, WEIGHTS),
    Recipe {
        method: "karcher",
        target: Some(2.0),
        base: Base::Listed,
        models: &[NONE; 4],
        shared: NONE,
    },
    task_vectors("model_stock", 2.0, &[NONE; 3]),
    task_vectors("dare_linear", 2.5, HALVED),
    task_vectors("dare_ties", 2.5, HALVED),
    task_vectors("ties", 4.0, HALVED),
    task_vectors("breadcrumbs", 4.0, HALVED),
    task_vectors("breadcrumbs_ties", 4.0, HALVED),
    Recipe {
        method: "sce",
        target: Some(4.0),
        base: Base::Named,
        models: &[NONE; 3],
        shared: "{select_topk: 0.5}",
    },
    task_vectors("arcee_fusion", 4.0, &[NONE]),
    task_vectors("della", 6.0, HALVED),
    task_vectors("della_linear", 6.0, HALVED),
];

impl Recipe {
    pub(crate) fn find(method: &str) -> Option<&'static Self> {
        RECIPES.iter().find(|recipe| recipe.method == method)
    }

    /// Number of models that are read.
    pub(crate) fn inputs(&self) -> usize {
        self.models.len() + usize::from(matches!(self.base, Base::Named))
    }

    /// The merge config for models in these directories, the base first.
    pub(crate) fn config(&self, directories: &[PathBuf]) -> String {
        let mut text = format!("merge_method: {}\n", self.method);
        let mut line = |line: String| writeln!(text, "{line}").expect("strings take any text");
        if matches!(self.base, Base::Named) {
            line(format!("base_model: {:?}", directories[0]));
        }
        line("models:".to_owned());
        let first = usize::from(!matches!(self.base, Base::Listed));
        for (directory, parameters) in directories[first..].iter().zip(self.models) {
            line(format!("- {{model: {directory:?}, parameters: {parameters}}}"));
        }
        line(format!("parameters: {}", self.shared));
        line("dtype: bfloat16".to_owned());
        text
    }
}
