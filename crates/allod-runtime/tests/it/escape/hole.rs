//! A place that was weakened on purpose: the host's root in a mere `chroot`, with all
//! capabilities, no filter, no limits, and the host's own `/proc`, `/sys` and `/dev`. Mounts,
//! host name, messages and links are in namespaces of their own that are thrown away, so that no
//! probe leaves a trace on the machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::image::lay_probe;
use super::list::ROWS;

/// A process of the host for probes that want one; a copy of busybox, so that it may be harmed.
struct Victim {
    child: Child,
    program: PathBuf,
}

impl Victim {
    fn start(directory: &Path, seconds: &str) -> Self {
        let program = directory.join("overwrite-me");
        std::fs::copy("/bin/busybox", &program).unwrap();
        let mut command = Command::new(&program);
        // The name that it is called by says which of its programs busybox is.
        std::os::unix::process::CommandExt::arg0(&mut command, "sleep");
        let child = command.arg(seconds).spawn().unwrap();
        Self { child, program }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one probe there, and answers with its last line.
fn run(root: &Path, name: &str, canary: &Path, victim: &Victim) -> String {
    let more = match name {
        "unmask" => "mount --bind /dev/null $ROOT/proc/keys",
        "leaked-descriptors" => "exec 7</",
        _ => "true",
    };
    // The kernel makes no user namespace for a process in a `chroot`.
    let enter = match name {
        "clone-user-namespace" | "clone3-user-namespace" | "unshare-user-namespace" => "exec $ROOT",
        _ => "exec chroot $ROOT ",
    };
    let script = format!(
        "set -e
        for d in proc sys dev; do mkdir -p $ROOT/$d; mount --rbind /$d $ROOT/$d; done
        mkdir -p $ROOT/tmp $ROOT/ro
        mount -t tmpfs none $ROOT/tmp
        mount --bind $ROOT/ro $ROOT/ro; mount -o remount,bind,ro $ROOT/ro
        {more}
        {enter}/probe {name}"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--uts", "--ipc", "--net", "sh", "-c", &script])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("ROOT", root)
        .env("CANARY", canary)
        .env("VICTIM", victim.child.id().to_string())
        .env("OVERWRITE_MARKED", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().last().unwrap_or_default();
    format!("{last}{complaint}")
}

#[test]
fn every_way_out_is_open_in_a_weakened_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    lay_probe(&root);
    let canary = directory.path().join("canary");
    std::fs::write(&canary, "sings").unwrap();
    let mut shut = Vec::new();
    for row in ROWS {
        // One that is to be overwritten has to end soon.
        let seconds = if row.name == "exe-overwrite" {
            "5"
        } else {
            "60"
        };
        let mut victim = Victim::start(directory.path(), seconds);
        let before = std::fs::metadata(&victim.program).unwrap().len();
        if row.name == "exe-overwrite" {
            let reaper = std::thread::spawn({
                let mut child =
                    std::mem::replace(&mut victim.child, Command::new("true").spawn().unwrap());
                move || child.wait()
            });
            let said = run(&root, row.name, &canary, &victim);
            reaper.join().unwrap().unwrap();
            let after = std::fs::metadata(&victim.program).unwrap().len();
            if !said.starts_with("open ") || after == before {
                shut.push(format!("{}: {said}", row.name));
            }
            continue;
        }
        let said = run(&root, row.name, &canary, &victim);
        if row.is_absent(&said) {
            println!("no hole can be opened here for {}: {said}", row.name);
        } else if !said.starts_with("open ") {
            shut.push(format!("{}: {said}", row.name));
        }
    }
    assert!(shut.is_empty(), "these probes cannot detect: {shut:#?}");
}
