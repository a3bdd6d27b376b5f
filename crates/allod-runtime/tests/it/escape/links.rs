//! Links where the runtime expects something else: at mount points, as working directories, in
//! volumes that change meanwhile.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use allod_runtime::{
    ClientError, EndCause, ExecSpec, Refusal, StartFault, TmpfsMount, VolumeMount, WorkloadSpec,
};

use super::inside::Prison;
use crate::house::House;
use crate::life::exec;

/// A directory of the host that everybody may write to, and what is in it.
struct Outside(tempfile::TempDir);

impl Outside {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("hosts"), "of the host").unwrap();
        for name in ["pts", "shm", "mqueue"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(directory.path(), open).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn contents(&self) -> Vec<String> {
        let mut found: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                format!("{} {:?} {text}", path.display(), metadata.file_type())
            })
            .collect();
        found.sort();
        found
    }
}

fn fault(result: Result<allod_runtime::Status, ClientError>) -> Option<StartFault> {
    match result {
        Err(ClientError::Refused(Refusal::NotStarted {
            cause: EndCause::StartFailed { fault },
        })) => Some(fault),
        Err(other) => panic!("{other:?}"),
        Ok(_) => None,
    }
}

/// An image whose mount point is a link to somewhere on the host, absolute or climbing.
fn with_link(prison: &Prison, number: u8, at: &str, to: &Path) -> WorkloadSpec {
    prison.house.lay(number, |root| {
        let link = root.join(at);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(to, link).unwrap();
        // The place is there in the image, too: a link that leads nowhere would be refused for that.
        if let (true, Ok(inner)) = (to.is_absolute(), to.strip_prefix("/tmp")) {
            std::fs::create_dir_all(root.join("tmp").join(inner)).unwrap();
        }
    });
    let script = "for p in canary core-pattern sysrq sysctl masked-paths unmask; \
                  do echo \"$p $(/probe $p 2>&1)\"; done";
    let mut spec = prison.spec(number, script);
    spec.image.layers.push(House::layer(number));
    spec
}

#[test]
fn links_at_mount_points_lead_nowhere_outside_slow() {
    let prison = Prison::new();
    let outside = Outside::new();
    let before = outside.contents();
    let climbing = PathBuf::from("../".repeat(30)).join(outside.path().strip_prefix("/").unwrap());
    let file = outside.path().join("hosts");
    let (file, climbing) = (file.as_path(), climbing.as_path());
    let (directory, own) = (outside.path(), Path::new("/proc"));
    let cases = [
        ("dev", vec![directory, climbing, own]),
        ("proc", vec![directory, climbing]),
        ("sys", vec![directory, climbing]),
        ("etc", vec![directory, climbing]),
        ("dev/pts", vec![directory]),
        ("dev/null", vec![file]),
        ("etc/hosts", vec![file, own]),
        ("etc/passwd", vec![file]),
    ];
    let cases = cases
        .iter()
        .flat_map(|(at, to)| to.iter().map(move |to| (*at, *to)));
    for (number, (at, to)) in (11..).zip(cases) {
        let spec = with_link(&prison, number, at, to);
        let id = spec.id;
        let place = format!("{at} to {}", to.display());
        if fault(prison.house.client.create(spec)).is_none() {
            prison.house.end(id);
            let output = prison.house.output(id);
            assert!(!output.contains(" open "), "{place}: {output}");
            assert!(output.contains("canary shut"), "{place}: {output}");
        }
        assert_eq!(outside.contents(), before, "{place}");
    }
    // The same tree, walked as a program does that trusts it: the host's directory changes.
    let tree = prison.house.layer_path(11);
    symlink("/proc/kcore", tree.join("dev/kcore")).unwrap();
    assert_ne!(outside.contents(), before);
}

#[test]
fn the_kernels_places_are_directories_of_the_image_or_it_is_refused() {
    let prison = Prison::new();
    for (number, at) in [(1, "dev"), (2, "proc"), (3, "sys")] {
        let spec = with_link(&prison, number, at, Path::new("/tmp"));
        let refused = fault(prison.house.client.create(spec));
        let expected = format!("/{at}");
        assert!(
            matches!(&refused, Some(StartFault::Mount { target, .. }) if *target == expected),
            "{refused:?}"
        );
    }
}

