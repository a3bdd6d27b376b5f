//! Coming, going, crashing, repairing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use allod_runtime::network::{Network, NetworkError, Object};

use super::world::{
    INTERNET, Sleeper, Tenant, app, connect_from_host, eventually, in_a_world, in_router,
    installation, ip, nft, run, workload,
};

#[test]
fn destroying_leaves_nothing() {
    in_a_world(|world| {
        let before = links();
        let (addresses, routes) = (ip("-4 -o addr"), ip("-4 route show table all"));
        let forwarding = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        assert_eq!(forwarding().trim(), "0");
        let network = world.network("a");
        assert_eq!(forwarding().trim(), "1");
        let tenant = Tenant::start(&network, app(1), 1);
        assert!(network.list().unwrap().len() > 5);
        network.destroy().unwrap();
        assert_eq!(network.list().unwrap(), []);
        assert_eq!(nft("list ruleset"), "");
        assert_eq!(links(), before);
        assert_eq!(
            (ip("-4 -o addr"), ip("-4 route show table all")),
            (addresses, routes)
        );
        assert_eq!(forwarding().trim(), "0");
        assert!(!tenant.sleeper.visit(|| ip("-o link")).contains("eth0"));
        let left = std::process::Command::new("find")
            .arg(world.directory())
            .args(["-type", "f", "-not", "-name", "network.lock"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let own = world.directory().to_str().unwrap();
        assert!(!mounts.contains(own), "{mounts}");
        network.destroy().unwrap();
    });
}

#[test]
fn forwarding_that_was_on_stays_on() {
    in_a_world(|world| {
        let setting = "/proc/sys/net/ipv4/ip_forward";
        std::fs::write(setting, "1").unwrap();
        world.network("a").destroy().unwrap();
        assert_eq!(std::fs::read_to_string(setting).unwrap().trim(), "1");
    });
}

#[test]
fn attaching_again_gives_the_same_and_repairs() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let listener = world.internet.listen(INTERNET);
        let again = || {
            network
                .attach(app(1), workload(1), tenant.sleeper.pid())
                .unwrap()
        };
        assert_eq!(again(), tenant.attachment);
        assert_eq!(
            network.attachment(&workload(1)).unwrap(),
            Some(tenant.attachment)
        );
        tenant.sleeper.visit(|| {
            ip("link set eth0 down");
            ip("addr flush dev eth0")
        });
        assert_eq!(again(), tenant.attachment);
        assert!(tenant.connect(&listener).is_connected());
        tenant.sleeper.visit(|| ip("link delete eth0"));
        assert_eq!(again(), tenant.attachment);
        assert!(tenant.connect(&listener).is_connected());
    });
}

#[test]
fn a_workload_moves_to_a_new_container_at_once() {
    in_a_world(|world| {
        let network = world.network("a");
        let first = Tenant::start(&network, app(1), 1);
        let second = Sleeper::container();
        let moved = network.attach(app(1), workload(1), second.pid()).unwrap();
        assert_eq!(moved, first.attachment);
        let listener = world.internet.listen(INTERNET);
        assert!(second.connect(&listener).is_connected());
        assert!(!first.sleeper.visit(|| ip("-o link")).contains("eth0"));
    });
}

#[test]
fn an_app_goes_with_its_last_workload() {
    in_a_world(|world| {
        let network = world.network("a");
        let empty = network.list().unwrap();
        let rules = || in_router(&network, || nft("list ruleset"));
        let bare = rules();
        let (first, second) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(1), 2),
        );
        network.detach(&first.workload).unwrap();
        network.sweep().unwrap();
        assert!(!first.sleeper.visit(|| ip("-o link")).contains("eth0"));
        let kept = |object: &Object| matches!(object, Object::Bridge { app: Some(_), .. });
        assert!(network.list().unwrap().iter().any(kept));
        assert!(connect_from_host(&second.listen()).is_connected());
        network.detach(&second.workload).unwrap();
        network.detach(&second.workload).unwrap();
        network.sweep().unwrap();
        network.sweep().unwrap();
        let left: Vec<Object> = network.list().unwrap();
        let addresses = |object: &Object| matches!(object, Object::File { path } if path.ends_with("addresses.json"));
        let left: Vec<Object> = left
            .into_iter()
            .filter(|object| !addresses(object))
            .collect();
        assert_eq!(left, empty);
        assert_eq!(rules(), bare);
    });
}

