//! A config for every method, over models that look random.

use std::path::Path;

use mergekit::config::MergeConfig;
use mergekit::methods::{BaseRole, METHODS, MethodDefinition, ParameterDefault, ParameterScope};
use mergekit::plan::{MergePlan, ModelStore, PlanError, PlanOptions};

/// Values in -1..1 that look random.
pub(crate) fn noise(seed: u64) -> impl Fn(&str, usize) -> f32 {
    move |tensor, element| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ element as u64;
        for byte in tensor.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A config of `method` over `base`, `a`, `b` and `c` in `directory`, as many of them as it takes.
fn config(method: &MethodDefinition, directory: &Path) -> String {
    let has_base = method.base == BaseRole::Required;
    let (least, most) = method.inputs;
    let n_models = 3.clamp(least.max(1), most) - usize::from(has_base && most < 4);
    let path = |name: &str| format!("'{}'", directory.join(name).display());
    let mut text = format!("merge_method: {}\n", method.name);
    if has_base {
        text += &format!("base_model: {}\n", path("base"));
    }
    let settings = |is_meant: fn(ParameterScope) -> bool| {
        let all = method.parameters.iter().filter(|definition| is_meant(definition.scope));
        let given = all.filter(|definition| {
            definition.name == "density" || matches!(definition.default, ParameterDefault::Required)
        });
        let given: Vec<String> =
            given.map(|definition| format!("{}: 0.5", definition.name)).collect();
        format!("{{{}}}", given.join(", "))
    };
    text +=
        &format!("parameters: {}\nmodels:\n", settings(|scope| scope == ParameterScope::Shared));
    let own = settings(|scope| scope != ParameterScope::Shared);
    for name in ["a", "b", "c"].into_iter().take(n_models) {
        text += &format!("- {{model: {}, parameters: {own}}}\n", path(name));
    }
    text
}

/// The config of every method.
pub(crate) fn configs(directory: &Path) -> impl Iterator<Item = (&'static str, String)> {
    METHODS.into_iter().map(move |method| (method.name, config(method, directory)))
}

/// The plan that `text` asks for.
pub(crate) fn plan(text: &str) -> Result<MergePlan, Box<PlanError>> {
    let config = MergeConfig::parse(text, Path::new("merge.yml")).unwrap();
    let options = PlanOptions { seed: 5, ..Default::default() };
    MergePlan::new(&config, &ModelStore::new(), &options).map_err(Box::new)
}
