//! `allod identity unlock`: the passphrase once for a while.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use allod_api::client::{Error, Result, parse_span};
use allod_node::identity::{
    Held, Identity, IdentityError, Protection, UNLOCKED_MAX, harden, lock, seconds_left,
};

use crate::context::{Context, passphrase, usage};
use crate::render;

/// The argument that makes this program hold a key open.
pub(crate) const HOLDER: &str = "identity-holder";
/// What the holder says once it holds the key.
const HELD: &str = "held";
/// Longest word of the holder, in bytes.
const WORD_BYTES_MAX: u64 = 64;

/// Open the identity for a while, so that its passphrase is not asked for at every command. A process of yours holds
/// the key in memory, and nothing is written.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For how long, such as 15m; a day at most.
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span, default_value = "15m")]
    time: Duration,
}

/// What the holder is told.
#[derive(Debug, clap::Args)]
pub(crate) struct HolderArgs {
    /// Where it listens.
    #[arg(long)]
    socket: PathBuf,
    /// For how long it holds the key.
    #[arg(long)]
    seconds: u64,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    if args.time.is_zero() || args.time > UNLOCKED_MAX {
        return Err(usage(
            "an identity is held open for a second to a day",
            "allod identity unlock --for 15m",
        ));
    }
    let (home, keyfile) = (context.home()?, context.keyfile()?);
    let description = keyfile.describe()?;
    if description.protection != Protection::Passphrase {
        context.tell(&format!(
            "nothing to unlock: it opens with {}",
            description.protection.words()
        ));
        return Ok(());
    }
    home.prepare()?;
    let secret = passphrase(IdentityError::PassphraseNeeded {
        path: keyfile.path().to_owned(),
    })?;
    let identity = keyfile.load(Some(&secret))?;
    let socket = home.unlocked_socket(&description.key);
    start(&identity, &socket, args.time)?;
    let seconds = seconds_left(&socket).unwrap_or(0);
    context.tell(&format!(
        "unlocked for {seconds} s; end it with: allod identity lock"
    ));
    Ok(())
}

pub(super) fn lock_now(context: &Context) -> Result<()> {
    let key = context.keyfile()?.describe()?.key;
    let was_held = lock(&context.home()?.unlocked_socket(&key));
    context.tell(if was_held {
        "locked"
    } else {
        "it was not unlocked"
    });
    Ok(())
}

/// Starts the holder, hands it the key through a pipe, and waits until it listens.
fn start(identity: &Identity, socket: &PathBuf, time: Duration) -> Result<()> {
    let failed = |source| Error::from(IdentityError::Hold { source });
    let mut holder = std::process::Command::new("/proc/self/exe")
        .arg(HOLDER)
        .arg("--socket")
        .arg(socket)
        .arg("--seconds")
        .arg(time.as_secs().max(1).to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut pipe) = holder.stdin.take() {
        identity.write_to_pipe(&mut pipe).map_err(failed)?;
    }
    let mut word = String::new();
    if let Some(pipe) = holder.stdout.take() {
        let mut pipe = BufReader::new(pipe.take(WORD_BYTES_MAX));
        pipe.read_line(&mut word).map_err(failed)?;
    }
    if word.trim() == HELD {
        Ok(())
    } else {
        Err(failed(std::io::Error::other("its holder did not start")))
    }
}

/// The holder: takes the key from standard input, and gives it out until its time is up.
pub(crate) fn hold(args: &HolderArgs) -> ExitCode {
    harden();
    // Without this the terminal's end would be the holder's, before its time.
    let _ = rustix::process::setsid();
    let held = Identity::read_from_pipe(&mut std::io::stdin().lock()).and_then(|identity| {
        Held::open(&args.socket, &identity, Duration::from_secs(args.seconds))
    });
    match held {
        Ok(held) => {
            let told =
                writeln!(std::io::stdout(), "{HELD}").and_then(|()| std::io::stdout().flush());
            if told.is_err() {
                return ExitCode::FAILURE;
            }
            held.serve();
            ExitCode::SUCCESS
        }
        Err(error) => {
            render::complain(&error.to_string(), None);
            ExitCode::FAILURE
        }
    }
}
