//! Inner links: by tables of links as the kernel gives them, and once the kernel's own.

use super::*;

fn kinds(links: &[(u32, &str, &str, Option<u32>)]) -> BTreeMap<u32, Kind> {
    let kind = |&(index, name, made_as, master): &(u32, &str, &str, Option<u32>)| {
        let (name, made_as) = (name.to_owned(), made_as.to_owned());
        let kind = Kind {
            name,
            made_as,
            master,
        };
        (index, kind)
    };
    links.iter().map(kind).collect()
}

#[test]
fn links_to_containers_and_virtual_machines_are_inner_and_those_to_others_are_not() {
    let links = kinds(&[
        (1, "lo", "", None),
        (2, "enp3s0", "", None),
        (3, "docker0", "bridge", None),
        (4, "vethab12", "veth", Some(3)),
        (5, "virbr0", "bridge", None),
        (6, "vnet0", "tun", Some(5)),
        (7, "allod-k3j2", "veth", None),
        (8, "wg0", "wireguard", None),
        (9, "br-empty", "bridge", None),
    ]);
    let inner = inner(&links, &[2].into());
    assert_eq!(inner, [3, 5, 7, 9].into());
}

#[test]
fn a_bridge_by_which_the_machine_reaches_others_is_none() {
    let links = kinds(&[
        (2, "enp3s0", "", Some(3)),
        (3, "br0", "bridge", None),
        (4, "vnet0", "tun", Some(3)),
        (5, "vlan-bridge", "bridge", None),
        (6, "enp3s0.7", "vlan", Some(5)),
        (7, "routed", "bridge", None),
    ]);
    assert_eq!(inner(&links, &[7].into()), BTreeSet::new());
}

#[test]
fn a_default_route_is_told_from_others() {
    // The header of a route, then one attribute of eight bytes (rtnetlink(7)): its link, number five.
    let route = |length: u8| {
        let mut bytes = vec![2, length, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
        for word in [8_u16, ROUTE_LINK] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(5_u32.to_ne_bytes());
        bytes
    };
    assert_eq!(way_out(&route(0)), Some(5));
    assert_eq!(way_out(&route(24)), None);
}

#[test]
fn the_kernel_is_understood() {
    let inner = inner_addresses().unwrap();
    assert!(!inner.contains(&IpAddr::from(Ipv4Addr::LOCALHOST)));
}
