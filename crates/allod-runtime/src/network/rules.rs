//! The packet filters, as text for `nft`.
//!
//! Two layers, so that one mistake, or a `nft flush ruleset` by somebody else, opens nothing:
//!
//! - **In the router** (table `allod`): what a tenant may reach. Its own app, its gateway's port
//!   53, and the internet; nothing that is private, nothing of the host, nothing on a network the
//!   host has a foot in. On the bridges, a veth may send only from the address it was given.
//!   The connections of each workload are limited, and datagrams to the resolver are no
//!   connections, so that the table all share does not fill.
//! - **On the host** (table `allod_<installation>`): packets from the router never enter the host
//!   but as answers, never leave towards private networks, and leave under the host's address.
//!   Nothing from outside is forwarded to a tenant: the world enters through the ingress.
//!
//! Each is written as a whole in one transaction, so writing it again changes nothing, and whatever
//! somebody else put into it is gone.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::block::{Block, Prefix};
use super::element::Element;
use super::limits::CONNECTIONS_PER_WORKLOAD_MAX;

/// The router's tables, in its own namespace.
pub(super) const ROUTER_TABLE: &str = "allod";
/// The router's end of the link to the host.
pub(super) const UPLINK: &str = "uplink";
/// How the names of the router's bridges begin.
pub(super) const BRIDGE_PREFIX: &str = "b-";
/// How the names of the router's veths begin.
pub(super) const VETH_PREFIX: &str = "w-";

/// Ranges no tenant reaches: this network, private, shared by carriers, loopback, link-local
/// (metadata services among them), protocol assignments, benchmarks, multicast, reserved.
const DENIED: [([u8; 4], u8); 10] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([224, 0, 0, 0], 3),
];

/// A network of the host wider than this is a routing trick and not a neighbourhood.
const NEIGHBOURHOOD_LENGTH_MIN: u8 = 8;

/// Sets and chains of the router without contents.
const ROUTER_SKELETON: &str = r"table inet allod {
  set denied { type ipv4_addr; flags interval; auto-merge;
  }
  set gateways { type ifname . ipv4_addr;
  }
  set same_app { type ifname . ifname;
  }
  set connections { type ipv4_addr; flags dynamic; size 65535;
  }
  chain untracked_in { type filter hook prerouting priority raw; policy accept;
  }
  chain untracked_out { type filter hook output priority raw; policy accept;
  }
  chain input { type filter hook input priority filter; policy drop;
  }
  chain forward { type filter hook forward priority filter; policy drop;
  }
  chain limited {
  }
}
table bridge allod {
  set bound { type ifname . ether_addr . ipv4_addr;
  }
  chain prerouting { type filter hook prerouting priority -300; policy drop;
  }
}
flush chain inet allod input
flush chain inet allod forward
flush chain inet allod untracked_in
flush chain inet allod untracked_out
flush chain inet allod limited
flush set inet allod denied
flush set inet allod gateways
flush set inet allod same_app
flush chain bridge allod prerouting
flush set bridge allod bound
";

/// Removes the router's tables, whether or not they are there.
pub(super) const ROUTER_REMOVAL: &str = "table inet allod
delete table inet allod
table bridge allod
delete table bridge allod
";

/// What the rules of an installation depend on.
pub(super) struct Facts<'a> {
    /// The addresses of the installation.
    pub(super) block: Block,
    /// The host's end of the link to the router.
    pub(super) host_link: &'a str,
    /// The host's own addresses, with the length of the network around each.
    pub(super) host_addresses: &'a [Prefix],
    /// The elements of the router's sets.
    pub(super) elements: &'a [Element],
}

