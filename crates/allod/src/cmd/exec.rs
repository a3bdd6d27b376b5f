//! `allod exec`: a process beside a replica.

use std::io::Write;

use allod_api::client::{
    Client, Error, Exec, ExecRequest, Input, Output, Result, Target, service_of,
};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::context::Context;
use crate::terminal;

const INPUT_BYTES: usize = 16 * 1024;
/// What a process that ended by a broken pipe of ours is shown as.
const FAILED: u8 = 1;

/// Run a command inside a replica; its exit code becomes this command's.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service: APP/SERVICE, or a name that only one bears.
    target: Target,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,
    /// In this replica instead of the first that runs.
    #[arg(long, value_name = "N")]
    replica: Option<u32>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client()?;
    let apps = client.apps_with(&args.target.name).await?;
    let (app, service) = service_of(&apps, &args.target)?;
    let request = ExecRequest {
        app: app.app.to_string(),
        service: Some(service.name.clone()),
        replica: args.replica,
        command: args.command,
        terminal: terminal::is_interactive().then(terminal::size),
    };
    let code = attach(&client, &request).await?;
    // Shells show a process that a signal ended as 128 and the signal; other codes fit.
    Ok(u8::try_from(code.clamp(0, 255)).unwrap_or(FAILED))
}

async fn attach(client: &Client, request: &ExecRequest) -> Result<i32> {
    let exec = client.exec(request).await?;
    let raw = match request.terminal {
        Some(_) => Some(terminal::Changed::raw().map_err(on_terminal)?),
        None => None,
    };
    let resized = signal(SignalKind::window_change()).map_err(on_terminal)?;
    let code = pump(exec, resized, raw.is_some()).await;
    drop(raw);
    code
}

/// Carries bytes both ways until the process has ended.
async fn pump(mut exec: Exec, mut resized: Signal, has_terminal: bool) -> Result<i32> {
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0; INPUT_BYTES];
    let mut is_open = true;
    loop {
        tokio::select! {
            output = exec.next() => match output? {
                Output::Bytes(bytes) => write(std::io::stdout().lock(), &bytes)?,
                Output::ErrorBytes(bytes) => write(std::io::stderr().lock(), &bytes)?,
                Output::End(code) => return Ok(code),
            },
            read = input.read(&mut buffer), if is_open => {
                let count = read.map_err(on_terminal)?;
                is_open = count > 0;
                let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                exec.send(if is_open { Input::Bytes(bytes) } else { Input::End }).await?;
            }
            _ = resized.recv(), if has_terminal => {
                let (rows, columns) = terminal::size();
                exec.send(Input::Resize(rows, columns)).await?;
            }
        }
    }
}

fn write(mut to: impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes)
        .and_then(|()| to.flush())
        .map_err(|source| Error::File {
            attempted: "write what the process says".into(),
            source,
        })
}

fn on_terminal(source: std::io::Error) -> Error {
    Error::File {
        attempted: "use the terminal".into(),
        source,
    }
}
