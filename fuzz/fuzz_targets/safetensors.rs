#![no_main]

#[path = "../properties/safetensors.rs"]
mod safetensors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetensors::check(bytes));
