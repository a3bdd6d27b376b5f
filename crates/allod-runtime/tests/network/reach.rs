//! Who reaches whom. Each denial is tried again with a hole in the rules, and seen to succeed:
//! it was the rules that denied it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::world::{
    HOST_ON_LAN, HOST_PUBLIC, INTERNET, LAN, METADATA, Outcome, PROVIDER, Tenant, app,
    connect_from_host, in_a_world, in_router, installation, ip, listen, nft, open_host,
    open_router,
};

#[test]
fn workloads_of_one_app_reach_each_other() {
    in_a_world(|world| {
        let network = world.network("a");
        let (first, second) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(1), 2),
        );
        assert_ne!(first.attachment.address, second.attachment.address);
        let address = first.attachment.address;
        assert_eq!(first.connect(&second.listen()), Outcome::Connected(address));
        let address = second.attachment.address;
        assert_eq!(second.connect(&first.listen()), Outcome::Connected(address));
        assert_eq!(
            first.connect(&first.sleeper.listen(Ipv4Addr::LOCALHOST)),
            Outcome::Connected(Ipv4Addr::LOCALHOST)
        );
    });
}

#[test]
fn workloads_of_one_app_reach_each_other_where_bridges_pass_the_ip_rules() {
    in_a_world(|world| {
        let network = world.network("a");
        in_router(&network, || {
            let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            std::fs::write(setting, "1").unwrap();
        });
        let (first, second) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(1), 2),
        );
        assert!(first.connect(&second.listen()).is_connected());
    });
}

#[test]
fn workloads_of_different_apps_do_not_reach_each_other() {
    in_a_world(|world| {
        let network = world.network("a");
        let (ours, theirs) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(2), 2),
        );
        let listener = theirs.listen();
        assert_eq!(ours.connect(&listener), Outcome::Prohibited);
        // Each layer holds alone: the packet filter, and what the router routes at all.
        let route_all = || in_router(&network, || ip("rule del pref 103"));
        route_all();
        assert_eq!(ours.connect(&listener), Outcome::Prohibited);
        network.repair().unwrap();
        open_router(&network);
        assert_eq!(ours.connect(&listener), Outcome::Prohibited);
        route_all();
        assert!(ours.connect(&listener).is_connected());
    });
}

#[test]
fn a_tenant_reaches_no_address_of_the_host() {
    in_a_world(|world| {
        let network = world.network("a");
        ip("addr add 198.51.101.9/32 dev lo");
        network.ensure().unwrap();
        let tenant = Tenant::start(&network, app(1), 1);
        let link = network.host_address().unwrap();
        let listener = listen(Ipv4Addr::UNSPECIFIED);
        let addresses = [
            HOST_PUBLIC,
            HOST_ON_LAN,
            link,
            Ipv4Addr::new(198, 51, 101, 9),
        ];
        let all = |is_right: fn(&Outcome) -> bool, when: &str| {
            for address in addresses {
                let outcome = tenant.sleeper.connect_at(address, &listener);
                assert!(is_right(&outcome), "{address} {when}: {outcome:?}");
            }
        };
        all(|outcome| *outcome == Outcome::Prohibited, "with all rules");
        open_router(&network);
        all(
            |outcome| *outcome == Outcome::Silence,
            "with the host's rules alone",
        );
        open_host("a");
        all(Outcome::is_connected, "without rules");
        network.ensure().unwrap();
        all(
            |outcome| *outcome == Outcome::Prohibited,
            "with all rules again",
        );
        nft(&format!("delete table inet allod_{}", installation("a")));
        all(
            |outcome| *outcome == Outcome::Prohibited,
            "with the router's rules alone",
        );
    });
}

#[test]
fn a_new_address_of_the_host_is_closed_before_the_router_knows_it() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        ip("addr add 198.51.101.9/32 dev lo");
        let listener = listen(Ipv4Addr::new(198, 51, 101, 9));
        assert_eq!(tenant.connect(&listener), Outcome::Silence);
        open_host("a");
        assert!(tenant.connect(&listener).is_connected());
    });
}

#[test]
fn a_tenant_reaches_nothing_private_and_no_neighbour_of_the_host() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let places = [
            (&world.lan, LAN),
            (&world.lan, METADATA),
            (&world.internet, PROVIDER),
        ];
        let listeners = places.map(|(place, address)| place.listen(address));
        let all = |is_right: fn(&Outcome) -> bool, when: &str| {
            for listener in &listeners {
                let outcome = tenant.connect(listener);
                assert!(is_right(&outcome), "{listener:?} {when}: {outcome:?}");
            }
        };
        all(|outcome| *outcome == Outcome::Prohibited, "with all rules");
        open_router(&network);
        all(
            |outcome| *outcome == Outcome::Silence,
            "with the host's rules alone",
        );
        open_host("a");
        all(Outcome::is_connected, "without rules");
    });
}