#[test]
fn nothing_is_mounted_over_the_whole_root() {
    let prison = Prison::new();
    let name: allod_runtime::VolumeName = "data".parse().unwrap();
    prison.house.client.ensure_volume(name.clone()).unwrap();
    let mut spec = with_link(&prison, 1, "all", Path::new("/"));
    spec.volumes = vec![VolumeMount {
        name,
        target: "/all".into(),
        read_only: true,
        bytes_max: None,
    }];
    let refused = fault(prison.house.client.create(spec));
    assert!(
        matches!(refused, Some(StartFault::Mount { .. })),
        "{refused:?}"
    );
}

/// CVE-2024-21626: a working directory that is an open descriptor of the runtime.
#[test]
fn a_working_directory_is_no_descriptor_of_the_runtime() {
    let prison = Prison::new();
    let running = prison.spec(1, "exec sleep 1000");
    let id = running.id;
    prison.house.client.create(running).unwrap();
    let ways = (3..24)
        .flat_map(|fd| [format!("/proc/self/fd/{fd}"), format!("/dev/fd/{fd}")])
        .chain(["/proc/self/cwd", "/proc/self/root", "/proc/1/root"].map(String::from));
    for (number, way) in (100..).zip(ways) {
        let joining = ExecSpec {
            id,
            args: vec!["/probe".into(), "canary".into()],
            env: Vec::new(),
            user: None,
            working_dir: Some(way.clone()),
            terminal: None,
        };
        let refused = prison.house.client.exec(joining).map(drop);
        assert!(
            matches!(
                refused,
                Err(ClientError::Refused(Refusal::NotStarted {
                    cause: EndCause::StartFailed {
                        fault: StartFault::WorkingDirectory { .. }
                    }
                }))
            ),
            "{way}: {refused:?}"
        );
        let mut spec = prison.spec(number, "/probe canary");
        spec.working_dir = Some(way.clone());
        let refused = prison.house.client.create(spec).map(drop);
        assert!(
            matches!(refused, Err(ClientError::Refused(Refusal::Invalid { .. }))),
            "{way}: {refused:?}"
        );
    }
}

/// The same by a link of the image, with directories in the image where the kernel's files will be.
#[test]
fn a_working_directory_is_no_link_to_a_descriptor_of_the_runtime() {
    let prison = Prison::new();
    prison.house.lay(50, |root| {
        for fd in 3..16 {
            std::fs::create_dir_all(root.join(format!("proc/self/fd/{fd}"))).unwrap();
            symlink(format!("/proc/self/fd/{fd}"), root.join(format!("w{fd}"))).unwrap();
        }
    });
    for fd in 3..16u8 {
        let mut spec = prison.spec(fd, "/probe canary");
        spec.image.layers.push(House::layer(50));
        spec.working_dir = Some(format!("/w{fd}"));
        let refused = fault(prison.house.client.create(spec));
        assert!(
            matches!(refused, Some(StartFault::WorkingDirectory { .. })),
            "{fd}: {refused:?}"
        );
    }
    let mut spec = prison.spec(99, "exec sleep 1000");
    spec.image.layers.push(House::layer(50));
    let id = spec.id;
    prison.house.client.create(spec).unwrap();
    for fd in 3..16 {
        let joining = ExecSpec {
            id,
            args: vec!["/probe".into(), "canary".into()],
            env: Vec::new(),
            user: None,
            working_dir: Some(format!("/w{fd}")),
            terminal: None,
        };
        assert!(prison.house.client.exec(joining).is_err(), "{fd}");
    }
    // An ordinary link to an ordinary directory is no trick.
    let joining = ExecSpec {
        id,
        args: vec!["/bin/pwd".into()],
        env: Vec::new(),
        user: None,
        working_dir: Some("/home/app".into()),
        terminal: None,
    };
    assert_eq!(exec(&prison.house, joining), (0, "/home/app\n".to_owned()));
}

