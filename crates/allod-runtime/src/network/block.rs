//! The addresses of one installation: pure arithmetic, nothing here asks the kernel.
//!
//! An installation has one block, `10.B.0.0/16`. Its first /24 holds the link between host and
//! router; every other /24 is one app's subnet, whose first address is the gateway.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::limits::{BLOCK_FIRST, BLOCK_LAST};

/// The /16 of an installation, by its second byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Block(u8);

impl Block {
    /// The block that the seed points at, or the first one after it that `is_free` accepts.
    pub(super) fn choose(seed: &[u8], is_free: impl Fn(Block) -> bool) -> Option<Block> {
        let count = u16::from(BLOCK_LAST - BLOCK_FIRST) + 1;
        let hash = blake3::derive_key("allod runtime address block 1", seed);
        let start = u16::from(hash[0]) % count;
        (0..count)
            .map(|step| (start + step) % count)
            .filter_map(|offset| u8::try_from(u16::from(BLOCK_FIRST) + offset).ok())
            .map(Block)
            .find(|block| is_free(*block))
    }

    /// The whole block.
    pub(super) fn prefix(self) -> Prefix {
        Prefix {
            address: Ipv4Addr::new(10, self.0, 0, 0),
            length: 16,
        }
    }

    /// The host's end of the link.
    pub(super) fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0, 0, 1)
    }

    /// The router's end of the link.
    pub(super) fn router(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0, 0, 2)
    }

    /// The subnet with this number.
    pub(super) fn subnet(self, number: u8) -> Subnet {
        Subnet {
            block: self,
            number,
        }
    }
}

/// Length of the link between host and router.
pub(super) const LINK_PREFIX_LENGTH: u8 = 30;

/// The /24 of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    block: Block,
    number: u8,
}

/// Length of an app's subnet.
pub(super) const SUBNET_PREFIX_LENGTH: u8 = 24;

impl Subnet {
    /// The router's address in this subnet.
    pub(super) fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The address with this host part.
    pub(super) fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.block.0, self.number, host)
    }
}

/// The hardware address that belongs to an address: locally administered, a function of it alone.
pub(super) fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0xa1, a, b, c, d]
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    /// The first address.
    pub(super) address: Ipv4Addr,
    /// How many leading bits are fixed.
    pub(super) length: u8,
}

impl Prefix {
    /// Whether the two share an address.
    pub(super) fn overlaps(self, other: Prefix) -> bool {
        let length = self.length.min(other.length);
        let mask = mask(length);
        self.address.to_bits() & mask == other.address.to_bits() & mask
    }

    /// The same range with the bits that are not fixed set to zero, as nft wants it.
    pub(super) fn network(self) -> Prefix {
        let address = Ipv4Addr::from_bits(self.address.to_bits() & mask(self.length));
        Prefix {
            address,
            length: self.length,
        }
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(length.min(32)))
        .unwrap_or(0)
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests;
