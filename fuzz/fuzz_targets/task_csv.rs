//! Any bytes as CSV are read as the data of a task or refused.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../properties/task_data.rs"]
mod task_data;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| task_data::check_data("data.csv", bytes));
