//! An installation of its own for the measurement: directories, a root process, a client.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use allod_runtime::logs::{self, Cursor};
use allod_runtime::network::{Directories, Network};
use allod_runtime::root::{Config, Root};
use allod_runtime::{
    Client, HostObjectKind, Image, InstallationId, LogLimits, Resources, WorkloadId, WorkloadSpec,
};

use crate::{Failure, layout};

/// The user of the network process; nobody else's.
const NETWORK_UID: u32 = 64_998;
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// What the runtime promises after a workload's removal.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LEASE: [u8; 32] = [1; 32];

/// Serves the installation in `directory` until told to end. The process must have one thread.
pub(crate) fn serve(directory: PathBuf) -> Result<(), Failure> {
    let config = Config {
        installation: installation(&directory),
        run_dir: directory.join("run"),
        directory,
        network_uid: NETWORK_UID,
        network_gid: NETWORK_UID,
        fault_plan: None,
    };
    Root::start(config)?.serve()?;
    Ok(())
}

/// Gone, with everything it put on the host, when dropped.
pub(crate) struct House {
    directory: tempfile::TempDir,
    root: Child,
    image: Image,
    pub(crate) client: Client,
}

impl House {
    pub(crate) fn open(layout: &Path) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("allod-start-").tempdir()?;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open)?;
        let root = Command::new(std::env::current_exe()?)
            .arg("root")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut house = Self {
            client: Client::new(&directory.path().join("run")),
            directory,
            root,
            image: Image::default(),
        };
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while let Err(error) = house.client.identify() {
            if house.root.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        house.image = layout::unpack(&house.client, layout)?;
        Ok(house)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `true`, or a script that shows something; in the app of all the others.
    pub(crate) fn spec(&self, epoch: u64, script: Option<&str>) -> WorkloadSpec {
        let command = match script {
            Some(script) => vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            None => vec!["true".to_owned()],
        };
        WorkloadSpec {
            id: WorkloadId {
                lease: LEASE,
                epoch,
            },
            app: LEASE,
            hostname: "box".to_owned(),
            service: "bench".to_owned(),
            image: self.image.clone(),
            entrypoint: None,
            command: Some(command),
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

    /// `true`, alone in an app of its own, whose bridge is made for it and removed after it.
    pub(crate) fn spec_alone(&self, epoch: u64) -> WorkloadSpec {
        let mut spec = self.spec(epoch, None);
        spec.app[..8].copy_from_slice(&epoch.to_le_bytes());
        spec
    }

    /// What a workload wrote.
    pub(crate) fn output(&self, id: &WorkloadId) -> Result<String, Failure> {
        let directory = logs::directory(self.path(), id);
        let (lines, _) = logs::read(&directory, Cursor::default(), 1 << 20)?;
        let text = lines
            .iter()
            .map(|line| format!("{}\n", String::from_utf8_lossy(&line.text)));
        Ok(text.collect())
    }

    /// Takes everything off the host, and says how many things of workloads were still there when
    /// all of them had to be gone.
    pub(crate) fn close(self) -> Result<usize, Failure> {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let objects = self.client.audit()?;
            let of_workloads = objects.iter().filter(|object| {
                object.kind != HostObjectKind::Network || object.workload.is_some()
            });
            let count = of_workloads.count();
            if count == 0 || Instant::now() >= deadline {
                return Ok(count);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // Nothing here can be mended, and the next start finds and reaps what is left.
        let _ = self.client.reap(&[]);
        if self.client.shutdown(true).is_err() {
            let _ = self.root.kill();
        }
        let _ = self.root.wait();
        let id = installation(self.path());
        let run = PathBuf::from(format!("/run/allod/network-{id}"));
        let directories = Directories {
            state: self.path().join("network"),
            run: run.clone(),
        };
        if let Ok(network) = Network::open(id, directories) {
            let _ = network.destroy();
        }
        let _ = std::fs::remove_dir_all(run);
    }
}

fn installation(directory: &Path) -> InstallationId {
    InstallationId::derive(directory.as_os_str().as_encoded_bytes())
}
