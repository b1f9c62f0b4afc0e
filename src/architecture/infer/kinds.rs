//! Kinds of layers: those with a dense and those with a sparse MLP, those with attention and those
//! with a convolution. They are told by which tensors come together.

use std::collections::HashMap;

use indexmap::IndexMap;

/// Which layers have a tensor: those of every model, one model behind the other.
pub(super) type Presence = Vec<bool>;

/// The kind of each tensor that comes with others in the same layers, where every layer has exactly
/// one such kind and every model some layers of each. A kind is called after its first tensor. Nothing
/// else is a kind, because nothing says then which layers should have it.
///
/// `tensors` are those that some layers lack, with the layers that have them; `n_layers` the number of
/// layers of each model.
pub(super) fn kinds_of_layers<'t>(
    tensors: &IndexMap<&'t str, Presence>,
    n_layers: &[usize],
) -> HashMap<&'t str, String> {
    let mut alike: IndexMap<&[bool], Vec<&'t str>> = IndexMap::new();
    for (tensor, presence) in tensors {
        alike.entry(presence).or_default().push(tensor);
    }
    let is_in_every_model = |presence: &[bool]| {
        let mut rest = presence;
        n_layers.iter().all(|&n_layers| {
            let (of_model, others) = rest.split_at(n_layers);
            rest = others;
            of_model.contains(&true)
        })
    };
    alike.retain(|presence, _| is_in_every_model(presence));
    // Tensors of a single layer, as those of a layer that predicts further tokens, come beside a kind.
    alike.sort_by_cached_key(|presence, _| presence.iter().filter(|&&has| !has).count());
    let mut covered = vec![false; n_layers.iter().sum()];
    let mut kinds = HashMap::new();
    for (presence, tensors) in alike {
        if presence.iter().zip(&covered).any(|(&has, &covered)| has && covered) {
            continue;
        }
        covered.iter_mut().zip(presence).for_each(|(covered, &has)| *covered |= has);
        let kind = tensors[0].trim_start_matches('.');
        kinds.extend(tensors.iter().map(|&tensor| (tensor, kind.to_owned())));
    }
    if covered.contains(&false) { HashMap::new() } else { kinds }
}
