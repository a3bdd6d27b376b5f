//! Beside other firewalls on the same host.

use allod_runtime::network::{Network, Object, Obstacle};

use super::world::{INTERNET, Outcome, Tenant, World, app, in_a_world, nft, run};

fn docker(iptables: &str) {
    // What dockerd leaves behind at its start, as far as it matters here.
    run(iptables, "-P FORWARD DROP");
    run(iptables, "-N DOCKER-USER");
    run(iptables, "-A DOCKER-USER -j RETURN");
    run(iptables, "-A FORWARD -j DOCKER-USER");
    run(
        iptables,
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    );
}

fn forward_rules(network: &Network) -> Vec<String> {
    let objects = network.list().unwrap();
    objects
        .into_iter()
        .filter_map(|object| match object {
            Object::ForwardRule { chain } => Some(chain),
            _ => None,
        })
        .collect()
}

fn survives(world: &World, iptables: &str, prepare: fn(&str), chain: &str) {
    let network = world.network("a");
    let other = world.network("b");
    let tenant = Tenant::start(&network, app(1), 1);
    let listener = world.internet.listen(INTERNET);
    assert_eq!(forward_rules(&network), [""; 0]);

    prepare(iptables);
    let before = run(iptables, "-S");
    assert_eq!(
        tenant.connect(&listener),
        Outcome::Silence,
        "the firewall drops indeed"
    );
    for _ in 0..2 {
        assert_eq!(network.ensure().unwrap(), []);
        assert_eq!(forward_rules(&network), [chain, chain]);
    }
    assert!(tenant.connect(&listener).is_connected());
    other.ensure().unwrap();
    assert_eq!(forward_rules(&network), [chain, chain]);
    other.destroy().unwrap();
    assert_eq!(forward_rules(&network), [chain, chain]);
    assert!(tenant.connect(&listener).is_connected());

    network.destroy().unwrap();
    assert_eq!(run(iptables, "-S"), before);
}

#[test]
fn packets_flow_beside_docker() {
    in_a_world(|world| survives(world, "iptables", docker, "DOCKER-USER"));
}

#[test]
fn packets_flow_beside_docker_with_legacy_tables() {
    in_a_world(|world| survives(world, "iptables-legacy", docker, "DOCKER-USER (legacy)"));
}

#[test]
fn packets_flow_where_forwarding_is_closed_by_default() {
    fn close(iptables: &str) {
        run(iptables, "-P FORWARD DROP");
    }
    in_a_world(|world| survives(world, "iptables", close, "FORWARD"));
}

#[test]
fn packets_flow_where_legacy_forwarding_is_closed_by_default() {
    fn close(iptables: &str) {
        run(iptables, "-P FORWARD DROP");
    }
    in_a_world(|world| survives(world, "iptables-legacy", close, "FORWARD (legacy)"));
}

#[test]
fn rules_move_to_dockers_chain_when_docker_comes() {
    in_a_world(|world| {
        let network = world.network("a");
        run("iptables", "-P FORWARD DROP");
        network.ensure().unwrap();
        assert_eq!(forward_rules(&network), ["FORWARD", "FORWARD"]);
        docker("iptables");
        network.ensure().unwrap();
        assert_eq!(forward_rules(&network), ["DOCKER-USER", "DOCKER-USER"]);
        run("iptables", "-F FORWARD");
        run("iptables", "-P FORWARD ACCEPT");
        network.ensure().unwrap();
        assert_eq!(forward_rules(&network), [""; 0]);
    });
}

#[test]
fn an_operators_firewall_is_named_and_left_alone() {
    in_a_world(|world| {
        let network = world.network("a");
        nft("add table inet mine");
        nft("add chain inet mine forward { type filter hook forward priority 0 ; policy drop ; }");
        let before = nft("list table inet mine");
        let obstacles = network.ensure().unwrap();
        assert!(
            matches!(&obstacles[..], [Obstacle::ForwardDropped { table, .. }] if table == "mine"),
            "{obstacles:?}"
        );
        assert_eq!(nft("list table inet mine"), before);
    });
}

#[test]
fn a_flushed_firewall_is_written_again() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let listener = world.internet.listen(INTERNET);
        let before = nft("list ruleset");
        nft("flush ruleset");
        assert!(
            !tenant.connect(&listener).is_connected(),
            "nothing masquerades"
        );
        network.ensure().unwrap();
        assert_eq!(nft("list ruleset"), before);
        assert!(tenant.connect(&listener).is_connected());
    });
}

#[test]
fn a_host_that_has_all_programs_lacks_none() {
    in_a_world(|_| {
        run("iptables-legacy", "-S");
        assert!(Network::missing_tools().is_empty());
    });
}
