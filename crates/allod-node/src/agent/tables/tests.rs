//! What the doors are told when the host changes, and the apps do not.

use std::path::PathBuf;

use allod_net::resolver::Names;
use tempfile::TempDir;

use super::*;
use crate::agent::upstreams::Upstreams;

pub(in crate::agent) fn tables(dir: &TempDir, resolv_conf: PathBuf) -> Tables {
    let (runtime, kept) = (dir.path().join("runtime"), dir.path().join("lines"));
    Tables {
        routes: watch::Sender::default(),
        published: watch::Sender::default(),
        names: watch::Sender::default(),
        upstreams: Upstreams::of(resolv_conf),
        backends_of: BackendsOf::default(),
        lines: Arc::new(Lines::open(runtime, kept).unwrap()),
        picked: Arc::new(PickedPorts::open(dir.path().join("ports"))),
        last: None,
    }
}

/// The table of a node without apps.
fn asking(upstream: Option<&str>) -> Arc<Names> {
    let upstreams = upstream.map(|address| format!("{address}:53").parse().unwrap());
    Arc::new(Names::new(upstreams.into_iter().collect()))
}

#[test]
fn names_of_the_world_are_asked_of_whom_the_host_asks_now() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    // The machine has started before it has a network.
    let mut tables = tables(&dir, file.clone());
    let sight = Sight::default();
    tables.publish(&sight);
    assert_eq!(*tables.names.borrow(), asking(None));
    for address in ["192.0.2.1", "198.51.100.7"] {
        let beside = dir.path().join("beside");
        std::fs::write(&beside, format!("nameserver {address}\n")).unwrap();
        std::fs::rename(&beside, &file).unwrap();
        tables.look_at_host();
        tables.publish(&sight);
        assert_eq!(*tables.names.borrow(), asking(Some(address)));
    }

    // It is nowhere for a moment while another takes its place.
    std::fs::remove_file(&file).unwrap();
    tables.look_at_host();
    tables.publish(&sight);
    assert_eq!(*tables.names.borrow(), asking(Some("198.51.100.7")));
}
