//! Probing: asks one replica one question, again and again.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use allod_runtime::{
    Client, ClientError, Exec, ExecSpec, ExecStdio, ExecWait, Refusal, WorkloadId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::agent::Event;
use crate::agent::act::blocking;
use crate::agent::health::Answer;
use crate::manifest::{Check, Probe};

/// Pause after the first unanswered question; it doubles up to the probe's interval, so that a replica which starts
/// in milliseconds is ready in milliseconds.
const FIRST_PAUSE_MS: u64 = 4;
/// Pause before a command is tried again where too many run.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// What is read of an HTTP answer: the status line.
const STATUS_LINE_BYTES: usize = 64;
/// What is kept of what an exec probe says.
const EXEC_OUTPUT_BYTES: usize = 512;

/// Whom to ask.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) id: WorkloadId,
    pub(crate) address: Ipv4Addr,
    pub(crate) runtime: Client,
}

/// What one replica is asked.
pub(super) struct Asking {
    pub(super) probe: Probe,
    pub(super) is_liveness: bool,
    /// Whether it has been ready before: then it is asked at its probe's own pace.
    pub(super) was_ready: bool,
}

impl Asking {
    pub(super) async fn again_and_again(mut self, target: Target, events: mpsc::Sender<Event>) {
        let (began, mut asked) = (Instant::now(), 0);
        loop {
            let age_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let answer = ask(&target, &self.probe, age_ms).await;
            self.was_ready |= answer.outcome.is_ok();
            let event = Event::Answered {
                id: target.id,
                is_liveness: self.is_liveness,
                answer,
            };
            if events.send(event).await.is_err() {
                return;
            }
            sleep(pause(&self.probe, asked, self.was_ready)).await;
            asked = asked.saturating_add(1);
        }
    }
}

/// The pause before the next question.
fn pause(probe: &Probe, asked: u32, was_ready: bool) -> Duration {
    let first = FIRST_PAUSE_MS.saturating_mul(1_u64.checked_shl(asked).unwrap_or(u64::MAX));
    let pause_ms = if was_ready {
        probe.interval_ms
    } else {
        first.min(probe.interval_ms)
    };
    Duration::from_millis(pause_ms.max(1))
}

/// Asks once.
async fn ask(target: &Target, probe: &Probe, age_ms: u64) -> Answer {
    let limit = Duration::from_millis(probe.timeout_ms.max(1));
    let question = async {
        match &probe.check {
            Check::Tcp { port } => connect(target.address, *port).await.map(drop),
            Check::Http { path, port } => http(target.address, *port, path).await,
            Check::Exec { argv } => exec(target, argv.clone()).await,
        }
    };
    let outcome = match timeout(limit, question).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} ms", probe.timeout_ms)),
    };
    Answer { age_ms, outcome }
}

async fn connect(address: Ipv4Addr, port: u16) -> Result<TcpStream, String> {
    let address = SocketAddr::from((address, port));
    TcpStream::connect(address)
        .await
        .map_err(|error| format!("port {port}: {error}"))
}

async fn http(address: Ipv4Addr, port: u16, path: &str) -> Result<(), String> {
    let mut stream = connect(address, port).await?;
    let failed = |error: std::io::Error| format!("port {port}: {error}");
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: allod-probe\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut line = Vec::new();
    let read = (&mut stream)
        .take(STATUS_LINE_BYTES as u64)
        .read_to_end(&mut line)
        .await;
    // A server may close hard after its answer; the status line is what counts.
    if line.is_empty() {
        read.map_err(failed)?;
    }
    let text = String::from_utf8_lossy(&line);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("GET {path} answered {status}")),
        None => Err(format!("GET {path} on port {port} did not answer in HTTP")),
    }
}

async fn exec(target: &Target, argv: Vec<String>) -> Result<(), String> {
    let command = argv.join(" ");
    let (code, said) = run(target, argv)
        .await
        .map_err(|error| format!("`{command}`: {error}"))?;
    match code {
        0 => Ok(()),
        code => Err(format!("`{command}` ended with {code}: {said}")),
    }
}

/// Runs a command to its end; its exit code and the beginning of what it said. Whoever waits no longer has it killed, so
/// that commands which hang pile up nowhere.
async fn run(target: &Target, args: Vec<String>) -> Result<(i32, String), String> {
    let spec = ExecSpec {
        id: target.id,
        args,
        env: Vec::new(),
        user: None,
        working_dir: None,
        terminal: None,
    };
    let Exec { stdio, end } = begin(target, spec).await?;
    let end = Arc::new(end);
    let _hang_up = HangUp(Arc::clone(&end));
    let mut said = Vec::new();
    if let ExecStdio::Pipes {
        stdin,
        stdout,
        stderr,
    } = stdio
    {
        drop(stdin);
        // Both pipes are read to their ends, so that the command never blocks on a full one.
        let (answer, complaints) = tokio::join!(drain(stdout), drain(stderr));
        said = answer;
        said.extend(complaints);
    }
    let code = blocking(move || end.wait()).await?.code();
    Ok((code, String::from_utf8_lossy(&said).trim().to_owned()))
}

/// Begins a command. Where as many run as may, it waits for its turn, which says nothing about the workload; whoever asks
/// for the answer knows for how long.
async fn begin(target: &Target, spec: ExecSpec) -> Result<Exec, String> {
    loop {
        let (runtime, spec) = (target.runtime.clone(), spec.clone());
        match spawn_blocking(move || runtime.exec(spec)).await {
            Ok(Err(ClientError::Refused(Refusal::Busy { .. }))) => sleep(BUSY_PAUSE).await,
            Ok(begun) => return begun.map_err(|error| error.to_string()),
            Err(_) => return Err("the node is shutting down".to_owned()),
        }
    }
}

/// Kills the process when nobody waits for it any more.
struct HangUp(Arc<ExecWait>);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

async fn drain(pipe: OwnedFd) -> Vec<u8> {
    let mut kept = Vec::new();
    let Ok(mut pipe) = Receiver::from_owned_fd(pipe) else {
        return kept;
    };
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        let room = EXEC_OUTPUT_BYTES.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&chunk[..room]);
    }
    kept
}

#[cfg(test)]
mod tests;
