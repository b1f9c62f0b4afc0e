//! The list of merge methods, and the only place that knows them all.

use super::{
    MethodDefinition, arcee_fusion, linear, nearswap, passthrough, ram, sce, slerp, task_vectors,
};

/// Every merge method, in the order of tables.
pub static METHODS: [&MethodDefinition; 16] = [
    &linear::LINEAR,
    &slerp::SLERP,
    &task_vectors::TASK_ARITHMETIC,
    &task_vectors::TIES,
    &task_vectors::DARE_LINEAR,
    &task_vectors::DARE_TIES,
    &task_vectors::DELLA,
    &task_vectors::DELLA_LINEAR,
    &task_vectors::BREADCRUMBS,
    &task_vectors::BREADCRUMBS_TIES,
    &nearswap::NEARSWAP,
    &arcee_fusion::ARCEE_FUSION,
    &ram::RAM,
    &ram::RAMPLUS_TL,
    &sce::SCE,
    &passthrough::PASSTHROUGH,
];

/// Methods of the Python tool that this program knows by name only.
pub const NOT_AVAILABLE: [&str; 4] = ["nuslerp", "multislerp", "karcher", "model_stock"];

/// The method called `name` in merge configs.
pub fn find(name: &str) -> Option<&'static MethodDefinition> {
    METHODS.into_iter().find(|method| method.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names = METHODS.iter().map(|method| method.name).chain(NOT_AVAILABLE);
        let unique: std::collections::BTreeSet<_> = names.clone().collect();
        assert_eq!(unique.len(), names.count());
        assert!(NOT_AVAILABLE.iter().all(|name| find(name).is_none()));
    }
}
