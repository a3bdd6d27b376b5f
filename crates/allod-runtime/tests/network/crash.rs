//! Killed at any moment, and gone on from there.

use std::process::{Command, Stdio};
use std::time::Duration;

use allod_runtime::network::{Directories, Network, Object};

use super::world::{
    INTERNET, Sleeper, Tenant, World, app, eventually, in_a_world, installation, nft, workload,
};

const DIRECTORY: &str = "ALLOD_TEST_NETWORK_DIRECTORY";
const CONTAINERS: &str = "ALLOD_TEST_NETWORK_CONTAINERS";
const ROUNDS: u64 = 20;

#[test]
fn whatever_a_killed_process_left_is_finished_or_removed() {
    in_a_world(|world| {
        let containers: Vec<Sleeper> = (0..4).map(|_| Sleeper::container()).collect();
        let listener = world.internet.listen(INTERNET);
        for round in 0..ROUNDS {
            // The moment moves through everything that the worker does.
            kill_a_worker(world, &containers, Duration::from_micros(10_700 * round));
            let network = world.network("a");
            for (number, container) in (0..).zip(&containers) {
                let app = app(number % 2);
                network
                    .attach(app, workload(number), container.pid())
                    .unwrap();
                assert!(container.connect(&listener).is_connected(), "round {round}");
            }
            let objects = network.list().unwrap();
            let links = objects.iter().filter(|object| {
                matches!(
                    object,
                    Object::Veth {
                        workload: Some(_),
                        ..
                    } | Object::Bridge { app: Some(_), .. }
                )
            });
            assert_eq!(links.count(), 6, "round {round}: {objects:?}");
            let strays = objects.iter().filter(|object| {
                matches!(
                    object,
                    Object::Veth { workload: None, .. } | Object::Bridge { app: None, .. }
                )
            });
            assert_eq!(strays.count(), 0, "round {round}: {objects:?}");
            if round % 4 == 3 {
                network.destroy().unwrap();
                assert_eq!(network.list().unwrap(), [], "round {round}");
                assert_eq!(nft("list ruleset"), "", "round {round}");
            }
        }
    });
}

fn kill_a_worker(world: &World, containers: &[Sleeper], after: Duration) {
    let pids: Vec<String> = containers
        .iter()
        .map(|sleeper| sleeper.pid().to_string())
        .collect();
    let started = world.directory().join("started");
    let _ = std::fs::remove_file(&started);
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "crash::works_until_it_is_killed"])
        .env(DIRECTORY, world.directory())
        .env(CONTAINERS, pids.join(" "))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the worker starts", || started.exists());
    std::thread::sleep(after);
    let ended = worker.try_wait().unwrap();
    assert_eq!(ended, None, "the worker works until it is killed");
    worker.kill().unwrap();
    worker.wait().unwrap();
}

/// Not a test: the process that the test above kills.
#[test]
#[ignore = "started by another test"]
fn works_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let directory = std::path::PathBuf::from(directory);
    let pids = std::env::var(CONTAINERS).unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    let (state, run) = (directory.join("a/state"), directory.join("a/run"));
    std::fs::write(directory.join("started"), "").unwrap();
    loop {
        let directories = Directories {
            state: state.clone(),
            run: run.clone(),
        };
        let network = Network::open(installation("a"), directories).unwrap();
        network.ensure().unwrap();
        for (number, pid) in (0..).zip(&pids) {
            network
                .attach(app(number % 2), workload(number), *pid)
                .unwrap();
        }
        for number in 0..4 {
            network.detach(&workload(number)).unwrap();
        }
        network.sweep().unwrap();
        network.destroy().unwrap();
    }
}

#[test]
fn a_lock_of_a_killed_process_is_free() {
    in_a_world(|world| {
        kill_a_worker(world, &[Sleeper::container()], Duration::from_millis(3));
        let network = world.network("a");
        assert!(Tenant::start(&network, app(1), 9).attachment.prefix_length == 24);
    });
}
