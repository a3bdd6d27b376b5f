//! The fuzz target `transaction`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| allod_fuzz::transaction(bytes));
