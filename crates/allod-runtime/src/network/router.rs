//! The router: a namespace of its own, with a bridge for each app.

use std::path::Path;

use super::allocation::{Lock, Place};
use super::block::{LINK_PREFIX_LENGTH, Prefix, SUBNET_PREFIX_LENGTH, Subnet, mac};
use super::element::Element;
use super::error::NetworkError;
use super::link::{End, Link, Links, Rule};
use super::namespace::Namespace;
use super::rules::{Facts, ROUTER_REMOVAL, ROUTER_TABLE, UPLINK, VETH_PREFIX};
use super::tool::Tool;
use super::{AppTag, inside, sysctl};
use crate::workload::{InstallationId, WorkloadId};

/// Settings of the router. IPv6 comes later; bridged packets are not the routed packets' rules'
/// business, and a kernel module loaded later by somebody else would make them so again, which
/// is why the rules also name what stays within an app.
const SETTINGS: [(&str, &str); 12] = [
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
    ("ipv4/conf/all/rp_filter", "1"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_source_route", "0"),
    ("ipv4/ip_forward", "1"),
];

/// Finds or makes the router's namespace.
pub(super) fn ensure_namespace(path: &Path) -> Result<Namespace, NetworkError> {
    let found =
        Namespace::pinned(path).map_err(NetworkError::kernel("open the router's namespace"))?;
    match found {
        Some(namespace) => Ok(namespace),
        None => Namespace::create(path)
            .map_err(NetworkError::kernel("make the router's network namespace")),
    }
}

/// Brings settings and rules of the router to what they should be.
pub(super) fn ensure_rules(
    lock: &Lock,
    router: &Namespace,
    facts: &Facts<'_>,
) -> Result<(), NetworkError> {
    inside(router, "the router", || {
        for (name, value) in SETTINGS {
            sysctl::write(name, value)?;
        }
        for rule in apart(facts) {
            Links::open()
                .and_then(|mut links| links.ensure_rule(&rule))
                .map_err(NetworkError::kernel("keep apps apart in the router"))?;
        }
        let (step, ruleset) = ("write the router's rules", facts.router_ruleset());
        if Tool::Nft.run(lock, step, &["-f", "-"], &ruleset).is_err() {
            // A version of Allod before this one may have declared a set or a chain otherwise.
            let anew = format!("{ROUTER_REMOVAL}{ruleset}");
            Tool::Nft.run(lock, step, &["-f", "-"], &anew)?;
        }
        Ok(())
    })
}

/// What keeps apps apart also while the packet filter is flushed: between two addresses of the block nothing is routed,
/// but what the router says itself, what comes from the host, and what goes to it. Neighbours on one bridge need no
/// route.
fn apart<'a>(facts: &Facts<'_>) -> [Rule<'a>; 4] {
    let block = Some(facts.block.prefix());
    let link = Prefix {
        address: facts.block.host(),
        length: LINK_PREFIX_LENGTH,
    };
    let open = |priority, from_link, destination| Rule {
        priority,
        from_link,
        source: None,
        destination,
        is_open: true,
    };
    [
        open(100, Some("lo"), None),
        open(101, Some(UPLINK), None),
        open(102, None, Some(link)),
        Rule {
            priority: 103,
            from_link: None,
            source: block,
            destination: block,
            is_open: false,
        },
    ]
}

/// Connects router and host by a veth pair; one that is whole stays.
pub(super) fn ensure_uplink(
    router: &Namespace,
    host_link: &str,
    facts: &Facts<'_>,
) -> Result<(), NetworkError> {
    let (host, far) = (facts.block.host(), facts.block.router());
    let failed = || NetworkError::kernel(format!("connect `{host_link}` with the router"));
    let has_mac =
        |link: &Option<Link>, mac: [u8; 6]| link.as_ref().is_some_and(|link| link.mac == mac);
    let uplink = inside(router, "the router", || {
        Links::open()
            .and_then(|mut links| links.find(UPLINK))
            .map_err(failed())
    })?;
    let mut links = Links::open().map_err(failed())?;
    let near = links.find(host_link).map_err(failed())?;
    if !(has_mac(&near, mac(host)) && has_mac(&uplink, mac(far))) {
        links.delete(host_link).map_err(failed())?;
        inside(router, "the router", || {
            Links::open()
                .and_then(|mut links| links.delete(UPLINK))
                .map_err(failed())
        })?;
        let (near, far) = (
            End {
                name: host_link,
                mac: mac(host),
            },
            End {
                name: UPLINK,
                mac: mac(far),
            },
        );
        links
            .create_veth(&near, None, &far, router)
            .map_err(failed())?;
    }
    inside(router, "the router", || {
        let address = Prefix {
            address: far,
            length: LINK_PREFIX_LENGTH,
        };
        Links::open()
            .and_then(|mut links| links.configure(UPLINK, address, host))
            .map_err(failed())
    })
}

/// Makes an app's bridge with the gateway's address on it. Called inside the router.
pub(super) fn ensure_bridge(app: &AppTag, subnet: Subnet) -> Result<u32, NetworkError> {
    let name = app.bridge();
    let gateway = subnet.gateway();
    let address = Prefix {
        address: gateway,
        length: SUBNET_PREFIX_LENGTH,
    };
    Links::open()
        .and_then(|mut links| {
            let index = links.ensure_bridge(&name, mac(gateway))?;
            links.add_address(index, address)?;
            Ok(index)
        })
        .map_err(NetworkError::kernel(format!(
            "make bridge `{name}` of app {app}"
        )))
}

/// What the rules must know of an app.
pub(super) fn app_elements(app: &AppTag, subnet: Subnet) -> [Element; 2] {
    let bridge = app.bridge();
    [
        Element::Gateway {
            bridge: bridge.clone(),
            address: subnet.gateway(),
        },
        Element::SameApp { bridge },
    ]
}

/// What the rules must know of a workload.
pub(super) fn workload_element(installation: InstallationId, place: &Place) -> Element {
    Element::Bound {
        veth: veth_name(installation, &place.workload),
        mac: mac(place.address),
        address: place.address,
    }
}

/// The router's end of a workload's veth.
pub(super) fn veth_name(installation: InstallationId, workload: &WorkloadId) -> String {
    format!("{VETH_PREFIX}{}", workload.tag(installation))
}

/// The name of the table that holds the router's sets.
pub(super) const TABLE: &str = ROUTER_TABLE;
