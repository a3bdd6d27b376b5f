//! Links, addresses and routes of one network namespace, over rtnetlink.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use super::block::Prefix;
use super::netlink::{self, CREATE, EXCLUSIVE, Message, REPLACE, Socket, attributes};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const NEW_RULE: u16 = 32;
const GET_ROUTE: u16 = 26;

const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;

const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_LINK: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_TABLE: u16 = 15;

const TABLE_MAIN: u8 = 254;
const RULE_DESTINATION: u16 = 1;
const RULE_SOURCE: u16 = 2;
const RULE_LINK: u16 = 3;
const RULE_PRIORITY: u16 = 6;
const RULE_TO_TABLE: u8 = 1;
const RULE_PROHIBIT: u8 = 8;
const TABLE_LOCAL: u32 = 255;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const TYPE_UNICAST: u8 = 1;
const FLAG_UP: u32 = 1;
const FAMILY_INET: u8 = 2;

/// The loopback link has this number in every namespace.
const LOOPBACK: u32 = 1;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number within the namespace.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
    /// Its hardware address; empty for links that have none.
    pub(super) mac: Vec<u8>,
    /// The bridge that it is a port of.
    pub(super) master: Option<u32>,
    /// Whether it is turned on.
    pub(super) is_up: bool,
}

/// A route as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// The link it leaves by.
    pub(super) link: Option<u32>,
    /// Where it leads.
    pub(super) destination: Prefix,
    /// Whether it stands in the main table, where the longest prefix wins; other tables are
    /// often asked before it.
    pub(super) is_main: bool,
}

/// One end of a veth pair.
pub(super) struct End<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its hardware address.
    pub(super) mac: [u8; 6],
}

/// The network configuration of the namespace in which it was opened.
pub(super) struct Links(Socket);

impl Links {
    /// Opens the current namespace's configuration.
    pub(super) fn open() -> io::Result<Self> {
        Socket::route().map(Self)
    }

    /// All links.
    pub(super) fn all(&mut self) -> io::Result<Vec<Link>> {
        let request = Message::dump(GET_LINK).raw(&link_header(0, false));
        Ok(self
            .0
            .collect(request)?
            .iter()
            .filter_map(|object| parse_link(object))
            .collect())
    }

