//! The command: runs seeds on all cores, and prints how to run a failing one again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use allod_sim::{Counts, Outcome, Plan, SCENARIOS, Scenario, run, run_twice};
use clap::Parser;

/// Runs whole networks from seeds, with faults and attackers, and checks the promises after each block.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, from the first on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many validators.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    validators: u64,
    /// Run every seed twice, and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Play this scenario instead of seeds; `all` plays every one.
    #[arg(long)]
    scenario: Option<String>,
    /// Plant the scenario's mistake, so that it has to fail.
    #[arg(long, requires = "scenario")]
    planted: bool,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
}

/// What all seeds together gave so far.
#[derive(Default)]
struct Sum {
    counts: Counts,
    failed: Option<(u64, Outcome)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    if let Some(name) = &arguments.scenario {
        return play(name, arguments.planted);
    }
    let validators = usize::try_from(arguments.validators).expect("at most 64");
    let sum = run_all(&arguments, validators);
    let Some((seed, outcome)) = sum.failed else {
        println!(
            "{} seeds from {} with {validators} validator(s): no violation\n{:#?}",
            arguments.seeds, arguments.seed, sum.counts
        );
        return ExitCode::SUCCESS;
    };
    println!("seed {seed} with {validators} validator(s) broke a promise:");
    for violation in &outcome.violations {
        println!("  {}: {}", violation.check, violation.what);
    }
    let twice = if arguments.twice { " --twice" } else { "" };
    println!("run it again: allod-sim --seed {seed} --validators {validators}{twice}");
    ExitCode::FAILURE
}

fn list() {
    for scenario in SCENARIOS {
        println!("{}", scenario.name);
        println!("    then: {}", scenario.happened);
        println!("    here: {}", scenario.holds);
        let planted = scenario.planted.unwrap_or("no mistake is planted");
        println!("    planted: {planted}");
    }
}

/// Plays one scenario, or all of them.
fn play(name: &str, is_planted: bool) -> ExitCode {
    let is_named = |scenario: &&Scenario| name == "all" || scenario.name == name;
    let named: Vec<&Scenario> = SCENARIOS.iter().filter(is_named).collect();
    if named.is_empty() {
        eprintln!("there is no scenario {name}. Next: allod-sim --list");
        return ExitCode::from(2);
    }
    let mut code = ExitCode::SUCCESS;
    for scenario in named {
        match scenario.play(is_planted) {
            Ok(()) => println!("{}: holds", scenario.name),
            Err(what) => {
                println!("{}: {what}", scenario.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Runs the seeds on all cores until they are done or one fails; the lowest failing seed is kept.
fn run_all(arguments: &Arguments, validators: usize) -> Sum {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= arguments.seeds || !go_on(&sum) {
                        return;
                    }
                    let seed = arguments.seed.wrapping_add(at);
                    let plan = Plan::new(seed, validators);
                    let outcome = if arguments.twice {
                        run_twice(&plan)
                    } else {
                        run(&plan)
                    };
                    add(&sum, seed, outcome);
                }
            });
        }
    });
    sum.into_inner().expect("no thread panics while it adds")
}

fn go_on(sum: &Mutex<Sum>) -> bool {
    let sum = sum.lock().expect("no thread panics while it adds");
    sum.failed.is_none()
}

fn add(sum: &Mutex<Sum>, seed: u64, outcome: Outcome) {
    let mut sum = sum.lock().expect("no thread panics while it adds");
    sum.counts.add(&outcome.counts);
    let is_lower = sum.failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest);
    if !outcome.violations.is_empty() && is_lower {
        sum.failed = Some((seed, outcome));
    }
}
