//! A house for one test: directories, a layer, a root process, a client.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use allod_runtime::logs::{self, Cursor};
use allod_runtime::{
    Client, EndCause, HostObject, HostObjectKind, Image, InstallationId, LayerId, LogLimits, Phase,
    Resources, Status, WorkloadId, WorkloadSpec,
};

use crate::world::World;

/// The user of the network process in tests; nobody else's.
pub(crate) const NETWORK_UID: u32 = 64_999;
const LAYER: LayerId = LayerId([0xbb; 32]);

/// One installation, gone when dropped.
pub(crate) struct House {
    /// Working directory and script of a process to keep running.
    supervised: Option<(PathBuf, String)>,
    /// Where the root process runs, if not beside this test.
    world: Option<World>,
    directory: tempfile::TempDir,
    root: Option<Child>,
    pub(crate) client: Client,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::build(&std::env::temp_dir(), None, None)
    }

    /// A house in a world of its own, where the root process looks at a plan of who is to be killed where.
    pub(crate) fn in_a_world() -> Self {
        Self::build(&std::env::temp_dir(), None, Some(World::new()))
    }

    /// A house whose root process keeps a script running.
    pub(crate) fn supervising(working_directory: &Path, script: &str) -> Self {
        let supervised = (working_directory.to_owned(), script.to_owned());
        Self::build(&std::env::temp_dir(), Some(supervised), None)
    }

    /// A house on a disk of its own.
    pub(crate) fn on(disk: &Path) -> Self {
        Self::build(disk, None, None)
    }

    fn build(ground: &Path, supervised: Option<(PathBuf, String)>, world: Option<World>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("allod-house-")
            .tempdir_in(ground)
            .unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        lay_layer(&directory.path().join("layers").join(LAYER.hex()));
        let client = Client::new(&directory.path().join("run"));
        let mut house = Self {
            supervised,
            world,
            directory,
            root: None,
            client,
        };
        house.start_root();
        house
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn world(&self) -> &World {
        self.world.as_ref().unwrap()
    }

    /// The file with the plan of who is to be killed where.
    pub(crate) fn fault_plan(&self) -> PathBuf {
        self.path().join("plan")
    }

    /// Whether the root process has ended by itself.
    pub(crate) fn has_no_root(&mut self) -> bool {
        let is_gone = |root: &mut Child| root.try_wait().unwrap().is_some();
        self.root.as_mut().is_none_or(is_gone)
    }

    pub(crate) fn installation(&self) -> InstallationId {
        InstallationId::derive(self.path().as_os_str().as_encoded_bytes())
    }

    /// What the control group of all its workloads is called.
    pub(crate) fn name(&self) -> String {
        format!("allod-{}", self.installation())
    }

    /// The layer with that number, which [`House::lay`] has laid.
    pub(crate) fn layer(number: u8) -> LayerId {
        LayerId([number; 32])
    }

    /// Lays a layer file by file, without an archive: also one that no archive could bring.
    pub(crate) fn lay(&self, number: u8, fill: impl FnOnce(&Path)) {
        let root = self.layer_path(number);
        std::fs::create_dir_all(&root).unwrap();
        fill(&root);
        std::fs::write(
            root.parent().unwrap().join("layer.json"),
            r#"{"bytes":4096}"#,
        )
        .unwrap();
    }

    /// The files of the layer with that number.
    pub(crate) fn layer_path(&self, number: u8) -> PathBuf {
        let layers = self.path().join("layers");
        layers.join(Self::layer(number).hex()).join("fs")
    }

    pub(crate) fn start_root(&mut self) {
        // This test is `target/<profile>/deps/it-<hash>`.
        let test = std::env::current_exe().unwrap();
        let program = test
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join("examples/root_process");
        let mut command = match &self.world {
            // As a script has it that begins it in the background.
            None => {
                let mut command = Command::new("sh");
                command.args(["-c", "trap '' INT QUIT; exec \"$@\"", "sh"]);
                command.arg(program);
                command
            }
            Some(world) => {
                let mut command = world.command(&["-n", "-m", "-p"]);
                command.arg(program).env("FAULT_PLAN", self.fault_plan());
                command
            }
        };
        command.arg(self.path()).arg(NETWORK_UID.to_string());
        if let Some((working_directory, script)) = &self.supervised {
            command.arg(working_directory).arg(script);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.root = Some(child);
        until("the root process answers, or has died", || {
            self.has_no_root() || self.client.identify().is_ok()
        });
    }

    /// What a restart of the machine leaves: files on disk, and no process, mount, namespace, control group or `/run`.
    pub(crate) fn restart_machine(&mut self) {
        drop(self.world.take());
        if let Some(mut root) = self.root.take() {
            root.wait().unwrap();
        }
        let name = self.name();
        until("nothing of the last boot is left", || {
            // Groups go when all that was in them has died.
            let groups = "find /sys/fs/cgroup -depth -type d -path \"*/$0*\" -exec rmdir {} +";
            let mut remove = Command::new("sh");
            remove.args(["-c", groups, &name]).stderr(Stdio::null());
            remove.status().unwrap().success()
        });
        self.world = Some(World::new());
        // The kernel gives itself another name each time; here, what was written down under it gets one.
        let now = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let before = "01234567-89ab-4cde-8f01-23456789abcd";
        for workload in std::fs::read_dir(self.path().join("workloads")).unwrap() {
            for name in ["record.json", "status.json"] {
                let path = workload.as_ref().unwrap().path().join(name);
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(path, text.replace(now.trim(), before)).unwrap();
            }
        }
    }

    /// As the kernel would end it: without a word.
    pub(crate) fn kill_root(&mut self) {
        let mut root = self.root.take().unwrap();
        root.kill().unwrap();
        root.wait().unwrap();
    }

    /// Waits for the root process, and says how it ended.
    pub(crate) fn root_exit_code(&mut self) -> i32 {
        self.root.take().unwrap().wait().unwrap().code().unwrap()
    }

    pub(crate) fn spec(&self, number: u8, script: &str) -> WorkloadSpec {
        WorkloadSpec {
            id: WorkloadId {
                lease: [number; 32],
                epoch: 1,
            },
            app: [number; 32],
            hostname: "box".into(),
            service: "test".into(),
            image: Image {
                manifest: "sha256:test".into(),
                layers: vec![LAYER],
                command: vec!["/bin/sh".into()],
                ..Image::default()
            },
            entrypoint: None,
            command: Some(vec!["/bin/sh".into(), "-c".into(), script.into()]),
            env: Vec::new(),
            user: None,
            working_dir: None,
            resources: Resources {
                cpu_milli: 1_000,
                memory_bytes: 64 << 20,
                pids: 64,
            },
            storage_bytes_max: None,
            volumes: Vec::new(),
            files: Vec::new(),
            tmpfs: Vec::new(),
            cap_add: Vec::new(),
            read_only_root: false,
            stop_signal: None,
            stop_grace_ms: 2_000,
            logs: LogLimits::default(),
            until_boot_ms: None,
        }
    }

    /// Runs a script to its end.
    pub(crate) fn run(&self, spec: WorkloadSpec) -> (EndCause, String) {
        let id = spec.id;
        self.client.create(spec).unwrap();
        let cause = self.end(id);
        (cause, self.output(id))
    }

    /// Waits for the end of a workload.
    pub(crate) fn end(&self, id: WorkloadId) -> EndCause {
        let mut cause = None;
        until("the workload ends", || {
            let Status { phase, .. } = self.client.status(id).unwrap();
            if let Phase::Exited { cause: found, .. } = phase {
                cause = Some(found);
            }
            cause.is_some()
        });
        cause.unwrap()
    }

    pub(crate) fn output(&self, id: WorkloadId) -> String {
        let directory = logs::directory(self.path(), &id);
        let (lines, _) = logs::read(&directory, Cursor::default(), 16 << 20).unwrap();
        let text = lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.text).into_owned());
        text.collect::<Vec<_>>().join("\n")
    }

    /// The process beside a workload, if one lives.
    pub(crate) fn shim(&self, id: WorkloadId) -> Option<i32> {
        let objects = self.client.audit().unwrap();
        let mut shims = objects
            .iter()
            .filter(|object| object.kind == HostObjectKind::Shim && object.workload == Some(id));
        shims.next().map(|shim| shim.name.parse().unwrap())
    }

    /// What is on the host for workloads; the network of the installation itself stays.
    pub(crate) fn leftovers(&self) -> Vec<HostObject> {
        let objects = self.client.audit().unwrap();
        let is_base = |object: &HostObject| {
            object.kind == HostObjectKind::Network && object.workload.is_none()
        };
        objects
            .into_iter()
            .filter(|object| !is_base(object))
            .collect()
    }

    /// What is still there five seconds after the last removal: nothing should be.
    pub(crate) fn left_for_good(&self) -> Vec<HostObject> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.leftovers();
            if left.is_empty() || Instant::now() >= deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if self.has_no_root() && !std::thread::panicking() {
            self.start_root();
        }
        let _ = self.client.reap(&[]);
        let _ = self.client.shutdown(true);
        if let Some(mut root) = self.root.take() {
            let _ = root.wait();
        }
        let left = format!("/run/allod/network-{}", self.installation());
        if !std::thread::panicking() {
            assert!(!Path::new(&left).exists(), "{left}");
        }
    }
}

