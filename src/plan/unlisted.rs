//! What models have beyond their architecture's definition: merged where all have it, and else named.

use std::sync::Arc;

use super::models::InputModel;
use super::recipe::ModuleRecipe;
use super::{PlanError, PlanWarning};
use crate::architecture::{Architecture, ArchitectureDefinition, ExtendedModel, with_unlisted};
use crate::config::ModelReference;

/// `definition`, which the output has, with all that `models` have alike beyond it. What only some of
/// them have is not merged and warned of; `references` say where the config names them.
pub(super) fn extend(
    definition: &Arc<ArchitectureDefinition>,
    models: &[Arc<InputModel>],
    references: &[(String, &ModelReference)],
    modules: &[ModuleRecipe<'_>],
    warnings: &mut Vec<PlanWarning>,
) -> Result<Arc<ArchitectureDefinition>, PlanError> {
    if definition.is_inferred || models.iter().all(|model| is_all_listed(model, definition)) {
        return Ok(Arc::clone(definition));
    }
    let architectures: Vec<Architecture> = models
        .iter()
        .map(|model| match model.architecture.definition() == definition {
            true => Ok(model.architecture.clone()),
            false => {
                let definition = Arc::clone(definition);
                Architecture::with_definition(definition, &model.config, &*model.checkpoint)
            }
        })
        .collect::<Result<_, _>>()?;
    let extended: Vec<ExtendedModel<'_>> = models
        .iter()
        .zip(&architectures)
        .map(|(model, architecture)| {
            let (config, source) = (&model.config, &*model.checkpoint);
            ExtendedModel { architecture, config, source }
        })
        .collect();
    let is_restacked =
        |name: &str| modules.iter().any(|module| module.is_restacked && module.name == name);
    let (definition, left) = with_unlisted(definition, &extended, is_restacked);
    for ((model, (field, _)), left) in models.iter().zip(references).zip(left) {
        if let [example, ..] = left.as_slice() {
            warnings.push(PlanWarning::UnlistedTensors {
                field: field.clone(),
                model: model.label(),
                count: left.len(),
                example: example.clone(),
            });
        }
    }
    Ok(definition)
}

/// Whether a model has nothing beyond `definition`, as nearly all do. Known from before where a search
/// merges the same models again.
fn is_all_listed(model: &InputModel, definition: &Arc<ArchitectureDefinition>) -> bool {
    model.architecture.definition() == definition && model.unlisted().is_empty()
}
