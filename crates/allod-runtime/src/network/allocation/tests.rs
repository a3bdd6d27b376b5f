//! Giving out addresses and remembering them.

use super::*;

fn block() -> Block {
    Block::choose(b"test", |_| true).unwrap()
}

fn app(number: u8) -> AppTag {
    AppTag([number; 32])
}

fn workload(number: u64) -> WorkloadId {
    WorkloadId {
        lease: [9; 32],
        epoch: number,
    }
}

fn release(all: &mut Allocations, number: u64) {
    all.leave(&workload(number));
    for place in all.leaving(block()) {
        all.free(&place);
    }
}

#[test]
fn a_leaving_app_keeps_its_subnet_and_a_leaving_workload_its_address() {
    let mut all = Allocations::default();
    let first = all.place(block(), app(1), workload(1)).unwrap();
    let second = all.place(block(), app(1), workload(2)).unwrap();
    all.leave(&workload(1));
    assert_eq!(all.leaving_apps(block()), [], "one stays in it");
    all.leave(&workload(2));
    assert_eq!(all.leaving_apps(block()), [(app(1), first.subnet)]);
    let other = all.place(block(), app(2), workload(3)).unwrap();
    assert_ne!(other.subnet, first.subnet);
    assert_eq!(all.place(block(), app(1), workload(2)).unwrap(), second);
    let third = all.place(block(), app(1), workload(4)).unwrap();
    assert_ne!(third.address, first.address);
    assert_eq!(all.leaving(block()), [first], "the second came back");
    assert_eq!(all.leaving_apps(block()), []);
    all.free(&first);
    assert_eq!(all.leaving(block()), []);
}

#[test]
fn a_bridge_goes_once_the_rules_do_not_know_its_app() {
    let mut all = Allocations::default();
    let first = all.place(block(), app(1), workload(1)).unwrap();
    all.leave(&workload(1));
    assert_eq!(all.bridge_only(), None, "the rules know it");
    all.unruled(&app(1));
    assert_eq!(all.bridge_only(), Some(app(1)));
    assert_eq!(all.leaving(block()), [], "nothing more to do in the rules");
    assert_eq!(all.leaving_apps(block()), []);
    assert_eq!(all.place(block(), app(1), workload(1)).unwrap(), first);
    assert_eq!(all.bridge_only(), None, "it came back");
    all.leave(&workload(1));
    assert_eq!(all.leaving_apps(block()), [(app(1), first.subnet)]);
    all.unruled(&app(1));
    all.place(block(), app(1), workload(2)).unwrap();
    assert_eq!(all.bridge_only(), None, "another came");
}

#[test]
fn a_place_is_kept_until_it_is_released() {
    let mut all = Allocations::default();
    let first = all.place(block(), app(1), workload(1)).unwrap();
    assert_eq!(all.place(block(), app(1), workload(1)).unwrap(), first);
    assert_eq!(all.find(block(), &workload(1)), Some(first));
    assert!(all.leave(&workload(1)));
    assert_eq!(all.find(block(), &workload(1)), None);
    assert!(!all.leave(&workload(1)), "it leaves once");
    assert!(!all.is_empty(), "it is not swept yet");
    all.free(&first);
    assert!(all.is_empty());
}

#[test]
fn a_subnet_rests_before_another_app_gets_it() {
    let mut all = Allocations::default();
    let first = all.place(block(), app(1), workload(1)).unwrap();
    release(&mut all, 1);
    let second = all.place(block(), app(2), workload(2)).unwrap();
    assert_ne!(first.subnet, second.subnet);
}

#[test]
fn apps_end_where_subnets_end() {
    let mut all = Allocations::default();
    for number in 1..=255 {
        all.place(block(), app(number), workload(number.into()))
            .unwrap();
    }
    let refused = all.place(block(), app(0), workload(0));
    assert!(matches!(
        refused,
        Err(NetworkError::AppsExhausted { limit: 255 })
    ));
    release(&mut all, 77);
    let place = all.place(block(), app(0), workload(0)).unwrap();
    assert_eq!(place.subnet, block().subnet(77));
}

#[test]
fn workloads_end_where_addresses_end() {
    let mut all = Allocations::default();
    let addresses: std::collections::BTreeSet<Ipv4Addr> = (0..253)
        .map(|number| {
            all.place(block(), app(1), workload(number))
                .unwrap()
                .address
        })
        .collect();
    assert_eq!(addresses.len(), 253);
    let subnet = all.subnets(block()).next().unwrap().1;
    for reserved in [0, 1, 255] {
        assert!(!addresses.contains(&subnet.address(reserved)));
    }
    let refused = all.place(block(), app(1), workload(253));
    assert!(matches!(
        refused,
        Err(NetworkError::AddressesExhausted { limit: 253, .. })
    ));
}

#[test]
fn what_is_saved_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("addresses.json");
    let mut all = Allocations::load(&path).unwrap();
    assert!(all.is_empty());
    all.place(block(), app(1), workload(1)).unwrap();
    all.save(&path).unwrap();
    assert_eq!(Allocations::load(&path).unwrap(), all);
}

#[test]
fn what_an_earlier_boot_wrote_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("addresses.json");
    let mut all = Allocations::load(&path).unwrap();
    all.place(block(), app(1), workload(1)).unwrap();
    "another boot".clone_into(&mut all.boot);
    all.save(&path).unwrap();
    assert!(Allocations::load(&path).unwrap().is_empty());
}

#[test]
fn a_damaged_file_is_an_error_and_not_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("addresses.json");
    fs::write(&path, b"{").unwrap();
    let refused = Allocations::load(&path);
    assert!(matches!(refused, Err(NetworkError::StateDamaged { .. })));
}

#[test]
fn a_lock_on_a_removed_file_is_taken_on_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let first = Lock::take(&path).unwrap();
    let (started, wait) = std::sync::mpsc::sync_channel(1);
    let waiter = std::thread::spawn({
        let path = path.clone();
        move || {
            started.send(()).unwrap();
            Lock::take(&path).unwrap()
        }
    });
    wait.recv().unwrap();
    fs::remove_file(&path).unwrap();
    drop(first);
    let _second = waiter.join().unwrap();
    let named = File::open(&path).unwrap();
    assert!(matches!(
        named.try_lock(),
        Err(fs::TryLockError::WouldBlock)
    ));
}
