//! A host of one's own: process, mount and network namespaces in which nobody else makes anything, so that everything
//! that is there after a test and was not there before is a leak.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::house::until;

/// The namespaces, which end when it is dropped.
pub(crate) struct World {
    holder: Child,
    init: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        // Its first process never waits for children: with the signal ignored, the kernel reaps orphans at once.
        // What others have mounted below `/run` comes and goes with them.
        let script = "awk '$5 ~ \"^/run/\" { print $5 }' /proc/self/mountinfo | sort -r | \
                      while read -r mounted; do umount -l \"$mounted\"; done; \
                      mount -t tmpfs tmpfs /run && mkdir /run/mount && ip link set lo up && \
                      touch /run/ready && exec env --ignore-signal=CHLD tail -f /dev/null";
        let holder = Command::new("unshare")
            .args(["--pid", "--mount", "--net", "--fork", "--kill-child"])
            .args(["--mount-proc", "--propagation", "private"])
            .args(["sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut world = Self { holder, init: 0 };
        until("the world is there", || {
            world.init = world.first_process();
            world.init != 0 && world.path("run/ready").exists()
        });
        std::fs::remove_file(world.path("run/ready")).unwrap();
        world
    }

    fn first_process(&self) -> u32 {
        let holder = self.holder.id();
        let path = format!("/proc/{holder}/task/{holder}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// What this world has at a path.
    pub(crate) fn path(&self, path: &str) -> std::path::PathBuf {
        Path::new(&format!("/proc/{}/root", self.init)).join(path)
    }

    /// Runs a program in some of the namespaces.
    pub(crate) fn command(&self, namespaces: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string()]);
        command.args(namespaces).arg("--");
        command
    }

    /// Runs a program in the namespace of the installation's router.
    pub(crate) fn router_command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.router().unwrap()).arg("--");
        command
    }

    /// Everything that somebody may have left in this world or in `home`, one thing a line. What has the same name
    /// twice is there twice.
    pub(crate) fn audit(&self, home: &Path, group: &str) -> Vec<String> {
        let mut found = self.processes();
        let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.init)).unwrap();
        for line in mounts.lines() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            let kind = line.rsplit_once(" - ").map_or("", |(_, rest)| rest);
            found.push(format!("mount {point} {}", kind.split(' ').next().unwrap()));
        }
        walk(&self.path("run"), &mut found);
        walk(home, &mut found);
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            walk(&hierarchy.path().join(group), &mut found);
        }
        found.retain(|line| !line.contains("/layers/"));
        self.network(&self.init_namespace(), "host", &mut found);
        if let Some(router) = self.router() {
            self.network(&router, "router", &mut found);
        }
        for device in std::fs::read_dir("/sys/block").unwrap().flatten() {
            let backing = std::fs::read_to_string(device.path().join("loop/backing_file"));
            if backing.is_ok_and(|backing| backing.contains(&*home.to_string_lossy())) {
                found.push(format!("loop {}", device.path().display()));
            }
        }
        found.sort();
        found
    }

    /// Every process but the first one, and how many network namespaces they are in.
    fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut namespaces = BTreeSet::new();
        for entry in std::fs::read_dir(self.path("proc")).unwrap().flatten() {
            let number = entry.file_name().to_string_lossy().parse::<u32>();
            if number.is_err() || number == Ok(1) {
                continue;
            }
            let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let text = |name: &str| String::from_utf8_lossy(&read(name)).replace(['\0', '\n'], " ");
            // It has ended since it was listed, or is one of the kernel's.
            let command = text("comm");
            if command.is_empty() {
                continue;
            }
            namespaces.extend(std::fs::read_link(entry.path().join("ns/net")).ok());
            found.push(format!("process {command} {}", text("cmdline")));
        }
        found.push(format!("network namespaces {}", namespaces.len()));
        found
    }

    fn init_namespace(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.init)
    }

    fn router(&self) -> Option<String> {
        let entries = std::fs::read_dir(self.path("run/allod")).ok()?.flatten();
        let mut routers = entries.map(|entry| entry.path().join("router"));
        let router = routers.find(|path| path.exists())?;
        Some(format!("--net={}", router.display()))
    }

    fn network(&self, namespace: &str, whose: &str, found: &mut Vec<String>) {
        let run = |program: &[&str]| {
            let output = Command::new("nsenter")
                .arg(namespace)
                .arg("--")
                .args(program)
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        for line in run(&["ip", "-o", "link"]).lines() {
            let name = line.split(": ").nth(1).unwrap_or_default();
            let name = name.split('@').next().unwrap_or_default();
            found.push(format!("link {whose} {name}"));
        }
        for line in run(&["nft", "list", "ruleset"]).lines() {
            // Counters count on.
            let still: Vec<&str> = line
                .split_whitespace()
                .filter(|word| word.parse::<u64>().is_err())
                .collect();
            found.push(format!("nft {whose} {}", still.join(" ")));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Everything below a directory, without following anything.
fn walk(directory: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // The files of a control group come and go with it.
        if is_directory || !path.starts_with("/sys") {
            found.push(format!("file {}", path.display()));
        }
        if is_directory {
            walk(&path, found);
        }
    }
}
