//! Elements of nf_tables sets, added and removed without running `nft`: this happens at every
//! start and end of a workload, and a transaction of our own costs microseconds.

use std::io;
use std::net::Ipv4Addr;

use super::netlink::{CREATE, Message, Socket};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENT: u16 = (SUBSYSTEM << 8) | 12;
const DELETE_ELEMENT: u16 = (SUBSYSTEM << 8) | 14;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const DATA_VALUE: u16 = 1;

const FAMILY_INET: u8 = 1;
const FAMILY_BRIDGE: u8 = 7;
const NAME_BYTES: usize = 16;

/// One element of one of the router's sets (see [`super::rules`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Element {
    /// The resolver's address, reachable from this bridge.
    Gateway { bridge: String, address: Ipv4Addr },
    /// Packets that leave by the bridge they came from stay in one app.
    SameApp { bridge: String },
    /// What this veth may send: frames from this hardware address and this address alone.
    Bound {
        veth: String,
        mac: [u8; 6],
        address: Ipv4Addr,
    },
}

impl Element {
    /// The set it belongs to.
    pub(super) fn set(&self) -> &'static str {
        match self {
            Self::Gateway { .. } => "gateways",
            Self::SameApp { .. } => "same_app",
            Self::Bound { .. } => "bound",
        }
    }

    fn family(&self) -> u8 {
        match self {
            Self::Bound { .. } => FAMILY_BRIDGE,
            _ => FAMILY_INET,
        }
    }

    /// The element as text in nft's language.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Gateway { bridge, address } => format!("\"{bridge}\" . {address}"),
            Self::SameApp { bridge } => format!("\"{bridge}\" . \"{bridge}\""),
            Self::Bound {
                veth,
                mac: [a, b, c, d, e, f],
                address,
            } => {
                let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
                format!("\"{veth}\" . {mac} . {address}")
            }
        }
    }

    /// The fields one after the other, each padded to whole registers of four bytes.
    fn key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        let mut push = |field: &[u8], width: usize| {
            key.extend_from_slice(field);
            key.resize(key.len() + width - field.len(), 0);
        };
        match self {
            Self::Gateway { bridge, address } => {
                push(bridge.as_bytes(), NAME_BYTES);
                push(&address.octets(), 4);
            }
            Self::SameApp { bridge } => {
                push(bridge.as_bytes(), NAME_BYTES);
                push(bridge.as_bytes(), NAME_BYTES);
            }
            Self::Bound { veth, mac, address } => {
                push(veth.as_bytes(), NAME_BYTES);
                push(mac, 8);
                push(&address.octets(), 4);
            }
        }
        key
    }
}

/// Adds elements to the sets of `table` in the current namespace; one that is there stays.
pub(super) fn add(table: &str, elements: &[Element]) -> io::Result<()> {
    transaction(NEW_ELEMENT, CREATE, table, elements)
}

/// Removes elements; one that is not there is no error.
pub(super) fn remove(table: &str, elements: &[Element]) -> io::Result<()> {
    let is_absent = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
    // A transaction waits until every processor has let go of the old rules, so one is tried
    // first; it fails as a whole where one element is absent, and then each is removed alone.
    match transaction(DELETE_ELEMENT, 0, table, elements) {
        Err(error) if is_absent(&error) => {}
        result => return result,
    }
    for element in elements {
        match transaction(DELETE_ELEMENT, 0, table, std::slice::from_ref(element)) {
            Err(error) if is_absent(&error) => {}
            result => result?,
        }
    }
    Ok(())
}

fn transaction(kind: u16, flags: u16, table: &str, elements: &[Element]) -> io::Result<()> {
    if elements.is_empty() {
        return Ok(());
    }
    let frame = |kind| {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        Message::silent(kind).raw(&[0, 0, high, low])
    };
    let mut batch = vec![frame(BATCH_BEGIN)];
    batch.extend(elements.iter().map(|element| {
        Message::request(kind, flags)
            .raw(&[element.family(), 0, 0, 0])
            .text(LIST_TABLE, table)
            .text(LIST_SET, element.set())
            .nest(LIST_ELEMENTS, |m| {
                m.nest(ELEMENT, |m| {
                    m.nest(ELEMENT_KEY, |m| m.attribute(DATA_VALUE, &element.key()))
                })
            })
    }));
    batch.push(frame(BATCH_END));
    Socket::netfilter()?.transact(batch)
}