/// CVE-2021-30465: one container swaps a directory of a shared volume for a link while others are
/// made whose mounts go through it.
#[test]
fn a_volume_that_changes_meanwhile_leads_nowhere_outside_slow() {
    let prison = Prison::new();
    let outside = Outside::new();
    let before = outside.contents();
    let name: allod_runtime::VolumeName = "shared".parse().unwrap();
    prison.house.client.ensure_volume(name.clone()).unwrap();
    let volume = |target: &str| VolumeMount {
        name: name.clone(),
        target: target.into(),
        read_only: false,
        bytes_max: None,
    };
    let swap = format!(
        "mkdir -p /data/x/inner; ln -s {} /data/link; exec /probe swap /data/x /data/link",
        outside.path().display()
    );
    let mut swapper = prison.spec(1, &swap);
    swapper.volumes = vec![volume("/data")];
    let swapper_id = swapper.id;
    prison.house.client.create(swapper).unwrap();
    crate::house::until("it swaps", || prison.house.output(swapper_id) == "up");
    let (mut started, mut refused) = (0, 0);
    for number in 2..=250 {
        // Which of the two comes of a try is chance, and on a quiet machine forty in a row were seen to be of one kind.
        if number > 41 && started > 0 && refused > 0 {
            break;
        }
        let mut spec = prison.spec(number, "/probe canary; mount | grep -c /data/x");
        spec.volumes = vec![volume("/data")];
        spec.tmpfs = vec![TmpfsMount {
            target: "/data/x/inner".into(),
            bytes_max: 1 << 20,
            mode: 0o777,
        }];
        let id = spec.id;
        match fault(prison.house.client.create(spec)) {
            Some(_) => refused += 1,
            None => {
                prison.house.end(id);
                let output = prison.house.output(id);
                assert!(output.contains("shut"), "{output}");
                started += 1;
            }
        }
        assert_eq!(outside.contents(), before);
    }
    assert!(
        started > 0 && refused > 0,
        "{started} started, {refused} refused"
    );
}

/// Who a process is comes from the image's own plain files, whatever a workload puts there.
#[test]
fn users_are_read_from_plain_files_of_the_container() {
    let prison = Prison::new();
    let foreign = prison.house.path().join("passwd");
    std::fs::write(&foreign, "evil:x:0:0:evil:/:/bin/sh\n").unwrap();
    let script = format!(
        "cd /etc; ln -s {} host; ln -s ../../../../../..{0} up; ln -s /proc/self/environ kernel; \
         mknod pipe p; rm passwd; echo up; while :; do sleep 1; done",
        foreign.display()
    );
    let mut spec = prison.spec(1, &script);
    spec.env.push(allod_runtime::EnvVar {
        name: "evil:x:0:0:evil:/:/bin/sh\nX".into(),
        value: "1".into(),
    });
    let id = spec.id;
    let status = prison.house.client.create(spec).unwrap();
    crate::house::until("it is ready", || prison.house.output(id) == "up");
    let joining = |args: &[&str], user: Option<&str>| ExecSpec {
        id,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        user: user.map(str::to_owned),
        working_dir: None,
        terminal: None,
    };
    for link in ["host", "up", "kernel", "pipe"] {
        let put = joining(
            &["/bin/sh", "-c", &format!("mv /etc/{link} /etc/passwd")],
            None,
        );
        assert_eq!(exec(&prison.house, put).0, 0, "{link}");
        let refused = prison.house.client.exec(joining(&["true"], Some("evil")));
        assert!(
            matches!(
                refused,
                Err(ClientError::Refused(Refusal::NotStarted {
                    cause: EndCause::StartFailed {
                        fault: StartFault::UnknownUser { .. }
                    }
                }))
            ),
            "{link}"
        );
        if link == "host" {
            // Read by its path, the same file is the host's.
            let allod_runtime::Phase::Running { pid, .. } = status.phase else {
                panic!("{status:?}");
            };
            let naive = format!("/proc/{pid}/root/etc/passwd");
            assert!(std::fs::read_to_string(naive).unwrap().contains("evil"));
        }
    }
}
