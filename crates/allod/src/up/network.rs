//! The network process: the ledger, the agent, the ingress and the API, without rights over the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::panic;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use allod_node::fault;
use allod_node::node::{Places, Settings, StartError};
use allod_node::root::{GIVES_UP, READY, SAYS, inherited_fds};
use allod_node::{Node, expects_panic};
use anyhow::{Context, Result, bail};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::render;

/// How long open requests may take to end when the process is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// By how much the API's threads give way to the agent's and the ledger's.
const API_NICENESS: i32 = 5;

/// What the root process tells its network process.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What images may take, in bytes.
    #[arg(long)]
    images_max: u64,
    /// Where to listen for peers.
    #[arg(long)]
    peers: SocketAddr,
    /// Where to relay for other members.
    #[arg(long)]
    relay: Option<SocketAddr>,
    /// Whether not to look for members on the own local networks.
    #[arg(long)]
    no_lan_discovery: bool,
    /// Whether to look at the plan of a test.
    #[arg(long)]
    fault_plan: bool,
}

/// Runs the network process until it is told to stop. What ends it before that, the root process hears too: it tells
/// those who wait at the door.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.fault_plan {
        fault::arm(fault::PLAN.into());
    }
    let mut fds = inherited_fds();
    let root = fds.remove(SAYS).map(|says| Arc::new(File::from(says)));
    if let Some(root) = root.clone() {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if expects_panic() {
                return;
            }
            tell(&root, format!("{panicked}\n").as_bytes());
            usual(panicked);
        }));
    }
    let ended = serve_with(args, fds, root.as_deref());
    if let (Err(error), Some(root)) = (&ended, &root) {
        tell(root, format!("{error:#}\n").as_bytes());
    }
    ended
}

/// Says something to the root process; one that does not listen is not waited for.
fn tell(mut root: &File, words: &[u8]) {
    let _ = root.write_all(words);
}

fn serve_with(args: &Args, mut fds: BTreeMap<String, OwnedFd>, root: Option<&File>) -> Result<()> {
    let mut take = |name: &str| {
        fds.remove(name).with_context(|| {
            format!("the descriptor `{name}` was not handed over: start `allod up` instead")
        })
    };
    let (run, runtime) = (take("run")?, take("runtime")?);
    let (api, own, ingress) = (take("api")?, take("api-own")?, take("ingress")?);
    let async_runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    // The API has threads of its own, which give way: however many knock, the agent and the ledger go on.
    let api_runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("api")
        .on_thread_start(|| {
            // Where that is not allowed, its threads are like all others.
            let _ = rustix::process::nice(API_NICENESS);
        })
        .build()
        .context("starting the API's async runtime")?;
    let settings = Settings {
        places: Places {
            node: PathBuf::from("."),
            run: path_of(&run),
            runtime: path_of(&runtime),
        },
        ingress: vec![TcpListener::from(ingress)],
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
        images_bytes_max: args.images_max,
        peers: args.peers,
        relay: args.relay,
        looks_on_lan: !args.no_lan_discovery,
    };
    async_runtime.block_on(serve(
        settings,
        (TcpListener::from(api), UnixListener::from(own)),
        api_runtime.handle(),
        root,
    ))
}

/// The path of an open directory, whatever lies above it.
fn path_of(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

async fn serve(
    settings: Settings,
    (api, own): (TcpListener, UnixListener),
    of_api: &Handle,
    root: Option<&File>,
) -> Result<()> {
    let url = format!(
        "http://{}",
        api.local_addr().context("asking for the API's address")?
    );
    let mut told_to_stop = signal(SignalKind::terminate()).context("listening for signals")?;
    // A terminal sends Ctrl-C to the whole group; the root process decides what it means.
    let mut interrupts = signal(SignalKind::interrupt()).context("listening for signals")?;
    let node = match Node::start(settings).await {
        // Whoever started this is there to hear it, and another start would end as this one.
        Err(error @ StartError::Join(_)) => {
            render::complain(&format!("{:#}", anyhow::Error::from(error)), None);
            std::process::exit(GIVES_UP);
        }
        started => started?,
    };
    let server = {
        let _entered = of_api.enter();
        allod_api::serve(node.clone(), api, Some(own)).context("starting the API")?
    };
    if let Some(root) = root {
        tell(root, READY);
    }
    // Where nobody reads standard output any more, nothing waits for this line.
    let _ = writeln!(std::io::stdout(), "ready {url}");
    loop {
        tokio::select! {
            _ = told_to_stop.recv() => break,
            _ = interrupts.recv() => {}
            () = node.broken() => bail!("a part of this node has stopped at a mistake of its own; it is begun anew"),
        }
    }
    server.stop(STOP_GRACE).await;
    node.stop().await;
    Ok(())
}
