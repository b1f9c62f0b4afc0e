//! Runs a plan inside a memory budget, into files or into tensors in memory.