/// Waits for a condition, and says which one never came.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A layer with busybox under the names that the scripts use.
fn lay_layer(layer: &Path) {
    let root = layer.join("fs");
    for directory in [
        "bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/app", "data",
    ] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("busybox-static is installed: apt-get install busybox-static");
    let names = [
        "awk", "cat", "chmod", "cp", "cut", "date", "dd", "echo", "env", "false", "grep", "head",
        "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nslookup",
        "ping", "printf", "ps", "pwd", "rm", "sed", "seq", "sh", "sleep", "stat", "stty", "tail",
        "touch", "tr", "true", "tty", "umount", "unshare", "wc", "wget", "yes",
    ];
    for name in names {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(
        root.join("etc/group"),
        "root:x:0:\napp:x:1000:\nextra:x:44:app\n",
    )
    .unwrap();
    std::fs::write(root.join("bin/not-executable"), "text").unwrap();
    std::fs::write(root.join("bin/bad-interpreter"), "#!/no/such/interpreter\n").unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.join("bin/bad-interpreter"), executable).unwrap();
    std::os::unix::fs::chown(root.join("home/app"), Some(1000), Some(1000)).unwrap();
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::write(root.join("home/app/welcome"), "from the image").unwrap();
    std::os::unix::fs::chown(root.join("home/app/welcome"), Some(1000), Some(1000)).unwrap();
    std::fs::write(layer.join("layer.json"), r#"{"bytes":4096}"#).unwrap();
}
