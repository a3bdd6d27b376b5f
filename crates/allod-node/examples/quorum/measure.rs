//! Starts the validators, has them do their work, and says how long it took.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::validator::{Ask, Said};
use crate::{Failure, VALIDATORS, network};

/// Single transfers.
const SINGLE: usize = 300;
/// Single transfers before them, which are not counted.
const WARM_UP: usize = 50;
/// Milliseconds from one to the next.
const EVERY_MS: u64 = 20;
/// Transfers of each validator with many under way.
const SUSTAINED: usize = 20_000;
/// How many of them are under way at a time.
const UNDER_WAY: usize = 2_000;

/// A validator's process; it ends with this.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

pub(crate) fn run(folder: &Path) -> Result<(), Failure> {
    let mut processes = Vec::new();
    for _ in 0..VALIDATORS {
        processes.push(Process::start(folder)?);
    }
    let genesis_ms = network::now_ms() - 1_000;
    let mut all = Vec::new();
    for (at, process) in processes.iter_mut().enumerate() {
        match process.ask(&Ask::Start { at, genesis_ms })? {
            Said::Listening(key, addresses) => all.push((key, addresses)),
            other => return Err(format!("a validator said {other:?}").into()),
        }
    }
    for process in &mut processes {
        process.ask(&Ask::Meet(all.clone()))?;
    }

    let first = processes.first_mut().ok_or("no validators")?;
    first.ask(&Ask::Prepare(WARM_UP + SINGLE))?;
    first.took(&Ask::Single {
        count: WARM_UP,
        every_ms: 0,
    })?;
    let single = first.took(&Ask::Single {
        count: SINGLE,
        every_ms: EVERY_MS,
    })?;

    for process in &mut processes {
        process.ask(&Ask::Prepare(SUSTAINED))?;
    }
    let began = Instant::now();
    for process in &mut processes {
        process.tell(&Ask::Many {
            under_way: UNDER_WAY,
        })?;
    }
    let mut many = Vec::new();
    for process in &mut processes {
        many.extend(process.hear_took()?);
    }
    let seconds = began.elapsed().as_secs_f64();
    let per_second = f64::from(u32::try_from(many.len())?) / seconds;
    for process in &mut processes {
        process.tell(&Ask::Stop)?;
    }
    for process in &mut processes {
        process.child.wait()?;
    }
    let (single_p50, single_p99) = quantiles(&single);
    let (many_p50, many_p99) = quantiles(&many);
    println!(
        "{} single transfers, one every {EVERY_MS} ms: p50 {single_p50:.2} ms, p99 {single_p99:.2} ms",
        single.len()
    );
    println!(
        "{} transfers, {} under way: {per_second:.0} a second, p50 {many_p50:.0} ms, p99 {many_p99:.0} ms",
        many.len(),
        UNDER_WAY * VALIDATORS
    );
    let report = serde_json::json!({
        "validators": VALIDATORS,
        "single_seconds": single,
        "transfers_per_second": per_second,
        "many_p50_ms": many_p50,
        "many_p99_ms": many_p99,
    });
    println!("{report}");
    Ok(())
}

fn quantiles(seconds: &[f64]) -> (f64, f64) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| {
        let index = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or(f64::NAN) * 1_000.0
    };
    (at(50), at(99))
}

impl Process {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("allod-quorum-")
            .tempdir_in(folder)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("validator")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = child.stdout.take().ok_or("no standard output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            _folder: folder,
        })
    }

    fn tell(&mut self, ask: &Ask) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.input, ask)?;
        self.input.write_all(b"\n")?;
        Ok(self.input.flush()?)
    }

    fn hear(&mut self) -> Result<Said, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a validator ended".into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn ask(&mut self, ask: &Ask) -> Result<Said, Failure> {
        self.tell(ask)?;
        self.hear()
    }

    fn took(&mut self, ask: &Ask) -> Result<Vec<f64>, Failure> {
        self.tell(ask)?;
        self.hear_took()
    }

    fn hear_took(&mut self) -> Result<Vec<f64>, Failure> {
        match self.hear()? {
            Said::Took(took) => Ok(took),
            other => Err(format!("a validator said {other:?}").into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it has ended already, that is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
