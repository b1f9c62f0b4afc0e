#![no_main]

#[path = "../properties/pickle.rs"]
mod pickle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pickle::check(bytes));
