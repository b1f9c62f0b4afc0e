#![no_main]

#[path = "../properties/adapter_config.rs"]
mod adapter_config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    adapter_config::check(bytes);
});
