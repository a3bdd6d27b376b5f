//! The binary: flags, configuration, `main()`.

fn main() {}
