//! `allod up`: the root process of an installation, and the unprivileged network process that it keeps running.
//!
//! The root process prepares the home, binds the sockets and serves the runtime's requests; it has one thread and no
//! async runtime. The network process (the ledger, the API, the ingress and the agent) is this same program, started
//! again with few rights: it owns the node's directory alone, and is handed everything else as open descriptors,
//! because it may be unable to walk to where they are.

pub(crate) mod network;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use allod_api::client::parse_size;
use allod_node::fault;
use allod_node::founding::{self, Founded, FoundingError};
use allod_node::home::{Home, RunningApi};
use allod_node::identity::IdentityError;
use allod_node::invite::Invite;
use allod_node::root::{Config, Ended, Process, Root};
use anyhow::{Context, Result, bail};

use crate::context::passphrase;

/// Starts the node of this home, and founds a network of one where there is none yet.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Where the API listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400")]
    pub(crate) api: String,
    /// Where the ingress listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:7480")]
    pub(crate) ingress: SocketAddr,
    /// Where to listen for other machines, on UDP; port 0 takes the one of the last time, or any free one. Nothing is
    /// opened while there is no other machine and no invite.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:0")]
    pub(crate) peers: SocketAddr,
    /// Relay for members who cannot be reached directly, at this address of this machine, on TCP and UDP. They have to
    /// reach it from outside.
    #[arg(long, value_name = "ADDRESS", value_parser = public_address)]
    pub(crate) relay: Option<SocketAddr>,
    /// Do not look for members on this machine's local networks. Otherwise it says its key and port there every few seconds,
    /// to a group of addresses (239.255.97.108) that no router passes on.
    #[arg(long)]
    pub(crate) no_lan_discovery: bool,
    /// How much of the disk images may take; beyond it those that no app has go, the longest unused first.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "20g")]
    pub(crate) images_max: u64,
    /// For tests: have the processes look at the plan `node/fault-plan`, and die where it says.
    #[arg(long, hide = true)]
    pub(crate) fault_plan: bool,
}

/// The argument that makes this program the network process.
pub(crate) const NETWORK_PROCESS: &str = "network-process";
/// The first user identity that network processes run as; below those of workloads.
const NETWORK_UID_FIRST: u32 = 0x1f00_0000;

/// How long an address to listen on may be taken still.
const TAKEN_MAX: Duration = Duration::from_secs(3);

/// Runs the root process until it is told to stop.
pub(crate) fn run(args: &Args) -> Result<()> {
    start(args, None)
}

/// The same, with an invite for a home that belongs to no network yet.
pub(crate) fn start(args: &Args, invite: Option<&Invite>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "`allod up` must be started as root: containers need namespaces, mounts and control groups\n\
             help: sudo allod up"
        );
    }
    let home = Home::from_environment()?;
    if args.fault_plan {
        fault::arm(home.node_dir().join(fault::PLAN));
    }
    let founded = match founding::found(&home, None, invite) {
        Err(FoundingError::Identity(needed @ IdentityError::PassphraseNeeded { .. })) => {
            founding::found(&home, Some(&passphrase(needed)?), invite)?
        }
        founded => founded?,
    };
    let installation = home.installation()?.to_string();
    let uid = network_uid(&installation)?;
    home.give_node_dir(uid, uid)?;
    let (url, mut listeners) = listen(args)?;
    let config = Config {
        installation: installation
            .parse()
            .context("reading the installation's id")?,
        directory: home.root_dir(),
        run_dir: home.run_dir().to_owned(),
        network_uid: uid,
        network_gid: uid,
        fault_plan: None,
    };
    let mut root = Root::start(config)?;
    // Only now: another `allod up` in this home, which ends with the line above, takes nobody's door.
    listeners.push(("api-own", own_door(&home)?));
    let mut words: Vec<OsString> = vec![NETWORK_PROCESS.into()];
    words.push(format!("--images-max={}", args.images_max).into());
    words.push(format!("--peers={}", args.peers).into());
    words.extend(args.relay.map(|relay| format!("--relay={relay}").into()));
    if args.no_lan_discovery {
        words.push("--no-lan-discovery".into());
    }
    if args.fault_plan {
        words.push("--fault-plan".into());
    }
    root.supervise(network_process(&home, words, uid, listeners)?);
    home.announce_api(&RunningApi::of_this_process(url.clone(), founded.network))?;
    greet(&home, &founded, &url, invite.is_some());
    let ended = root.serve();
    home.withdraw_api()?;
    match ended? {
        Ended::Signal { .. } | Ended::Request => {
            say(
                "allod: stopped; running workloads go on (`allod up` finds them again, `allod down` ends them)",
            );
        }
        Ended::RequestAndStopped => say("allod: stopped, with all workloads"),
        Ended::GaveUp => bail!("this machine is not in the network"),
    }
    Ok(())
}

