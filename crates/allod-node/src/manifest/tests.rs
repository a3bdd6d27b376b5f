//! The encoding is frozen, total and canonical, and secrets do not show.

use std::net::Ipv4Addr;

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::*;

pub(crate) fn guestbook() -> Manifest {
    let data = Volume {
        bytes: 1 << 30,
        labels: BTreeMap::new(),
    };
    Manifest {
        app: "guestbook".into(),
        services: [("web".to_string(), web())].into(),
        volumes: [("data".to_string(), data)].into(),
    }
}

fn web() -> Service {
    Service {
        image: Image {
            reference: "guestbook:1".into(),
            digest: Some(format!("sha256:{}", "ab".repeat(32))),
            source: ImageSource::Registry,
        },
        entrypoint: None,
        command: Some(vec!["serve".into(), "--port=80".into()]),
        env: [("PASSWORD".to_string(), Hidden("hunter2".to_string()))].into(),
        working_dir: Some("/srv".into()),
        user: Some("1000:1000".into()),
        mounts: vec![Mount {
            volume: "data".into(),
            target: "/data".into(),
            read_only: false,
        }],
        tmpfs: vec![Tmpfs {
            target: "/tmp".into(),
            bytes_max: Some(1 << 20),
            mode: Some(0o1777),
        }],
        files: vec![secret()],
        ports: vec![published()],
        ingress: vec![Ingress {
            host: "web.guestbook.localhost".into(),
            port: 80,
            path: "/".into(),
        }],
        readiness: Some(healthz()),
        liveness: None,
        depends_on: [("redis".to_string(), Condition::Healthy)].into(),
        restart: Restart::OnFailure {
            retries_max: Some(5),
        },
        stop_signal: Some("SIGQUIT".into()),
        stop_grace_ms: 10_000,
        cap_add: ["CAP_NET_RAW".to_string()].into(),
        cap_drop: ["ALL".to_string()].into(),
        read_only: true,
        hostname: None,
        aliases: ["www".to_string()].into(),
        extra_hosts: [("db".to_string(), Ipv4Addr::new(10, 0, 0, 1).into())].into(),
        labels: [("team".to_string(), "acme".to_string())].into(),
        logs: Logs {
            file_bytes_max: 1 << 20,
            files_max: 3,
        },
        init: true,
        shm_bytes: Some(64 << 20),
        pids_max: Some(100),
    }
}

fn secret() -> File {
    File {
        target: "/run/secrets/key".into(),
        mode: 0o400,
        uid: 0,
        gid: 0,
        is_secret: true,
        bytes: Hidden(b"swordfish".to_vec()),
    }
}

fn published() -> Port {
    Port {
        container: 80,
        protocol: Protocol::Tcp,
        published: Some(Published {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            port: 8080,
        }),
    }
}

fn healthz() -> Probe {
    Probe {
        check: Check::Http {
            path: "/healthz".into(),
            port: 80,
        },
        interval_ms: 500,
        timeout_ms: 1_000,
        retries: 3,
        start_period_ms: 0,
        within_ms: 60_000,
    }
}

#[test]
fn encoding_is_frozen() {
    let bytes = guestbook().to_bytes();
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "f87ae73376606cef5711f0848837f085fda65248656788464133962c1752a8b0",
        "the encoding changed: raise VERSION, or put it back"
    );
    assert_eq!(Manifest::from_bytes(&bytes).unwrap(), guestbook());
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", guestbook());
    assert!(shown.contains("PASSWORD") && shown.contains("/run/secrets/key"));
    assert!(!shown.contains("hunter2") && !shown.contains("swordfish"));
    let bytes_as_list = format!("{:?}", b"swordfish");
    assert!(!shown.contains(&bytes_as_list));
}

#[test]
fn other_versions_and_trailing_bytes_are_refused() {
    let mut bytes = guestbook().to_bytes();
    bytes.push(0);
    assert!(matches!(
        Manifest::from_bytes(&bytes),
        Err(DecodeError::Body(_))
    ));
    bytes[0] = VERSION + 1;
    let refusal = Manifest::from_bytes(&bytes).unwrap_err();
    assert!(matches!(refusal, DecodeError::Version { found } if found == VERSION + 1));
    assert!(matches!(Manifest::from_bytes(&[]), Err(DecodeError::Empty)));
    let long = vec![VERSION; BYTES_MAX + 1];
    assert!(matches!(
        Manifest::from_bytes(&long),
        Err(DecodeError::TooLong { .. })
    ));
}

#[test]
fn services_out_of_order_are_refused() {
    let mut two = guestbook();
    let web = two.services["web"].clone();
    two.services = [("a".to_string(), web.clone()), ("b".to_string(), web)].into();
    let bytes = two.to_bytes();
    let name_of = |name: u8| [1, 0, 0, 0, name];
    let at = |name: u8| {
        bytes
            .windows(5)
            .position(|five| five == name_of(name))
            .unwrap()
    };
    let mut swapped = bytes.clone();
    swapped[at(b'a') + 4] = b'b';
    swapped[at(b'b') + 4] = b'a';
    assert!(Manifest::from_bytes(&bytes).is_ok());
    assert!(Manifest::from_bytes(&swapped).is_err());
}

#[test]
fn json_carries_every_field() {
    let json = serde_json::to_string(&guestbook()).unwrap();
    assert_eq!(
        serde_json::from_str::<Manifest>(&json).unwrap(),
        guestbook()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Manifest::from_bytes(&bytes);
        let mut versioned = vec![VERSION];
        versioned.extend(&bytes);
        if let Ok(manifest) = Manifest::from_bytes(&versioned) {
            assert_eq!(manifest.to_bytes(), versioned);
        }
    }

    #[test]
    fn a_damaged_manifest_is_refused_or_still_canonical(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = guestbook().to_bytes();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Ok(manifest) = Manifest::from_bytes(&bytes) {
            assert_eq!(manifest.to_bytes(), bytes);
        }
    }
}
