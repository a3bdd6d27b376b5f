//! The fuzz target `proof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| allod_fuzz::proof(bytes));