#[test]
fn what_left_is_kept_until_it_is_swept_and_may_come_back() {
    in_a_world(|world| {
        let network = world.network("a");
        let first = Tenant::start(&network, app(1), 1);
        network.detach(&first.workload).unwrap();
        assert_eq!(network.attachment(&first.workload).unwrap(), None);
        assert!(network.counters().unwrap().is_empty());
        let other = Tenant::start(&network, app(2), 2);
        assert_ne!(other.attachment.gateway, first.attachment.gateway);
        // It comes back before anybody swept: a sweep has nothing to say about it any more.
        let again = network
            .attach(app(1), workload(1), first.sleeper.pid())
            .unwrap();
        assert_eq!(again, first.attachment);
        network.detach(&other.workload).unwrap();
        network.sweep().unwrap();
        assert!(connect_from_host(&first.listen()).is_connected());
        let bridges = |object: &&Object| matches!(object, Object::Bridge { .. });
        assert_eq!(network.list().unwrap().iter().filter(bridges).count(), 1);
    });
}

#[test]
fn what_leaves_during_a_sweep_is_taken_out_of_the_rules_by_the_next() {
    in_a_world(|world| {
        let network = world.network("a");
        let rules = || in_router(&network, || nft("list ruleset"));
        let bare = rules();
        let tenants: Vec<Tenant> = (1..=20)
            .map(|number| Tenant::start(&network, app(number), number))
            .collect();
        let last = Tenant::start(&network, app(100), 100);
        for tenant in &tenants {
            network.detach(&tenant.workload).unwrap();
        }
        std::thread::scope(|scope| {
            let sweep = scope.spawn(|| network.sweep());
            // Its rules come first, then one bridge after the other.
            let bridges = |object: &Object| matches!(object, Object::Bridge { .. });
            let count = || network.list().unwrap().into_iter().filter(bridges).count();
            eventually("a bridge is gone", || count() <= tenants.len());
            network.detach(&last.workload).unwrap();
            sweep.join().unwrap().unwrap();
        });
        network.sweep().unwrap();
        assert_eq!(rules(), bare);
        let bridges = |object: &Object| matches!(object, Object::Bridge { .. });
        assert!(!network.list().unwrap().iter().any(bridges));
    });
}

#[test]
fn more_apps_than_subnets_may_come_and_go_between_two_sweeps() {
    in_a_world(|world| {
        let network = world.network("a");
        let sleeper = Sleeper::container();
        for number in 0..=255 {
            network
                .attach(app(number), workload(number), sleeper.pid())
                .unwrap();
            sleeper.visit(|| ip("link delete eth0"));
            network.detach(&workload(number)).unwrap();
        }
    });
}

#[test]
fn an_address_rests_before_it_is_given_again() {
    in_a_world(|world| {
        let network = world.network("a");
        let _keeps_the_app = Tenant::start(&network, app(1), 1);
        let mut seen: BTreeSet<Ipv4Addr> = BTreeSet::new();
        for number in 2..12 {
            let tenant = Tenant::start(&network, app(1), number);
            assert!(seen.insert(tenant.attachment.address), "given twice");
            network.detach(&tenant.workload).unwrap();
        }
    });
}

#[test]
fn a_process_without_a_network_of_its_own_is_refused() {
    in_a_world(|world| {
        let network = world.network("a");
        let before = links();
        // The host of this world is the test's thread, and not the process it belongs to.
        let host = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let mut host = Ended(host);
        let refused = network.attach(app(1), workload(1), host.0.id());
        assert!(
            matches!(refused, Err(NetworkError::NotIsolated { .. })),
            "{refused:?}"
        );
        host.0.kill().unwrap();
        host.0.wait().unwrap();
        let gone = network.attach(app(1), workload(1), host.0.id());
        assert!(
            matches!(gone, Err(NetworkError::ProcessGone { .. })),
            "{gone:?}"
        );
        assert_eq!(links(), before);
        assert_eq!(network.attachment(&workload(1)).unwrap(), None);
    });
}

