//! How long a container takes from its creation to nothing being left of it: the shipping root process
//! in an installation of its own, one cached image, `true` as the command; with its network, user
//! namespace, seccomp filter, limits and logs.
//!
//! `start [--paced] <OCI layout of the image> [<count>]`, as root. Each turn measures three things: a
//! client process from its exec to its exit (`seconds`; what a command line such as `docker run --rm`
//! is compared with), the same from a process that is there already (`resident_seconds`; what the
//! agent sees), and that in an app of its own (`alone_seconds`; the others share one app, as docker's
//! share one bridge). With `--paced` a turn begins with each line of standard input and is answered by
//! a line, so that turns can be interleaved with another contender's; it ends with the input.
//! The last line is one JSON object, for `bench/run.py`; `resident_phases` are the seconds until the
//! container runs, until its end is known and until it is removed. Links are removed some seconds
//! later, while the next turns are measured; that nothing is left five seconds after the last turn is
//! checked.

mod crowd;
mod house;
mod layout;

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use allod_runtime::{Client, EndCause, Phase, WorkloadId, WorkloadSpec};

use house::House;

const TURNS: u8 = 30;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let first = words.next().map(PathBuf::from).unwrap_or_default();
    let ended = match first.to_str() {
        Some("root") => house::serve(words.next().map(PathBuf::from).unwrap_or_default()),
        Some("once") => once(&words.next().map(PathBuf::from).unwrap_or_default()),
        Some(what @ ("crowd" | "logs")) => {
            let layout = words.next().map(PathBuf::from).unwrap_or_default();
            let count = words.next().and_then(|count| count.to_str()?.parse().ok());
            match (what, count) {
                (_, None) => Err(format!("usage: start {what} <OCI layout> <count>").into()),
                ("crowd", Some(count)) => crowd::crowd(&layout, count),
                (_, Some(mib)) => crowd::logs(&layout, mib),
            }
        }
        Some("--paced") => {
            let layout = words.next().map(PathBuf::from).unwrap_or_default();
            measure(
                &layout,
                std::io::stdin().lock().lines().map_while(Result::ok),
            )
        }
        _ => {
            let turns = words.next().and_then(|count| count.to_str()?.parse().ok());
            let turns = 0..turns.unwrap_or(TURNS);
            measure(&first, turns.map(|_| String::new()))
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(layout: &Path, turns: impl Iterator<Item = String>) -> Result<(), Failure> {
    let house = House::open(layout)?;
    let mut epochs = 1..;
    let mut epoch = || epochs.next().expect("it has no end");
    let script = "grep -e Seccomp: -e NoNewPrivs /proc/self/status; cat /proc/self/uid_map; ip -4 -o addr show eth0";
    show(&house, house.spec(epoch(), Some(script)))?;
    // The first use of anything is not what is measured.
    run(&house.client, house.spec(epoch(), None))?;
    println!("ready");
    let (mut seconds, mut phases, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _turn in turns {
        seconds.push(by_a_client_process(&house, &house.spec(epoch(), None))?);
        phases.push(run(&house.client, house.spec(epoch(), None))?);
        alone.push(run(&house.client, house.spec_alone(epoch()))?);
        println!("done");
        std::io::stdout().flush()?;
    }
    let left = house.close()?;
    if left != 0 {
        return Err(format!("{left} objects were left on the host").into());
    }
    let sums = |phases: &[[f64; 3]]| -> Vec<f64> {
        phases.iter().map(|phase| phase.iter().sum()).collect()
    };
    let figures = serde_json::json!({
        "seconds": seconds,
        "resident_seconds": sums(&phases),
        "alone_seconds": sums(&alone),
        "resident_phases": phases,
    });
    println!("{figures}");
    Ok(())
}

/// Shows that what is measured is confined.
fn show(house: &House, spec: WorkloadSpec) -> Result<(), Failure> {
    let id = spec.id;
    end(&house.client, spec)?;
    print!("{}", house.output(&id)?);
    house.client.delete(id)?;
    Ok(())
}

/// Seconds that another process takes for one container, from its exec to its exit.
fn by_a_client_process(house: &House, spec: &WorkloadSpec) -> Result<f64, Failure> {
    let path = house.path().join("spec.json");
    std::fs::write(&path, serde_json::to_vec(spec)?)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("once").arg(house.path()).stdin(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    let took = began.elapsed().as_secs_f64();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("a client process ended with {status}").into())
    }
}

fn once(house: &Path) -> Result<(), Failure> {
    let spec = serde_json::from_slice(&std::fs::read(house.join("spec.json"))?)?;
    run(&Client::new(&house.join("run")), spec)?;
    Ok(())
}

/// One container, from nothing to nothing: seconds until it runs, until its end is known, until it
/// is gone.
fn run(client: &Client, spec: WorkloadSpec) -> Result<[f64; 3], Failure> {
    let id = spec.id;
    let [made, ended] = end(client, spec)?;
    let began = Instant::now();
    client.delete(id)?;
    Ok([made, ended, began.elapsed().as_secs_f64()])
}

/// Makes a workload and waits for its end, which must be a good one.
fn end(client: &Client, spec: WorkloadSpec) -> Result<[f64; 2], Failure> {
    let id = spec.id;
    let began = Instant::now();
    let watch = client.watch()?;
    let mut status = client.create(spec)?;
    let made = began.elapsed().as_secs_f64();
    loop {
        match status.phase {
            Phase::Exited { cause, .. } => {
                expect_success(id, &cause)?;
                return Ok([made, began.elapsed().as_secs_f64() - made]);
            }
            _ => while watch.wait()? != id {},
        }
        status = client.status(id)?;
    }
}

fn expect_success(id: WorkloadId, cause: &EndCause) -> Result<(), Failure> {
    match cause {
        EndCause::Exited { code: 0 } => Ok(()),
        other => Err(format!("the workload {id} ended with {other:?}").into()),
    }
}