#[test]
fn a_tenant_reaches_the_internet_under_the_hosts_address() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let listener = world.internet.listen(INTERNET);
        assert_eq!(tenant.connect(&listener), Outcome::Connected(HOST_PUBLIC));
        let echo = world
            .internet
            .visit(|| UdpSocket::bind((INTERNET, 0)).unwrap());
        assert!(is_answered(&tenant, &echo), "datagrams too");
    });
}

#[test]
fn nobody_outside_reaches_a_tenant() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let listener = tenant.listen();
        world
            .internet
            .visit(|| ip(&format!("route add 10.0.0.0/8 via {HOST_PUBLIC}")));
        assert!(world.internet.connect(&listener).is_denied());
        assert!(world.lan.connect(&listener).is_denied());
        open_host("a");
        assert!(
            world.lan.connect(&listener).is_denied(),
            "the router's rules alone"
        );
        open_router(&network);
        assert!(world.lan.connect(&listener).is_connected());
        assert!(world.internet.connect(&listener).is_connected());
    });
}

#[test]
fn host_processes_reach_a_tenant_directly() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let host = network.host_address().unwrap();
        assert_eq!(
            connect_from_host(&tenant.listen()),
            Outcome::Connected(host)
        );
    });
}

#[test]
fn installations_do_not_reach_each_other_and_leave_each_other_alone() {
    in_a_world(|world| {
        let (ours, theirs) = (world.network("a"), world.network("b"));
        let our_tenant = Tenant::start(&ours, app(1), 1);
        let their_tenant = Tenant::start(&theirs, app(1), 1);
        let listener = their_tenant.listen();
        assert_eq!(our_tenant.connect(&listener), Outcome::Prohibited);
        open_router(&ours);
        assert!(our_tenant.connect(&listener).is_denied());
        open_host("a");
        assert!(
            our_tenant.connect(&listener).is_denied(),
            "the others' rules alone"
        );
        open_router(&theirs);
        open_host("b");
        assert!(our_tenant.connect(&listener).is_connected());

        let before = theirs.list().unwrap();
        ours.destroy().unwrap();
        assert_eq!(theirs.list().unwrap(), before);
        let internet = world.internet.listen(INTERNET);
        assert!(their_tenant.connect(&internet).is_connected());
    });
}

#[test]
fn installations_that_begin_at_once_do_not_share_addresses() {
    in_a_world(|world| {
        // Names of installations that would all choose the same block.
        let mut seeds = (0..).map(|number| format!("i{number}"));
        let natural = |seed: &str| {
            let network = world.network(seed);
            let block = network.host_address().unwrap();
            network.destroy().unwrap();
            block
        };
        let first = seeds.next().unwrap();
        let wanted = natural(&first);
        let second = seeds.find(|seed| natural(seed) == wanted).unwrap();
        let start = std::sync::Barrier::new(2);
        let begin = |seed: &str| {
            let network = world.open(seed);
            start.wait();
            network.ensure().unwrap();
            network.host_address().unwrap()
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| begin(&first));
            (begin(&second), one.join().unwrap())
        });
        assert_ne!(one, other);
        assert!(one == wanted || other == wanted);
    });
}

#[test]
fn a_workload_sends_only_from_its_own_address() {
    in_a_world(|world| {
        let network = world.network("a");
        let (liar, other) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(1), 2),
        );
        let listener = other.listen();
        assert!(liar.connect(&listener).is_connected());
        let [a, b, c, _] = liar.attachment.address.octets();
        let stolen = Ipv4Addr::new(a, b, c, 77);
        // All traffic to the neighbour now leaves from the stolen address.
        liar.sleeper.visit(|| {
            ip(&format!("addr add {stolen}/24 dev eth0"));
            let neighbour = other.attachment.address;
            ip(&format!("route add {neighbour}/32 dev eth0 src {stolen}"));
        });
        assert!(liar.connect(&listener).is_denied());
        in_router(&network, || {
            nft("insert rule bridge allod prerouting ether type ip accept");
        });
        assert!(
            liar.connect(&listener).is_denied(),
            "it cannot claim the address"
        );
        in_router(&network, || {
            nft("insert rule bridge allod prerouting ether type arp accept");
        });
        other.sleeper.visit(|| ip("neigh flush all"));
        assert_eq!(liar.connect(&listener), Outcome::Connected(stolen));
    });
}

