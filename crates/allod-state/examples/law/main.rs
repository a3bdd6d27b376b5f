//! How fast the law is, on one core, and how long its worst blocks take. Nothing of it is on a disk or a wire.
//!
//!     cargo run --release -p allod-state --example law            the speed, as JSON for `bench/run.py`
//!     cargo run --release -p allod-state --example law transfers  a part of it, for a profiler; or the number of nodes
//!     cargo run --release -p allod-state --example law hostile    the worst blocks, as the table of docs/trust.md
//!     cargo run --release -p allod-state --example law scale      how all of it grows, as the table of docs/benchmarks.md
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic,
    reason = "a measurement reads the clock; the law does not"
)]

mod hostile;
mod scale;
mod speed;
mod town;

fn main() {
    let of = std::env::args().nth(2);
    let of = of.map(|number| number.parse().expect("a number of nodes"));
    match std::env::args().nth(1).as_deref() {
        None => speed::run(),
        Some("scale") => of.map_or_else(scale::run, scale::one),
        Some("hostile") => hostile::run(),
        Some("transfers") => speed::transfers(),
        Some(nodes) => speed::placements(nodes.parse().expect("a number of nodes")),
    }
}

/// The most memory that this process has held, in MiB.
fn peak_mib() -> u64 {
    memory_mib("VmHWM:")
}

/// The memory that it holds now.
fn now_mib() -> u64 {
    memory_mib("VmRSS:")
}

fn memory_mib(of: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(of));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0_u64) / 1024
}
