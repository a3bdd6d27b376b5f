//! `allod doctor`: what this machine lacks, each with its fix, and how others are reached.

mod peer;

use std::fs;
use std::path::Path;

use allod_api::client::Result;
use rustix::system::uname;
use serde::Serialize;

use crate::context::Context;
use crate::render::table::table;
use crate::render::text::bytes;

/// What a doctor that found something missing ends with.
const MISSING: u8 = 1;
/// The first kernel whose overlay file systems can be idmapped.
const KERNEL_MIN: (u32, u32) = (5, 19);
/// Less free disk than this is little for images.
const DISK_BYTES_MIN: u64 = 2 * 1024 * 1024 * 1024;
/// Where programs are looked for, beside PATH: daemons are often started with a short one.
const PROGRAM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Check what this machine needs to run apps, each thing that is missing with its fix; or how another machine is reached,
/// why not better, and what to change.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The other machine, by its name or id.
    #[arg(value_name = "NODE")]
    peer: Option<String>,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    is_good: bool,
    found: String,
    fix: &'static str,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<u8> {
    let Some(named) = &args.peer else {
        return check(context);
    };
    let is_reached = peer::run(context, &context.client()?, named).await?;
    Ok(if is_reached { 0 } else { MISSING })
}

fn check(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let findings = vec![
        root(),
        kernel(),
        file_system(
            "overlayfs",
            "overlay",
            "modprobe overlay, and name it in /etc/modules-load.d/",
        ),
        cgroups(),
        user_namespaces(),
        seccomp(),
        module(
            "veth",
            " veth_xmit",
            "modprobe veth, and name it in /etc/modules-load.d/",
        ),
        module(
            "bridge",
            " br_add_if",
            "modprobe bridge, and name it in /etc/modules-load.d/",
        ),
        program("nft", "apt-get install nftables"),
        disk(home.node_dir().parent().unwrap_or(Path::new("/"))),
    ];
    context.show(&findings, |findings| rows(findings));
    let lacks = findings.iter().any(|finding| !finding.is_good);
    Ok(if lacks { MISSING } else { 0 })
}

fn rows(findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        let verdict = if finding.is_good { "ok" } else { "MISSING" };
        let fix = if finding.is_good { "" } else { finding.fix };
        [
            verdict.to_owned(),
            finding.what.to_owned(),
            finding.found.clone(),
            fix.to_owned(),
        ]
    };
    let text = table(
        ["", "NEEDED", "FOUND", "FIX"],
        findings.iter().map(row).collect(),
    );
    let lacking = findings.iter().filter(|finding| !finding.is_good).count();
    match lacking {
        0 => format!("{text}\n\nthis machine can run apps: allod up"),
        _ => format!("{text}\n\n{lacking} thing(s) missing"),
    }
}

const fn needed(what: &'static str, is_good: bool, found: String, fix: &'static str) -> Finding {
    Finding {
        what,
        is_good,
        found,
        fix,
    }
}

fn root() -> Finding {
    let user = rustix::process::geteuid();
    needed(
        "root",
        user.is_root(),
        format!("user {}", user.as_raw()),
        "run `allod up` with sudo; commands need no root",
    )
}

fn kernel() -> Finding {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    needed(
        "idmapped mounts",
        version >= KERNEL_MIN,
        format!("Linux {release}"),
        "install Linux 5.19 or newer: Debian 12 and later have it",
    )
}

fn file_system(what: &'static str, name: &str, fix: &'static str) -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_known = known.split_whitespace().any(|word| word == name);
    let is_good = is_known || has_module(name);
    needed(what, is_good, presence(is_good), fix)
}

fn cgroups() -> Finding {
    let wanted = ["cpu", "memory", "pids"];
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    let (kind, missing): (_, Vec<&str>) = match unified {
        Ok(controllers) => {
            let here: Vec<&str> = controllers.split_whitespace().collect();
            (
                "v2",
                wanted
                    .into_iter()
                    .filter(|name| !here.contains(name))
                    .collect(),
            )
        }
        Err(_) => {
            let is_here = |name: &&str| Path::new("/sys/fs/cgroup").join(name).is_dir();
            (
                "v1",
                wanted.into_iter().filter(|name| !is_here(name)).collect(),
            )
        }
    };
    let found = match missing.is_empty() {
        true => format!("cgroup {kind} with {}", wanted.join(", ")),
        false => format!("cgroup {kind} without {}", missing.join(", ")),
    };
    needed(
        "control groups",
        missing.is_empty(),
        found,
        "mount cgroup2 at /sys/fs/cgroup; on Raspberry Pi add cgroup_enable=memory to the kernel's command line",
    )
}

fn user_namespaces() -> Finding {
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let most: u64 = most.trim().parse().unwrap_or(0);
    needed(
        "user namespaces",
        most > 0 && Path::new("/proc/self/ns/user").exists(),
        format!("at most {most}"),
        "sysctl -w user.max_user_namespaces=10000",
    )
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let is_good = actions.split_whitespace().any(|action| action == "errno");
    needed(
        "seccomp filters",
        is_good,
        presence(is_good),
        "use a kernel with CONFIG_SECCOMP_FILTER=y",
    )
}

/// A part of the kernel that is built in, loaded, or at hand as a module; `symbol` is one of its functions.
fn module(name: &'static str, symbol: &str, fix: &'static str) -> Finding {
    let is_there = || {
        let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        symbols.contains(symbol)
    };
    let is_good = Path::new("/sys/module").join(name).is_dir() || has_module(name) || is_there();
    needed(name, is_good, presence(is_good), fix)
}

fn program(name: &'static str, fix: &'static str) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(PROGRAM_DIRECTORIES.map(Into::into));
    let found = directories
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    let is_good = found.is_some();
    let found = found.map_or_else(|| "not found".to_owned(), |path| path.display().to_string());
    needed(name, is_good, found, fix)
}

fn disk(directory: &Path) -> Finding {
    let existing = directory
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let free =
        rustix::fs::statvfs(existing).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    needed(
        "free disk",
        free >= DISK_BYTES_MIN,
        format!("{} at {}", bytes(free), existing.display()),
        "free 2 GiB there, or set ALLOD_HOME to a larger disk",
    )
}

/// Whether the running kernel has a module built in or at hand.
fn has_module(name: &str) -> bool {
    let release = uname().release().to_string_lossy().into_owned();
    let modules = Path::new("/lib/modules").join(release);
    let file = format!("/{name}.ko");
    ["modules.builtin", "modules.dep"].iter().any(|list| {
        let text = fs::read_to_string(modules.join(list)).unwrap_or_default();
        text.contains(&file)
    })
}

fn presence(is_good: bool) -> String {
    if is_good { "present" } else { "not found" }.to_owned()
}