#[test]
fn a_workload_of_another_app_is_refused() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let refused = network.attach(app(2), workload(1), tenant.sleeper.pid());
        assert!(
            matches!(refused, Err(NetworkError::OtherApp { .. })),
            "{refused:?}"
        );
    });
}

#[test]
fn another_process_adopts_everything() {
    in_a_world(|world| {
        let before = {
            let network = world.network("a");
            (Tenant::start(&network, app(1), 1), network.list().unwrap())
        };
        let network = world.open("a");
        assert_eq!(network.list().unwrap(), before.1);
        network.ensure().unwrap();
        assert_eq!(network.list().unwrap(), before.1);
        let listener = world.internet.listen(INTERNET);
        assert!(before.0.connect(&listener).is_connected());
        network.detach(&workload(1)).unwrap();
        assert_eq!(network.attachment(&workload(1)).unwrap(), None);
    });
}

#[test]
fn ensuring_repairs_link_bridge_and_leftovers() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let listener = world.internet.listen(INTERNET);
        let whole = network.list().unwrap();
        ip(&format!("link delete allod-{}", installation("a")));
        in_router(&network, || {
            ip("link add b-0123456789ab type bridge");
            ip("link add w-0123456789 type veth peer name stray")
        });
        assert_ne!(network.list().unwrap(), whole);
        network.ensure().unwrap();
        assert_eq!(network.list().unwrap(), whole);
        assert!(tenant.connect(&listener).is_connected());
    });
}

#[test]
fn rules_are_not_written_again_while_nothing_changes() {
    in_a_world(|world| {
        let network = world.network("a");
        let _tenant = Tenant::start(&network, app(1), 1);
        // Handles are numbers that each writing gives anew.
        let table = format!("-a list table inet allod_{}", installation("a"));
        let written = || run("nft", &table);
        let before = written();
        network.ensure().unwrap();
        assert_eq!(written(), before);
        ip("addr add 198.51.101.9/32 dev lo");
        network.ensure().unwrap();
        let with_address = written();
        assert_ne!(with_address, before);
        assert!(with_address.contains("198.51.101.9"));
        network.ensure().unwrap();
        assert_eq!(written(), with_address);
        network.repair().unwrap();
        assert_ne!(written(), with_address);

        nft("add table inet foreign");
        let before = written();
        network.ensure().unwrap();
        assert_ne!(written(), before, "who knows what else was changed");
        let before = written();
        let [a, b, ..] = network.host_address().unwrap().octets();
        ip(&format!("route del {a}.{b}.0.0/16"));
        network.ensure().unwrap();
        assert_ne!(written(), before);
        let before = written();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        network.ensure().unwrap();
        assert_ne!(written(), before);
    });
}

#[test]
fn a_lost_router_is_made_again_and_workloads_return_to_their_addresses() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let listener = world.internet.listen(INTERNET);
        let path = world.directory().join("a/run/router");
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
        eventually("the kernel clears the namespace away", || {
            !tenant.sleeper.visit(|| ip("-o link")).contains("eth0")
        });
        let sleeper = &tenant.sleeper;
        let refused = network.attach(app(1), workload(1), sleeper.pid());
        assert!(
            matches!(refused, Err(NetworkError::RouterMissing)),
            "{refused:?}"
        );
        network.ensure().unwrap();
        let attachment = network.attach(app(1), workload(1), sleeper.pid()).unwrap();
        assert_eq!(attachment, tenant.attachment);
        assert!(tenant.connect(&listener).is_connected());
    });
}

