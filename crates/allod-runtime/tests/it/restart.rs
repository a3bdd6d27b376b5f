//! The machine is restarted, or loses power: what ran is over, and what is on disk is made the best of.

use std::io::Write;

use allod_runtime::{
    ClientError, EndCause, Phase, Refusal, VolumeMount, VolumeName, WorkloadId, WorkloadSpec,
};

use crate::house::{House, until};

fn with_volume(house: &House, number: u8, script: &str) -> WorkloadSpec {
    let name: VolumeName = "data".parse().unwrap();
    house.client.ensure_volume(name.clone()).unwrap();
    let mut spec = house.spec(number, script);
    spec.volumes = vec![VolumeMount {
        name,
        target: "/data".into(),
        read_only: false,
        bytes_max: Some(1 << 30),
    }];
    spec
}

#[test]
fn after_a_restart_of_the_machine_nothing_runs_and_volumes_are_there() {
    let mut house = House::in_a_world();
    let runs = with_volume(&house, 1, "echo kept >/data/file; echo up; exec sleep 1000");
    let (ended, broken) = (house.spec(2, "exit 7"), house.spec(3, "exec sleep 1000"));
    let (runs_id, ended_id, broken_id) = (runs.id, ended.id, broken.id);
    house.client.create(runs).unwrap();
    until("it has written", || house.output(runs_id).contains("up"));
    house.run(ended);
    house.client.create(broken).unwrap();

    house.restart_machine();
    // Files are not synced: of the last that were written, some are empty, and one ends in the middle.
    let workloads = house.path().join("workloads");
    let place = |id: WorkloadId| workloads.join(id.to_string());
    for name in ["record.json", "status.json"] {
        std::fs::write(place(broken_id).join(name), "").unwrap();
    }
    let mut journal = std::fs::File::options();
    let journal = journal.append(true).open(house.path().join("journal"));
    journal
        .unwrap()
        .write_all(b"0123456789abcdef {\"mark\":\"beg")
        .unwrap();
    house.start_root();

    let listed = house.client.list().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    // What had ended had ended.
    let status = house.client.status(ended_id).unwrap();
    assert!(
        matches!(
            status.phase,
            Phase::Exited {
                cause: EndCause::Exited { code: 7 },
                ..
            }
        ),
        "{status:?}"
    );
    for id in [runs_id, broken_id] {
        let gone = house.client.status(id);
        assert!(
            matches!(gone, Err(ClientError::Refused(Refusal::NotFound { .. }))),
            "{gone:?}"
        );
        assert!(!place(id).exists());
    }
    // The next epoch finds its volume, and the network is there again.
    let mut next = with_volume(&house, 1, "cat /data/file; ip route; exec sleep 1000");
    next.id.epoch = 2;
    let next_id = next.id;
    house.client.create(next).unwrap();
    until("it has its volume and a network", || {
        let said = house.output(next_id);
        said.contains("kept") && said.contains("default via")
    });
    for id in [next_id, ended_id] {
        house.client.delete(id).unwrap();
    }
    assert_eq!(house.left_for_good(), []);
}
