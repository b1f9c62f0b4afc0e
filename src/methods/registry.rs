//! The list of merge methods, and the only place that knows them all.

use super::{
    MethodDefinition, arcee_fusion, karcher, linear, model_stock, multislerp, nearswap, nuslerp,
    passthrough, ram, sce, slerp, task_vectors,
};

/// Every merge method, in the order of tables.
pub static METHODS: [&MethodDefinition; 20] = [
    &linear::LINEAR,
    &slerp::SLERP,
    &nuslerp::NUSLERP,
    &multislerp::MULTISLERP,
    &karcher::KARCHER,
    &task_vectors::TASK_ARITHMETIC,
    &task_vectors::TIES,
    &task_vectors::DARE_LINEAR,
    &task_vectors::DARE_TIES,
    &task_vectors::DELLA,
    &task_vectors::DELLA_LINEAR,
    &task_vectors::BREADCRUMBS,
    &task_vectors::BREADCRUMBS_TIES,
    &model_stock::MODEL_STOCK,
    &nearswap::NEARSWAP,
    &arcee_fusion::ARCEE_FUSION,
    &ram::RAM,
    &ram::RAMPLUS_TL,
    &sce::SCE,
    &passthrough::PASSTHROUGH,
];

/// The method called `name` in merge configs.
pub fn find(name: &str) -> Option<&'static MethodDefinition> {
    METHODS.into_iter().find(|method| method.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let unique: std::collections::BTreeSet<_> =
            METHODS.iter().map(|method| method.name).collect();
        assert_eq!(unique.len(), METHODS.len());
    }
}