#[test]
fn an_ended_container_leaves_an_address_without_link() {
    in_a_world(|world| {
        let network = world.network("a");
        drop(Tenant::start(&network, app(1), 1));
        eventually("the link goes with its container", || {
            let objects = network.list().unwrap();
            objects.iter().any(|object| {
                matches!(
                    object,
                    Object::Address {
                        is_linked: false,
                        ..
                    }
                )
            })
        });
        assert!(network.counters().unwrap().is_empty());
        network.detach(&workload(1)).unwrap();
        assert_eq!(network.attachment(&workload(1)).unwrap(), None);
        network.sweep().unwrap();
        let address = |object: &Object| matches!(object, Object::Address { .. });
        assert!(!network.list().unwrap().iter().any(address));
    });
}

#[test]
fn a_block_avoids_what_the_host_uses() {
    in_a_world(|world| {
        let block = |network: &Network| network.host_address().unwrap().octets()[1];
        let first = world.network("a");
        let natural = block(&first);
        first.destroy().unwrap();
        ip(&format!("route add 10.{natural}.9.0/24 dev h-lan"));
        ip("route add 10.0.0.0/8 via 192.168.7.2");
        let second = world.network("a");
        assert_ne!(block(&second), natural);
        // What collides later makes it move, as long as nobody lives there.
        let chosen = block(&second);
        ip(&format!("route add 10.{chosen}.9.0/24 dev h-lan table 52"));
        second.ensure().unwrap();
        let moved = block(&second);
        assert!(moved != chosen && moved != natural);
        let tenant = Tenant::start(&second, app(1), 1);
        let listener = world.internet.listen(INTERNET);
        assert!(tenant.connect(&listener).is_connected());
        ip(&format!("route add 10.{moved}.9.0/24 dev h-lan"));
        assert_eq!(
            second.ensure().unwrap().len(),
            1,
            "somebody lives there: it is reported"
        );
        assert_eq!(block(&second), moved);
    });
}

#[test]
fn counters_are_the_containers_own_view() {
    in_a_world(|world| {
        let network = world.network("a");
        let (first, second) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(1), 2),
        );
        let socket = first
            .sleeper
            .visit(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
        let sink = (second.attachment.address, 9_999);
        let listener = second
            .sleeper
            .visit(|| std::net::UdpSocket::bind(sink).unwrap());
        let before = network.counters().unwrap();
        for _ in 0..100 {
            socket.send_to(&[7; 1_000], sink).unwrap();
        }
        listener.recv(&mut [0; 1_000]).unwrap();
        let mut grown = (0, 0);
        eventually("the counters move", || {
            let after = network.counters().unwrap();
            let sent = after[&first.workload].sent_bytes - before[&first.workload].sent_bytes;
            let received =
                after[&second.workload].received_bytes - before[&second.workload].received_bytes;
            grown = (sent, received);
            sent >= 100_000 && received >= 100_000
        });
        assert!(grown.0 < 150_000 && grown.1 < 150_000, "{grown:?}");
        let after = network.counters().unwrap();
        assert!(
            after[&first.workload].received_bytes < 50_000,
            "the other way hardly moved"
        );
    });
}

#[test]
fn workloads_that_come_at_once_get_addresses_of_their_own() {
    in_a_world(|world| {
        let network = world.network("a");
        let sleepers: Vec<Sleeper> = (0..8).map(|_| Sleeper::container()).collect();
        let addresses: BTreeSet<Ipv4Addr> = std::thread::scope(|scope| {
            let attach = |(number, sleeper): (u8, &Sleeper)| {
                let (network, pid) = (&network, sleeper.pid());
                let app = app(number % 2);
                scope.spawn(move || network.attach(app, workload(number), pid).unwrap().address)
            };
            let running: Vec<_> = (0..).zip(&sleepers).map(attach).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(addresses.len(), 8);
    });
}

/// The names of all links here; their states change by themselves.
fn links() -> Vec<String> {
    let named = |line: &str| line.split(':').nth(1).map(|name| name.trim().to_owned());
    ip("-o link").lines().filter_map(named).collect()
}

/// Ends a process also when the test fails.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
