//! Identities have one spelling, and impossible specifications are refused.

use super::*;

fn spec() -> WorkloadSpec {
    WorkloadSpec {
        id: WorkloadId {
            lease: [7; 32],
            epoch: 3,
        },
        app: [1; 32],
        hostname: "web".into(),
        service: "web".into(),
        image: Image {
            layers: vec![LayerId([2; 32])],
            entrypoint: vec!["/entry".into()],
            command: vec!["serve".into()],
            ..Image::default()
        },
        entrypoint: None,
        command: None,
        env: Vec::new(),
        user: None,
        working_dir: None,
        resources: Resources {
            cpu_milli: 500,
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
        stop_grace_ms: 1_000,
        logs: LogLimits::default(),
        until_boot_ms: None,
    }
}

#[test]
fn a_workload_has_one_spelling() {
    let id = WorkloadId {
        lease: [0xab; 32],
        epoch: 12,
    };
    assert_eq!(id.to_string().parse::<WorkloadId>().unwrap(), id);
    let padded = format!("{}-012", "ab".repeat(32));
    assert!(padded.parse::<WorkloadId>().is_err());
    assert!(
        format!("{}-12", "AB".repeat(32))
            .parse::<WorkloadId>()
            .is_err()
    );
    assert!("../../etc-1".parse::<WorkloadId>().is_err());
}

#[test]
fn tags_differ_by_installation_and_epoch() {
    let (one, two) = (
        InstallationId::derive(b"one"),
        InstallationId::derive(b"two"),
    );
    let id = WorkloadId {
        lease: [1; 32],
        epoch: 1,
    };
    let next = WorkloadId { epoch: 2, ..id };
    assert_eq!(id.tag(one).len(), 10);
    assert_ne!(id.tag(one), id.tag(two));
    assert_ne!(id.tag(one), next.tag(one));
    assert_eq!(one.to_string().parse::<InstallationId>().unwrap(), one);
}

#[test]
fn volume_names_cannot_leave_their_directory() {
    assert!("db-data_1.x".parse::<VolumeName>().is_ok());
    for bad in ["", "..", ".hidden", "a/b", "A", &"x".repeat(65)] {
        assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
    }
}

#[test]
fn overrides_of_the_command_follow_docker() {
    let mut spec = spec();
    assert_eq!(spec.args(), ["/entry", "serve"]);
    spec.command = Some(vec!["other".into()]);
    assert_eq!(spec.args(), ["/entry", "other"]);
    spec.command = None;
    spec.entrypoint = Some(vec!["/mine".into()]);
    assert_eq!(spec.args(), ["/mine"]);
}

#[test]
fn a_sound_specification_passes_and_survives_the_wire_without_showing_secrets() {
    let mut spec = spec();
    spec.env = vec![EnvVar {
        name: "TOKEN".into(),
        value: "hunter2".into(),
    }];
    assert_eq!(spec.check(), Ok(()));
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<WorkloadSpec>(&text).unwrap(), spec);
    assert!(!format!("{spec:?}").contains("hunter2"));
}

#[test]
fn impossible_specifications_are_refused_by_field() {
    type Spoil = fn(&mut WorkloadSpec);
    let cases: [(&str, Spoil); 9] = [
        ("hostname", |spec| spec.hostname = "a b".into()),
        ("cap_add", |spec| {
            spec.cap_add = vec!["CAP_SYS_ADMIN".into()]
        }),
        ("image.layers", |spec| spec.image.layers.clear()),
        ("resources.memory_bytes", |spec| {
            spec.resources.memory_bytes = 1
        }),
        ("resources.pids", |spec| spec.resources.pids = 0),
        ("stop_signal", |spec| {
            spec.stop_signal = Some("SIGNOTHING".into())
        }),
        ("working_dir", |spec| {
            spec.working_dir = Some("relative".into())
        }),
        ("target", |spec| spec.tmpfs = vec![tmpfs("/proc/x")]),
        ("volumes", |spec| {
            spec.tmpfs = vec![tmpfs("/a"), tmpfs("/a")]
        }),
    ];
    for (field, spoil) in cases {
        let mut spoiled = spec();
        spoil(&mut spoiled);
        assert_eq!(spoiled.check().unwrap_err().field, field);
    }
    for target in ["/", "/a/../b", "/a//b", "a", "/a/", "/dev"] {
        let mut spoiled = spec();
        spoiled.tmpfs = vec![tmpfs(target)];
        assert_eq!(spoiled.check().unwrap_err().field, "target", "{target}");
    }
}

fn tmpfs(target: &str) -> TmpfsMount {
    TmpfsMount {
        target: target.into(),
        bytes_max: 4096,
        mode: 0o755,
    }
}