    /// The link with this name.
    pub(super) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        Ok(self.all()?.into_iter().find(|link| link.name == name))
    }

    /// Makes a bridge that is up; its number is the result. One that is there is kept.
    pub(super) fn ensure_bridge(&mut self, name: &str, mac: [u8; 6]) -> io::Result<u32> {
        if let Some(index) = index_of(name)? {
            self.0.transact(vec![
                Message::request(NEW_LINK, 0).raw(&link_header(index, true)),
            ])?;
            return Ok(index);
        }
        let request = Message::request(NEW_LINK, CREATE | EXCLUSIVE)
            .raw(&link_header(0, true))
            .text(LINK_NAME, name)
            .attribute(LINK_ADDRESS, &mac)
            .nest(LINK_INFO, |m| m.attribute(INFO_KIND, b"bridge"));
        self.0.transact(vec![request])?;
        index_of(name)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Makes a veth pair: the near end here and up, on the bridge if one is given; the far end
    /// in another namespace and down, because a far end that is born up is refused.
    pub(super) fn create_veth(
        &mut self,
        near: &End<'_>,
        bridge: Option<u32>,
        far: &End<'_>,
        namespace: &impl AsFd,
    ) -> io::Result<()> {
        let descriptor = namespace.as_fd().as_raw_fd().cast_unsigned();
        let mut request = Message::request(NEW_LINK, CREATE | EXCLUSIVE)
            .raw(&link_header(0, true))
            .text(LINK_NAME, near.name)
            .attribute(LINK_ADDRESS, &near.mac);
        if let Some(bridge) = bridge {
            request = request.attribute(LINK_MASTER, &bridge.to_ne_bytes());
        }
        let peer = |m: Message| {
            m.raw(&link_header(0, false))
                .text(LINK_NAME, far.name)
                .attribute(LINK_ADDRESS, &far.mac)
                .attribute(LINK_NAMESPACE, &descriptor.to_ne_bytes())
        };
        let request = request.nest(LINK_INFO, |m| {
            m.attribute(INFO_KIND, b"veth")
                .nest(INFO_DATA, |m| m.nest(VETH_PEER, peer))
        });
        self.0.transact(vec![request])
    }

    /// Makes a link a port of a bridge; one that is stays so.
    pub(super) fn enslave(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let request = Message::request(NEW_LINK, 0)
            .raw(&link_header(index, true))
            .attribute(LINK_MASTER, &bridge.to_ne_bytes());
        self.0.transact(vec![request])
    }

    /// Removes a link; one that is not there is no error.
    pub(super) fn delete(&mut self, name: &str) -> io::Result<()> {
        let Some(index) = index_of(name)? else {
            return Ok(());
        };
        let request = Message::request(DELETE_LINK, 0).raw(&link_header(index, false));
        match self.0.transact(vec![request]) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result,
        }
    }

    /// Turns loopback and a link on, gives the link its address, and leads all else to a gateway.
    pub(super) fn configure(
        &mut self,
        name: &str,
        address: Prefix,
        gateway: Ipv4Addr,
    ) -> io::Result<()> {
        let index = index_of(name)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        let everything = Prefix {
            address: Ipv4Addr::UNSPECIFIED,
            length: 0,
        };
        self.0.transact(vec![
            Message::request(NEW_LINK, 0).raw(&link_header(LOOPBACK, true)),
            Message::request(NEW_LINK, 0).raw(&link_header(index, true)),
            address_message(index, address),
            route_message(everything, gateway, index),
        ])
    }

    /// Gives a link that is up an address; one that it has already stays.
    pub(super) fn add_address(&mut self, index: u32, address: Prefix) -> io::Result<()> {
        self.0.transact(vec![address_message(index, address)])
    }

    /// Gives a link an address and leads a range of others through it to a gateway.
    pub(super) fn join(
        &mut self,
        name: &str,
        address: Prefix,
        destination: Prefix,
        gateway: Ipv4Addr,
    ) -> io::Result<()> {
        let index = index_of(name)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        self.0.transact(vec![
            Message::request(NEW_LINK, 0).raw(&link_header(index, true)),
            address_message(index, address),
            route_message(destination, gateway, index),
        ])
    }

    /// Adds a rule of where packets may go; one that is there stays.
    pub(super) fn ensure_rule(&mut self, rule: &Rule<'_>) -> io::Result<()> {
        let message = rule.message();
        match self.0.transact(vec![message]) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result,
        }
    }

    /// The IPv4 addresses of all links, each with the length of its network.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<(u32, Prefix)>> {
        let request = Message::dump(GET_ADDRESS).raw(&[FAMILY_INET, 0, 0, 0, 0, 0, 0, 0]);
        Ok(self
            .0
            .collect(request)?
            .iter()
            .filter_map(|object| parse_address(object))
            .collect())
    }

    /// The IPv4 routes of all tables but the local one.
    pub(super) fn routes(&mut self) -> io::Result<Vec<Route>> {
        let mut header = [0; 12];
        header[0] = FAMILY_INET;
        let request = Message::dump(GET_ROUTE).raw(&header);
        Ok(self
            .0
            .collect(request)?
            .iter()
            .filter_map(|object| parse_route(object))
            .collect())
    }
}

