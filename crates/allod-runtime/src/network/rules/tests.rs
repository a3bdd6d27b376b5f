//! What the text of the rules depends on. What the rules do is tried in `tests/network`.

use super::*;

fn facts<'a>(host_addresses: &'a [Prefix], elements: &'a [Element]) -> Facts<'a> {
    Facts {
        block: Block::choose(b"test", |_| true).unwrap(),
        host_link: "allod-01234567",
        host_addresses,
        elements,
    }
}

fn prefix(address: [u8; 4], length: u8) -> Prefix {
    Prefix {
        address: address.into(),
        length,
    }
}

#[test]
fn the_hosts_addresses_and_networks_are_denied() {
    let addresses = [
        prefix([203, 0, 113, 7], 24),
        prefix([8, 8, 4, 4], 32),
        prefix([1, 2, 3, 4], 1),
    ];
    let denied = facts(&addresses, &[]).denied();
    let denied: Vec<&str> = denied.split(", ").collect();
    for range in [
        "203.0.113.7/32",
        "203.0.113.0/24",
        "8.8.4.4/32",
        "1.2.3.4/32",
    ] {
        assert!(denied.contains(&range), "{range} in {denied:?}");
    }
    assert!(
        !denied.contains(&"0.0.0.0/1"),
        "half of the internet is no neighbourhood"
    );
    for range in [
        "10.0.0.0/8",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "224.0.0.0/3",
    ] {
        assert!(denied.contains(&range), "{range} in {denied:?}");
    }
}

#[test]
fn elements_stand_in_their_own_sets() {
    let elements = [
        Element::SameApp {
            bridge: "b-1".to_owned(),
        },
        Element::SameApp {
            bridge: "b-2".to_owned(),
        },
        Element::Bound {
            veth: "w-1".to_owned(),
            mac: [2, 0, 0, 0, 0, 255],
            address: Ipv4Addr::new(10, 64, 1, 2),
        },
    ];
    let same_app = "elements = { \"b-1\" . \"b-1\", \"b-2\" . \"b-2\" }";
    assert_eq!(set_elements(&elements, "same_app"), same_app);
    let bound = "elements = { \"w-1\" . 02:00:00:00:00:ff . 10.64.1.2 }";
    assert_eq!(set_elements(&elements, "bound"), bound);
    assert_eq!(set_elements(&elements, "gateways"), "");
}

#[test]
fn every_chain_and_set_with_contents_is_emptied_before_it_is_filled() {
    let ruleset = facts(&[], &[]).router_ruleset();
    let filled = ruleset.strip_prefix(ROUTER_SKELETON).unwrap();
    let mut count = 0;
    for line in filled.lines() {
        let mut words = line.split_ascii_whitespace();
        let (kind, name) = (words.next(), words.next());
        if let (Some(kind @ ("chain" | "set")), Some(name)) = (kind, name) {
            let flushed = ["inet", "bridge"]
                .map(|family| format!("flush {kind} {family} {ROUTER_TABLE} {name}\n"));
            assert!(
                flushed.iter().any(|line| ROUTER_SKELETON.contains(line)),
                "{kind} {name}"
            );
            count += 1;
        }
    }
    assert_eq!(count, 10);
}