/// The sockets that are handed over, by name, and where the API is.
type Listeners = Vec<(&'static str, OwnedFd)>;

fn listen(args: &Args) -> Result<(String, Listeners)> {
    let api = args.api.parse().with_context(|| {
        format!(
            "`{}` is no address to listen on\nhelp: write it as 127.0.0.1:7400",
            args.api
        )
    })?;
    let api = bind(api, "--api")?;
    let ingress = bind(args.ingress, "--ingress")?;
    let address = api.local_addr().context("asking for the API's address")?;
    let listeners = vec![("api", api.into()), ("ingress", ingress.into())];
    Ok((format!("http://{address}"), listeners))
}

fn own_door(home: &Home) -> Result<OwnedFd> {
    let path = home.own_door();
    let door = allod_api::bind_own(&path, home.account_keyfile().path());
    let door = door.with_context(|| format!("could not listen at {}", path.display()))?;
    Ok(door.into())
}

/// An address that others can be told.
fn public_address(text: &str) -> std::result::Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    let is_tellable = |it: &SocketAddr| !it.ip().is_unspecified() && it.port() >= 1024;
    address.filter(is_tellable).ok_or_else(|| {
        format!(
            "`{text}` is no address that others can be told; write the one under which they reach this machine, with a port from 1024 on, such as 203.0.113.7:7443"
        )
    })
}

fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    let listener = patiently(|| TcpListener::bind(address), TAKEN_MAX);
    listener.with_context(|| {
        format!("could not listen on {address}\nhelp: choose another address: allod up {flag} 127.0.0.1:0")
    })
}

/// Tries again while an address is taken: after a kill -9 of the last `allod up`, the kernel may still be ending the
/// process that listened there.
fn patiently<T>(mut bind: impl FnMut() -> io::Result<T>, taken_max: Duration) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && began.elapsed() < taken_max => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// A user identity of this installation alone.
fn network_uid(installation: &str) -> Result<u32> {
    let number = u32::from_str_radix(installation, 16).context("reading the installation's id")?;
    Ok(NETWORK_UID_FIRST | (number & 0x00ff_ffff))
}

fn network_process(
    home: &Home,
    args: Vec<OsString>,
    uid: u32,
    listeners: Listeners,
) -> Result<Process> {
    let open = |path: PathBuf| -> Result<OwnedFd> {
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(file.into())
    };
    // The program comes first, at the number that its path below names: the file itself is handed over, because its
    // path may lead through directories that only root may enter.
    let mut fds: Vec<(String, OwnedFd)> = vec![
        ("program".to_owned(), open("/proc/self/exe".into())?),
        ("run".to_owned(), open(home.run_dir().to_owned())?),
        ("runtime".to_owned(), open(home.root_dir())?),
    ];
    let listeners = listeners.into_iter();
    fds.extend(listeners.map(|(name, listener)| (name.to_owned(), listener)));
    let kept = [
        "RUST_LOG",
        "RUST_BACKTRACE",
        "NO_COLOR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    let env = kept
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    Ok(Process {
        name: "network",
        program: "/proc/self/fd/3".into(),
        args,
        env: env.collect(),
        fds,
        uid,
        gid: uid,
        working_directory: open(home.node_dir())?,
    })
}

/// What a person wants to know next. Standard output is left to the one line that scripts wait for.
fn greet(home: &Home, founded: &Founded, url: &str, is_joining: bool) {
    let what = if is_joining {
        "joining a network with this machine"
    } else if founded.is_new {
        "a new network of one on this machine"
    } else {
        "your network"
    };
    say(&format!(
        "allod: {what}\n  \
         API      {url}\n  \
         data     {}\n  \
         account  {}\n  \
         network  {}\n\
         next, in another terminal:\n  \
         allod run nginx:alpine --port 80\n  \
         allod deploy examples/guestbook/compose.yaml\n  \
         allod status\n\
         Ctrl-C stops the node and leaves workloads running; `allod down` ends both.",
        home.node_dir()
            .parent()
            .unwrap_or(&home.node_dir())
            .display(),
        founded.account,
        founded.network,
    ));
}

/// Says something to people; where nobody listens any more, nothing is lost.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_still_taken_is_waited_for_and_nothing_else_is() {
        let mut results = [ErrorKind::AddrInUse, ErrorKind::AddrInUse].into_iter();
        let soon = || results.next().map_or(Ok(7), |kind| Err(kind.into()));
        assert_eq!(patiently(soon, Duration::from_secs(60)).unwrap(), 7);
        let failing = |kind: ErrorKind| Err::<(), _>(io::Error::from(kind));
        let mut tries = 0;
        let denied = || {
            tries += 1;
            failing(ErrorKind::PermissionDenied)
        };
        let refused = patiently(denied, Duration::from_secs(60)).unwrap_err();
        assert_eq!((refused.kind(), tries), (ErrorKind::PermissionDenied, 1));
        let always = || failing(ErrorKind::AddrInUse);
        let refused = patiently(always, Duration::ZERO).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    }
}