/// The number of the link with this name in the current namespace.
pub(super) fn index_of(name: &str) -> io::Result<Option<u32>> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    match rustix::net::netdevice::name_to_index(&socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn link_header(index: u32, is_up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let flags = if is_up { FLAG_UP } else { 0 };
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn address_message(index: u32, prefix: Prefix) -> Message {
    let mut header = vec![FAMILY_INET, prefix.length, 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    Message::request(NEW_ADDRESS, CREATE | REPLACE)
        .raw(&header)
        .attribute(ADDRESS_LOCAL, &prefix.address.octets())
        .attribute(ADDRESS_ADDRESS, &prefix.address.octets())
}

/// A rule of where packets may go, before the routes are asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a> {
    /// Lower ones are asked first.
    pub(super) priority: u32,
    /// The link that they came in by.
    pub(super) from_link: Option<&'a str>,
    pub(super) source: Option<Prefix>,
    pub(super) destination: Option<Prefix>,
    /// Whether they may go where the routes say.
    pub(super) is_open: bool,
}

impl Rule<'_> {
    fn message(&self) -> Message {
        let length = |prefix: Option<Prefix>| prefix.map_or(0, |prefix| prefix.length);
        let action = if self.is_open {
            RULE_TO_TABLE
        } else {
            RULE_PROHIBIT
        };
        let table = if self.is_open { TABLE_MAIN } else { 0 };
        let header = [
            FAMILY_INET,
            length(self.destination),
            length(self.source),
            0,
            table,
            0,
            0,
            action,
            0,
            0,
            0,
            0,
        ];
        let mut message = Message::request(NEW_RULE, CREATE | EXCLUSIVE)
            .raw(&header)
            .attribute(RULE_PRIORITY, &self.priority.to_ne_bytes());
        if let Some(link) = self.from_link {
            message = message.text(RULE_LINK, link);
        }
        for (kind, prefix) in [
            (RULE_SOURCE, self.source),
            (RULE_DESTINATION, self.destination),
        ] {
            if let Some(prefix) = prefix {
                message = message.attribute(kind, &prefix.network().address.octets());
            }
        }
        message
    }
}

fn route_message(destination: Prefix, gateway: Ipv4Addr, link: u32) -> Message {
    let header = [
        FAMILY_INET,
        destination.length,
        0,
        0,
        TABLE_MAIN,
        PROTOCOL_BOOT,
        SCOPE_UNIVERSE,
        TYPE_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut message = Message::request(NEW_ROUTE, CREATE | REPLACE).raw(&header);
    if destination.length > 0 {
        message = message.attribute(ROUTE_DESTINATION, &destination.address.octets());
    }
    message
        .attribute(ROUTE_GATEWAY, &gateway.octets())
        .attribute(ROUTE_LINK, &link.to_ne_bytes())
}

fn parse_link(object: &[u8]) -> Option<Link> {
    if object.len() < 16 {
        return None;
    }
    let mut link = Link {
        index: netlink::read_u32(object, 4),
        is_up: netlink::read_u32(object, 8) & FLAG_UP != 0,
        name: String::new(),
        mac: Vec::new(),
        master: None,
    };
    for (kind, value) in attributes(object, 16) {
        match kind {
            LINK_NAME => {
                let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
                link.name = String::from_utf8_lossy(text).into_owned();
            }
            LINK_ADDRESS => link.mac = value.to_vec(),
            LINK_MASTER => link.master = value.try_into().ok().map(u32::from_ne_bytes),
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(object: &[u8]) -> Option<(u32, Prefix)> {
    let length = *object.get(1)?;
    let index = (object.len() >= 8).then(|| netlink::read_u32(object, 4))?;
    let found = attributes(object, 8);
    let local = found.iter().find(|(kind, _)| *kind == ADDRESS_LOCAL);
    let (_, value) = local.or_else(|| found.iter().find(|(kind, _)| *kind == ADDRESS_ADDRESS))?;
    Some((
        index,
        Prefix {
            address: ipv4(value)?,
            length,
        },
    ))
}

fn parse_route(object: &[u8]) -> Option<Route> {
    let (length, mut table) = (*object.get(1)?, u32::from(*object.get(4)?));
    let (mut address, mut link) = (Ipv4Addr::UNSPECIFIED, None);
    for (kind, value) in attributes(object, 12) {
        match (kind, value.len()) {
            (ROUTE_DESTINATION, 4) => address = ipv4(value)?,
            (ROUTE_LINK, 4) => link = Some(netlink::read_u32(value, 0)),
            (ROUTE_TABLE, 4) => table = netlink::read_u32(value, 0),
            _ => {}
        }
    }
    let is_main = table == u32::from(TABLE_MAIN);
    (table != TABLE_LOCAL).then_some(Route {
        link,
        destination: Prefix { address, length },
        is_main,
    })
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}