impl Facts<'_> {
    /// The router's tables. They are declared, emptied and filled in one transaction, and not
    /// made anew, because `connections` counts what is going on.
    pub(super) fn router_ruleset(&self) -> String {
        let Self {
            block, elements, ..
        } = self;
        let (table, uplink, bridge) = (ROUTER_TABLE, UPLINK, BRIDGE_PREFIX);
        let (denied, prefix, host) = (self.denied(), block.prefix(), block.host());
        let gateways = set_elements(elements, "gateways");
        let same_app = set_elements(elements, "same_app");
        let bound = set_elements(elements, "bound");
        let limit = CONNECTIONS_PER_WORKLOAD_MAX;
        format!(
            r#"{ROUTER_SKELETON}
table inet {table} {{
  set denied {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {denied} }}
  }}
  set gateways {{ type ifname . ipv4_addr; {gateways}
  }}
  set same_app {{ type ifname . ifname; {same_app}
  }}
  chain untracked_in {{
    iifname . ip daddr @gateways udp dport 53 notrack
  }}
  chain untracked_out {{
    oifname "{bridge}*" udp sport 53 notrack
  }}
  chain input {{
    ct state established,related accept
    iifname "lo" accept
    iifname . ip daddr @gateways udp dport 53 accept
    iifname . ip daddr @gateways tcp dport 53 jump limited
    iifname "{bridge}*" reject with icmp admin-prohibited
  }}
  chain forward {{
    ct state established,related accept
    iifname . oifname @same_app accept
    iifname "{uplink}" ip saddr {host} oifname "{bridge}*" accept
    iifname "{bridge}*" oifname "{uplink}" ip saddr {prefix} ip daddr != @denied jump limited
    iifname "{bridge}*" reject with icmp admin-prohibited
  }}
  chain limited {{
    ct state new add @connections {{ ip saddr ct count over {limit} }} reject with icmp admin-prohibited
    accept
  }}
}}
table bridge {table} {{
  set bound {{ type ifname . ether_addr . ipv4_addr; {bound}
  }}
  chain prerouting {{
    ether type ip iifname . ether saddr . ip saddr @bound accept
    ether type arp iifname . ether saddr . arp saddr ip @bound iifname . arp saddr ether . arp saddr ip @bound accept
  }}
}}
"#
        )
    }

    /// The installation's table on the host.
    pub(super) fn host_ruleset(&self, table: &str) -> String {
        let (link, denied, prefix) = (self.host_link, self.denied(), self.block.prefix());
        format!(
            r#"table inet {table}
delete table inet {table}
table inet {table} {{
  set denied {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {denied} }}
  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname != "{link}" accept
    ct state established,related accept
    drop
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname "{link}" jump outbound
    oifname "{link}" ct state established,related accept
    oifname "{link}" drop
  }}
  chain outbound {{
    ip saddr != {prefix} drop
    ip daddr @denied drop
    meta nfproto ipv6 drop
    accept
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {prefix} oifname != "{link}" masquerade
  }}
}}
"#
        )
    }

    /// The ranges no tenant reaches, and the networks this host has a foot in.
    fn denied(&self) -> String {
        let fixed = DENIED.iter().map(|(address, length)| Prefix {
            address: Ipv4Addr::from(*address),
            length: *length,
        });
        let near = self.host_addresses.iter().flat_map(|prefix| {
            let own = Prefix {
                address: prefix.address,
                length: 32,
            };
            let around = (prefix.length >= NEIGHBOURHOOD_LENGTH_MIN).then(|| prefix.network());
            std::iter::once(own).chain(around)
        });
        let mut all: Vec<Prefix> = fixed.chain(near).collect();
        all.sort_unstable();
        all.dedup();
        all.iter()
            .map(Prefix::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// The name of an installation's table on the host.
pub(super) fn host_table(installation: crate::workload::InstallationId) -> String {
    format!("allod_{installation}")
}

fn set_elements(elements: &[Element], set: &str) -> String {
    let mut text = String::new();
    for element in elements.iter().filter(|element| element.set() == set) {
        let separator = if text.is_empty() {
            "elements = { "
        } else {
            ", "
        };
        let _ = write!(text, "{separator}{}", element.text());
    }
    if !text.is_empty() {
        text.push_str(" }");
    }
    text
}

#[cfg(test)]
mod tests;
