//! Addresses that lead to what runs on this machine, and nowhere else: no other machine has anything to look for there.
//!
//! A link is an inner one where it is an installation's, or a bridge by which nothing leaves: no default route goes out by
//! it, and none of its ports is a network card. So docker0 and virbr0 are, with or without containers, and a bridge that
//! the machine's own card is a port of is not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::host::LINK_PREFIX;
use super::netlink::{self, Message, Socket, attributes};

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;

const LINK_NAME: u16 = 3;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ROUTE_LINK: u16 = 4;

/// What a link is, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kind {
    name: String,
    /// As what it was made; empty for a network card.
    made_as: String,
    /// The bridge that it is a port of.
    master: Option<u32>,
}

/// The inner addresses of the calling thread's network namespace. Nobody has to be root for it.
///
/// # Errors
/// Where the kernel does not answer.
pub fn inner_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let all = Addresses::read()?;
    Ok(all.of_links(|link| all.inner.contains(&link)))
}

/// The addresses of all other links, as they are at this moment.
///
/// # Errors
/// Where the kernel does not answer.
pub fn outer_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let all = Addresses::read()?;
    Ok(all.of_links(|link| !all.inner.contains(&link)))
}

/// All addresses, and which of the links are inner ones.
struct Addresses {
    by_link: Vec<(u32, IpAddr)>,
    inner: BTreeSet<u32>,
}

impl Addresses {
    fn read() -> io::Result<Self> {
        let mut socket = Socket::route()?;
        let links = socket.collect(Message::dump(GET_LINK).raw(&[0; 16]))?;
        let links = links.iter().filter_map(|object| link(object)).collect();
        let routes = socket.collect(Message::dump(GET_ROUTE).raw(&[0; 12]))?;
        let ways_out = routes.iter().filter_map(|object| way_out(object)).collect();
        let addresses = socket.collect(Message::dump(GET_ADDRESS).raw(&[0; 8]))?;
        let by_link = addresses.iter().filter_map(|object| address(object));
        Ok(Self {
            by_link: by_link.collect(),
            inner: inner(&links, &ways_out),
        })
    }

    fn of_links(&self, is_meant: impl Fn(u32) -> bool) -> BTreeSet<IpAddr> {
        let meant = self.by_link.iter().filter(|(link, _)| is_meant(*link));
        meant.map(|(_, address)| *address).collect()
    }
}

/// The inner ones among the links.
fn inner(links: &BTreeMap<u32, Kind>, ways_out: &BTreeSet<u32>) -> BTreeSet<u32> {
    // What containers and virtual machines are connected by.
    let is_real = |link: &Kind| !matches!(link.made_as.as_str(), "veth" | "tun");
    let of_real = links.values().filter(|link| is_real(link));
    let with_a_card: BTreeSet<u32> = of_real.filter_map(|link| link.master).collect();
    let is_inner = |index: &u32, link: &Kind| {
        let is_dead_end = !ways_out.contains(index) && !with_a_card.contains(index);
        link.name.starts_with(LINK_PREFIX) || (link.made_as == "bridge" && is_dead_end)
    };
    let inner = links.iter().filter(|(index, link)| is_inner(index, link));
    inner.map(|(index, _)| *index).collect()
}

fn link(object: &[u8]) -> Option<(u32, Kind)> {
    let index = (object.len() >= 16).then(|| netlink::read_u32(object, 4))?;
    let mut link = Kind::default();
    for (kind, value) in attributes(object, 16) {
        match kind {
            LINK_NAME => link.name = text(value),
            LINK_MASTER => link.master = value.try_into().ok().map(u32::from_ne_bytes),
            LINK_INFO => {
                let kind = attributes(value, 0);
                let made_as = kind.iter().find(|(kind, _)| *kind == INFO_KIND);
                link.made_as = made_as.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some((index, link))
}

/// The link of a default route.
fn way_out(object: &[u8]) -> Option<u32> {
    let is_default = object.len() >= 12 && object.get(1) == Some(&0);
    let found = attributes(object, 12);
    let (_, link) = found.iter().find(|(kind, _)| *kind == ROUTE_LINK)?;
    let link = (*link).try_into().ok().map(u32::from_ne_bytes)?;
    is_default.then_some(link)
}

fn address(object: &[u8]) -> Option<(u32, IpAddr)> {
    let index = (object.len() >= 8).then(|| netlink::read_u32(object, 4))?;
    let found = attributes(object, 8);
    let of = |wanted| found.iter().find(|(kind, _)| *kind == wanted);
    // Of the two ends of a point-to-point link, the own one.
    let (_, value) = of(ADDRESS_LOCAL).or_else(|| of(ADDRESS_ADDRESS))?;
    let v4 = <[u8; 4]>::try_from(*value).map(|it| Ipv4Addr::from(it).into());
    let v6 = <[u8; 16]>::try_from(*value).map(|it| Ipv6Addr::from(it).into());
    Some((index, v4.or(v6).ok()?))
}

fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests;
