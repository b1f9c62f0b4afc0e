#![no_main]

#[path = "../properties/merge_config.rs"]
mod merge_config;

libfuzzer_sys::fuzz_target!(|text: &str| merge_config::check(text));