#[test]
fn a_workload_sends_only_from_its_own_hardware_address() {
    in_a_world(|world| {
        let network = world.network("a");
        let (liar, other) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(1), 2),
        );
        let listener = other.listen();
        liar.sleeper
            .visit(|| ip("link set eth0 address 02:00:00:00:00:07"));
        assert!(liar.connect(&listener).is_denied());
        in_router(&network, || {
            nft("insert rule bridge allod prerouting accept")
        });
        // Its neighbour asked in vain meanwhile, and would believe it gone for a while.
        other.sleeper.visit(|| ip("neigh flush all"));
        liar.sleeper.visit(|| ip("neigh flush all"));
        assert!(liar.connect(&listener).is_connected());
    });
}

#[test]
fn a_workload_has_no_ipv6() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        assert_eq!(tenant.sleeper.visit(|| ip("-6 addr show")).trim(), "");
        assert_eq!(in_router(&network, || ip("-6 addr show")).trim(), "");
    });
}

#[test]
fn the_resolver_of_an_app_hears_that_app_alone() {
    in_a_world(|world| {
        let network = world.network("a");
        let (ours, theirs) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(2), 2),
        );
        let resolver = network.resolver_sockets(&app(1)).unwrap();
        assert_eq!(*resolver.address.ip(), ours.attachment.gateway);
        assert_eq!(resolver.address.port(), 53);
        assert!(is_answered(&ours, &resolver.udp));
        assert_eq!(
            ours.connect(&resolver.tcp),
            Outcome::Connected(ours.attachment.address)
        );
        assert!(!is_answered(&theirs, &resolver.udp));
        assert_eq!(theirs.connect(&resolver.tcp), Outcome::Prohibited);
        assert!(
            network.resolver_sockets(&app(3)).is_err(),
            "an app without workloads"
        );

        let stranger = in_router(&network, || listen(ours.attachment.gateway));
        assert_eq!(
            ours.connect(&stranger),
            Outcome::Prohibited,
            "another port of the gateway"
        );
    });
}

#[test]
fn a_resolver_answers_over_a_connection() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let resolver = network.resolver_sockets(&app(1)).unwrap();
        let address = SocketAddr::from(resolver.address);
        let mut question = tenant
            .sleeper
            .visit(|| TcpStream::connect(address).unwrap());
        let (mut answer, _) = resolver.tcp.accept().unwrap();
        answer.write_all(b"answer").unwrap();
        drop(answer);
        let mut heard = String::new();
        question.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "answer");
    });
}

#[test]
fn one_workload_cannot_use_up_the_connections_of_all() {
    in_a_world(|world| {
        let network = world.network("a");
        let greedy = Tenant::start(&network, app(1), 1);
        let modest = Tenant::start(&network, app(2), 2);
        let listener = world.internet.listen(INTERNET);
        assert!(greedy.connect(&listener).is_connected());
        let socket = greedy
            .sleeper
            .visit(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        for port in 1..=8_300 {
            // A refusal of an earlier datagram may be told here; it takes nothing back.
            let _ = socket.send_to(b"hello", (INTERNET, port));
        }
        assert_eq!(greedy.connect(&listener), Outcome::Prohibited);
        assert!(modest.connect(&listener).is_connected());
        let neighbour = Tenant::start(&network, app(1), 3);
        assert!(greedy.connect(&neighbour.listen()).is_connected());
    });
}

#[test]
fn questions_to_the_resolver_leave_no_trace_among_the_connections() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let resolver = network.resolver_sockets(&app(1)).unwrap();
        let count = || -> usize {
            let path = "/proc/sys/net/netfilter/nf_conntrack_count";
            let text = in_router(&network, || std::fs::read_to_string(path).unwrap());
            text.trim().parse().unwrap()
        };
        let grown = || {
            let before = count();
            for _ in 0..20 {
                assert!(is_answered(&tenant, &resolver.udp));
            }
            count().saturating_sub(before)
        };
        // The kernel says a thing or two by itself meanwhile.
        assert!(grown() < 10);
        in_router(&network, || nft("flush chain inet allod untracked_in"));
        assert!(grown() >= 10);
    });
}

