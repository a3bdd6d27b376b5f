//! What a commit costs on a quorum of several: as many processes as there are validators, each with the shipping chain on
//! a folder of its own, synced, with the real law and every signature verified, that know each other by QUIC alone.
//!
//! `quorum measure [<folder>]` starts the validators and measures, one after the other, how long single transfers take (one
//! every 20 ms, submitted to the first validator) and how many a second are committed when thousands are under way,
//! submitted to all of them. A transfer counts as committed when it is durable on the validator that it was submitted to.
//! Its last line is one JSON object, for `bench/run.py`.
//!
//! `quorum validator …` is what it starts. Both speak over the validators' standard streams, a JSON line each way.
//!
//! All processes share this machine's processors, and everything is on loopback: no distance is measured here.

mod measure;
mod network;
mod validator;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many validators there are.
pub(crate) const VALIDATORS: usize = 4;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let task = words.next().unwrap_or_default();
    let rest: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let done = match (task.to_str(), rest.as_slice()) {
        (Some("measure"), []) => measure::run(&std::env::temp_dir()),
        (Some("measure"), [folder]) => measure::run(folder),
        (Some("validator"), [folder]) => validator::run(folder),
        _ => Err("usage: quorum measure [<folder>]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorum: {error}");
            ExitCode::FAILURE
        }
    }
}
