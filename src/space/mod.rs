//! Search variables, genotypes and the merge configs they stand for.
