//! A small world: a host between a LAN and an internet, and processes that play containers.
//!
//! The host is the namespace of the test's own thread, made for it; the LAN and the internet each
//! belong to a sleeping process. The internet has no way back to private addresses, so whatever
//! answers from there was masqueraded.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use allod_runtime::network::{AppTag, Attachment, Directories, Network, Object};
use allod_runtime::{InstallationId, WorkloadId};
use rustix::mount::MountPropagationFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use tempfile::TempDir;

pub(crate) const HOST_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const HOST_ON_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
pub(crate) const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
pub(crate) const PROVIDER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub(crate) const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Long enough for an answer on a busy machine, short enough to wait for silence.
const PATIENCE: Duration = Duration::from_millis(1_500);

pub(crate) struct World {
    pub(crate) lan: Sleeper,
    pub(crate) internet: Sleeper,
    directory: TempDir,
}

/// Runs a test on a thread of its own, whose namespaces nobody else sees.
pub(crate) fn in_a_world(test: impl FnOnce(&World) + Send) {
    std::thread::scope(|scope| {
        let run = || {
            leave_the_machine();
            test(&World::build());
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[expect(
    unsafe_code,
    reason = "rustix marks unshare unsafe for the sake of CLONE_FILES"
)]
fn leave_the_machine() {
    // SAFETY: the table of descriptors stays shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
        .expect("these tests need root");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).unwrap();
}

impl World {
    fn build() -> Self {
        let world = Self {
            lan: Sleeper::start(),
            internet: Sleeper::start(),
            directory: TempDir::new().unwrap(),
        };
        let (lan, internet) = (world.lan.pid(), world.internet.pid());
        ip("link set lo up");
        // What a new namespace begins with depends on the machine.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        ip(&format!(
            "link add h-lan type veth peer name eth0 netns {lan}"
        ));
        ip(&format!(
            "link add h-wan type veth peer name eth0 netns {internet}"
        ));
        ip(&format!("addr add {HOST_ON_LAN}/24 dev h-lan"));
        ip(&format!("addr add {HOST_PUBLIC}/24 dev h-wan"));
        ip("link set h-lan up");
        ip("link set h-wan up");
        ip(&format!("route add default via {PROVIDER}"));
        ip(&format!("route add {METADATA} via {LAN}"));
        world.lan.visit(|| {
            ip(&format!("addr add {LAN}/24 dev eth0"));
            ip(&format!("addr add {METADATA}/32 dev eth0"));
            ip("link set eth0 up");
            ip(&format!("route add default via {HOST_ON_LAN}"));
        });
        world.internet.visit(|| {
            ip(&format!("addr add {PROVIDER}/24 dev eth0"));
            ip(&format!("addr add {INTERNET}/32 dev eth0"));
            ip("link set eth0 up");
        });
        eventually("both cables are plugged in", || {
            !ip("link").contains("NO-CARRIER")
        });
        world
    }

    /// An installation's network on this host, made ready.
    pub(crate) fn network(&self, seed: &str) -> Network {
        let network = self.open(seed);
        assert_eq!(network.ensure().unwrap(), []);
        network
    }

    /// The same, not made ready.
    pub(crate) fn open(&self, seed: &str) -> Network {
        let state = self.directory.path().join(seed).join("state");
        let run = self.directory.path().join(seed).join("run");
        Network::open(installation(seed), Directories { state, run }).unwrap()
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

pub(crate) fn installation(seed: &str) -> InstallationId {
    InstallationId::derive(seed.as_bytes())
}

pub(crate) fn app(number: u8) -> AppTag {
    AppTag([number; 32])
}

pub(crate) fn workload(number: u8) -> WorkloadId {
    WorkloadId {
        lease: [number; 32],
        epoch: 1,
    }
}

/// A process that does nothing, in a network namespace of its own.
pub(crate) struct Sleeper(Child);

impl Sleeper {
    pub(crate) fn start() -> Self {
        Self::unshare(&["--net"])
    }

    /// One that also has a user namespace, as containers have.
    pub(crate) fn container() -> Self {
        Self::unshare(&["--user", "--map-root-user", "--net"])
    }

    fn unshare(namespaces: &[&str]) -> Self {
        let child = Command::new("unshare")
            .args(namespaces)
            .args(["sleep", "600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let sleeper = Self(child);
        let comm = format!("/proc/{}/comm", sleeper.pid());
        eventually("a process in namespaces of its own", || {
            std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep")
        });
        sleeper
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs something inside this process's network.
    pub(crate) fn visit<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        visit_namespace(&namespace, visit)
    }

    /// Whether a connection from here to there comes about, and from where it is seen to come.
    pub(crate) fn connect(&self, to: &TcpListener) -> Outcome {
        let address = to.local_addr().unwrap();
        outcome(
            self.visit(|| TcpStream::connect_timeout(&address, PATIENCE)),
            to,
        )
    }

    /// The same for one address of a listener on all of them.
    pub(crate) fn connect_at(&self, address: Ipv4Addr, to: &TcpListener) -> Outcome {
        let address = SocketAddr::from((address, to.local_addr().unwrap().port()));
        outcome(
            self.visit(|| TcpStream::connect_timeout(&address, PATIENCE)),
            to,
        )
    }

    pub(crate) fn listen(&self, address: Ipv4Addr) -> TcpListener {
        self.visit(|| listen(address))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs something inside the namespace that a file stands for.
pub(crate) fn visit_namespace<T: Send>(
    namespace: &impl AsFd,
    visit: impl FnOnce() -> T + Send,
) -> T {
    let descriptor = namespace.as_fd();
    std::thread::scope(|scope| {
        let run = || {
            move_into_link_name_space(descriptor, Some(LinkNameSpaceType::Network)).unwrap();
            visit()
        };
        scope
            .spawn(run)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What became of an attempt to connect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It came about; the listener saw this address.
    Connected(Ipv4Addr),
    /// A packet filter said no.
    Prohibited,
    /// Nothing came back.
    Silence,
    /// No route leads there.
    Unreachable,
}

impl Outcome {
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Prohibited | Self::Silence)
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }
}

fn outcome(attempt: io::Result<TcpStream>, listener: &TcpListener) -> Outcome {
    match attempt {
        Ok(stream) => {
            let (_, peer) = listener.accept().unwrap();
            drop(stream);
            match peer {
                SocketAddr::V4(peer) => Outcome::Connected(*peer.ip()),
                SocketAddr::V6(peer) => panic!("IPv6 is off, yet {peer} connected"),
            }
        }
        Err(error) if error.raw_os_error() == Some(libc::EHOSTUNREACH) => Outcome::Prohibited,
        Err(error) if error.raw_os_error() == Some(libc::ENETUNREACH) => Outcome::Unreachable,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Outcome::Silence,
        // A refusal by the other side, above all, means that the packet got there.
        Err(error) => panic!("an attempt to connect ended unforeseen: {error}"),
    }
}

/// Connects from the host itself.
pub(crate) fn connect_from_host(to: &TcpListener) -> Outcome {
    outcome(
        TcpStream::connect_timeout(&to.local_addr().unwrap(), PATIENCE),
        to,
    )
}

pub(crate) fn listen(address: Ipv4Addr) -> TcpListener {
    TcpListener::bind(SocketAddrV4::new(address, 0)).unwrap()
}

/// A container that is attached.
pub(crate) struct Tenant {
    pub(crate) sleeper: Sleeper,
    pub(crate) workload: WorkloadId,
    pub(crate) attachment: Attachment,
}

impl Tenant {
    pub(crate) fn start(network: &Network, of: AppTag, number: u8) -> Self {
        let sleeper = Sleeper::container();
        let workload = workload(number);
        let attachment = network.attach(of, workload, sleeper.pid()).unwrap();
        Self {
            sleeper,
            workload,
            attachment,
        }
    }

    pub(crate) fn listen(&self) -> TcpListener {
        self.sleeper.listen(self.attachment.address)
    }

    pub(crate) fn connect(&self, to: &TcpListener) -> Outcome {
        self.sleeper.connect(to)
    }
}

/// Opens the router's namespace to do harm there.
pub(crate) fn in_router<T: Send>(network: &Network, visit: impl FnOnce() -> T + Send) -> T {
    let path = network
        .list()
        .unwrap()
        .into_iter()
        .find_map(|object| match object {
            Object::Router { path } => Some(path),
            _ => None,
        });
    let namespace = std::fs::File::open(path.unwrap()).unwrap();
    visit_namespace(&namespace, visit)
}

/// Makes a hole in the router's rules.
pub(crate) fn open_router(network: &Network) {
    in_router(network, || {
        nft("insert rule inet allod forward accept");
        nft("insert rule inet allod input accept");
    });
}

/// Makes a hole in an installation's rules on the host.
pub(crate) fn open_host(seed: &str) {
    let table = format!("allod_{}", installation(seed));
    nft(&format!("insert rule inet {table} input accept"));
    nft(&format!("insert rule inet {table} forward accept"));
}

pub(crate) fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

pub(crate) fn nft(arguments: &str) -> String {
    run("nft", arguments)
}

pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_ascii_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something holds, and fails when it never does.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never came about: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
