//! How fast the law is, on one core, and how long its worst blocks take. Nothing of it is on a disk or a wire.
//!
//!     cargo run --release -p allod-state --example law            the speed, as JSON for `bench/run.py`
//!     cargo run --release -p allod-state --example law hostile    the worst blocks, as JSON
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic,
    reason = "a measurement reads the clock; the law does not"
)]

mod hostile;
mod speed;
mod town;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("hostile") {
        hostile::run();
    } else {
        speed::run();
    }
}

/// The most memory that this process has held, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0_u64) / 1024
}
