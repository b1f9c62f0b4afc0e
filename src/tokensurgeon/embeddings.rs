//! The tensors of a model that have a row per token.

use crate::architecture::{Location, TensorTemplate};
use crate::plan::InputModel;

use super::rows::{Matrix, not_a_matrix};
use super::{Role, SurgeonError};

/// The matrices of a model with a row per token.
pub(super) struct Embeddings {
    pub(super) input: Matrix,
    pub(super) head: Option<Matrix>,
    /// Other tensors that token ids index, such as the head's bias, by their names in the checkpoint.
    pub(super) others: Vec<String>,
}

impl Embeddings {
    /// Finds them by the model's architecture. With `tied`, a model without a head has the tensor that is
    /// used in its place.
    pub(super) fn of(model: &InputModel, tied: bool) -> Result<Self, SurgeonError> {
        let mut modules = model.architecture.modules();
        let (Some((_, module, n_layers)), None) = (modules.next(), modules.next()) else {
            let names: Vec<&str> = model.architecture.modules().map(|(name, ..)| name).collect();
            return Err(SurgeonError::SeveralModules {
                model: model.label(),
                modules: names.len(),
                names: names.join(", "),
            });
        };
        let source = &*model.checkpoint;
        let (mut inputs, mut heads, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let placed = |location| move |template| (location, template);
        let pre = module.pre.iter().map(placed(Location::Pre));
        let post = module.post.iter().map(placed(Location::Post));
        for (location, template) in pre.chain(post) {
            let template: &TensorTemplate = template;
            let Some(axis) = template.vocabulary_axis else { continue };
            let names = template.names_for(location, n_layers);
            let is_matrix = names.name.ends_with(".weight");
            let stored = names.resolve(source).filter(|_| names.is_stored_in(source) || tied);
            let Some(stored) = stored.map(str::to_owned) else { continue };
            let info = &source.tensors()[&stored];
            if axis != 0 || info.shape.is_empty() || info.elements() == 0 {
                return Err(not_a_matrix(model, &stored));
            }
            match location {
                _ if !is_matrix => others.push(stored),
                Location::Pre => inputs.push(stored),
                _ => heads.push(stored),
            }
        }
        let only = |names: Vec<String>, what| match &names[..] {
            [] => Ok(None),
            [name] => Matrix::open(model, name).map(Some),
            several => Err(SurgeonError::SeveralEmbeddings {
                model: model.label(),
                what,
                names: several.join(", "),
            }),
        };
        let input = only(inputs, "input embeddings")?;
        let input = input.ok_or_else(|| SurgeonError::NoEmbedding { model: model.label() })?;
        Ok(Self { input, head: only(heads, "heads")?, others })
    }

    /// The matrix with a role, if the model has it.
    pub(super) fn get(&self, role: Role) -> Option<&Matrix> {
        match role {
            Role::Embedding => Some(&self.input),
            Role::Head => self.head.as_ref(),
        }
    }
}
