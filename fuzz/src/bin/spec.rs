//! The fuzz target `spec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| allod_fuzz::spec(bytes));