/// Whether a datagram of the tenant arrives, and an answer to it returns.
fn is_answered(tenant: &Tenant, at: &UdpSocket) -> bool {
    let patience = Some(Duration::from_millis(1_500));
    at.set_read_timeout(patience).unwrap();
    let socket = tenant
        .sleeper
        .visit(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    socket.set_read_timeout(patience).unwrap();
    if socket
        .send_to(b"question", at.local_addr().unwrap())
        .is_err()
    {
        return false;
    }
    let mut buffer = [0; 16];
    let Ok((count, peer)) = at.recv_from(&mut buffer) else {
        return false;
    };
    assert_eq!(&buffer[..count], b"question");
    at.send_to(b"answer", peer).unwrap();
    let count = socket.recv(&mut buffer).unwrap();
    &buffer[..count] == b"answer"
}

/// Listens for datagrams and answers, in the calling thread's network.
fn datagrams_at(address: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((address, 0)).unwrap()
}

#[test]
fn datagrams_of_a_tenant_reach_nothing_private_either_slow() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let link_local = Ipv4Addr::new(169, 254, 7, 7);
        world
            .lan
            .visit(|| ip(&format!("addr add {link_local}/32 dev eth0")));
        ip(&format!("route add {link_local} via {LAN}"));
        let places = [
            datagrams_at(HOST_PUBLIC),
            datagrams_at(HOST_ON_LAN),
            datagrams_at(network.host_address().unwrap()),
            world.lan.visit(|| datagrams_at(LAN)),
            world.lan.visit(|| datagrams_at(METADATA)),
            world.lan.visit(|| datagrams_at(link_local)),
            world.internet.visit(|| datagrams_at(PROVIDER)),
        ];
        for place in &places {
            assert!(!is_answered(&tenant, place), "{place:?} with all rules");
        }
        open_router(&network);
        for place in &places {
            assert!(!is_answered(&tenant, place), "{place:?} with the host's");
        }
        open_host("a");
        for place in &places {
            assert!(is_answered(&tenant, place), "{place:?} without rules");
        }
    });
}

#[test]
fn a_tenant_reaches_no_port_of_the_router() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let other = Tenant::start(&network, app(2), 2);
        let listener = in_router(&network, || listen(Ipv4Addr::UNSPECIFIED));
        let [a, b, c, d] = network.host_address().unwrap().octets();
        let uplink = Ipv4Addr::new(a, b, c, d + 1);
        let addresses = [tenant.attachment.gateway, other.attachment.gateway, uplink];
        for address in addresses {
            let outcome = tenant.sleeper.connect_at(address, &listener);
            assert_eq!(outcome, Outcome::Prohibited, "{address}");
        }
        open_router(&network);
        for address in addresses {
            let outcome = tenant.sleeper.connect_at(address, &listener);
            assert!(outcome.is_connected(), "{address}: {outcome:?}");
        }
    });
}

#[test]
fn what_a_tenant_calls_out_to_all_stays_in_its_app_slow() {
    in_a_world(|world| {
        let network = world.network("a");
        let tenant = Tenant::start(&network, app(1), 1);
        let stranger = Tenant::start(&network, app(2), 2);
        let group = Ipv4Addr::new(224, 0, 0, 251);
        let hear = |address: Ipv4Addr| {
            let socket = datagrams_at(Ipv4Addr::UNSPECIFIED);
            socket.join_multicast_v4(&group, &address).unwrap();
            let patience = Some(Duration::from_millis(500));
            socket.set_read_timeout(patience).unwrap();
            socket
        };
        let in_the_router = in_router(&network, || hear(tenant.attachment.gateway));
        let of_the_stranger = stranger.sleeper.visit(|| hear(stranger.attachment.address));
        let on_the_host = hear(network.host_address().unwrap());
        let call = |to: &UdpSocket| {
            let port = to.local_addr().unwrap().port();
            tenant.sleeper.visit(|| {
                let socket = datagrams_at(tenant.attachment.address);
                let _ = socket.send_to(b"anybody?", (group, port));
            });
            to.recv_from(&mut [0; 16]).is_ok()
        };
        assert!(!call(&in_the_router) && !call(&of_the_stranger) && !call(&on_the_host));
        open_router(&network);
        assert!(call(&in_the_router), "without rules, the router hears it");
        // Nothing forwards it further, rules or none: it was sent for one link.
        assert!(!call(&of_the_stranger) && !call(&on_the_host));
    });
}

#[test]
fn the_newer_protocol_passes_no_bridge() {
    in_a_world(|world| {
        let network = world.network("a");
        let (one, other) = (
            Tenant::start(&network, app(1), 1),
            Tenant::start(&network, app(1), 2),
        );
        // As a tenant with rights over its network could do, which none has.
        for (tenant, address) in [(&one, "fd00::1"), (&other, "fd00::2")] {
            tenant.sleeper.visit(|| {
                let setting = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";
                std::fs::write(setting, "0").unwrap();
                ip(&format!("-6 addr add {address}/64 dev eth0 nodad"));
            });
        }
        let listener = other
            .sleeper
            .visit(|| std::net::TcpListener::bind("[fd00::2]:0").unwrap());
        let address = listener.local_addr().unwrap();
        let connect = || {
            one.sleeper.visit(|| {
                ip("-6 neigh flush all");
                TcpStream::connect_timeout(&address, Duration::from_millis(1_500)).is_ok()
            })
        };
        assert!(!connect());
        in_router(&network, || {
            nft("insert rule bridge allod prerouting accept");
        });
        assert!(connect());
    });
}
