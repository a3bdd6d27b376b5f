//! What others take away from the network while workloads run, one look puts back.

use crate::world::{Tenant, app, connect_from_host, in_a_world, in_router, installation, ip};

/// Does each harm in the router, to a workload's link and its bridge; sees that no packet comes through, looks once, and
/// sees that they do again. In how many of them the workload was connected again.
fn heals(harms: fn(veth: &str, bridge: &str) -> Vec<String>) -> usize {
    let mut count = 0;
    in_a_world(|world| {
        let network = world.network("house");
        let tenant = Tenant::start(&network, app(1), 1);
        let listener = tenant.listen();
        let running = [(tenant.workload, tenant.sleeper.pid())];
        let veth = format!("w-{}", tenant.workload.tag(installation("house")));
        let bridges = in_router(&network, || ip("-brief link show type bridge"));
        let bridge = bridges.split(' ').next().unwrap();
        assert_eq!(network.tend(&running).unwrap().reconnected, []);
        for harm in harms(&veth, bridge) {
            assert!(connect_from_host(&listener).is_connected(), "{harm}");
            in_router(&network, || harm.split(", ").map(ip).for_each(drop));
            assert!(!connect_from_host(&listener).is_connected(), "{harm}");
            let tended = network.tend(&running).unwrap();
            assert!(connect_from_host(&listener).is_connected(), "{harm}");
            assert_eq!(tended.obstacles, [], "{harm}");
            count += tended.reconnected.len();
        }
        assert_eq!(network.tend(&running).unwrap().reconnected, []);
    });
    count
}

#[test]
fn a_router_that_has_lost_its_link_to_the_host_has_it_again() {
    let count = heals(|_, _| {
        vec![
            "link del uplink".to_owned(),
            "link set uplink down, link set uplink name gone".to_owned(),
        ]
    });
    assert_eq!(count, 0);
}

#[test]
fn a_workload_that_has_lost_its_link_or_its_bridge_is_connected_again() {
    let count = heals(|veth, bridge| {
        vec![
            format!("link del {veth}"),
            format!("link set {veth} nomaster"),
            format!("link del {bridge}"),
        ]
    });
    assert_eq!(count, 3);
}

#[test]
fn what_was_turned_off_is_turned_on() {
    heals(|veth, bridge| {
        ["uplink", veth, bridge]
            .map(|link| format!("link set {link} down"))
            .into()
    });
}
