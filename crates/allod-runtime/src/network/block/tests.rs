//! The arithmetic of blocks, subnets and prefixes.

use super::*;

fn prefix(address: [u8; 4], length: u8) -> Prefix {
    Prefix {
        address: address.into(),
        length,
    }
}

#[test]
fn prefixes_overlap_when_one_holds_the_other() {
    assert!(prefix([10, 64, 0, 0], 16).overlaps(prefix([10, 64, 3, 0], 24)));
    assert!(prefix([10, 64, 3, 0], 24).overlaps(prefix([10, 64, 0, 0], 16)));
    assert!(prefix([0, 0, 0, 0], 0).overlaps(prefix([10, 64, 0, 0], 16)));
    assert!(!prefix([10, 64, 0, 0], 16).overlaps(prefix([10, 65, 0, 0], 16)));
    assert!(!prefix([10, 64, 0, 1], 32).overlaps(prefix([10, 64, 0, 2], 32)));
}

#[test]
fn choosing_a_block_skips_what_is_taken_and_ends() {
    let first = Block::choose(b"seed", |_| true).unwrap();
    assert_eq!(
        Block::choose(b"seed", |_| true),
        Some(first),
        "same seed, same block"
    );
    let second = Block::choose(b"seed", |block| block != first).unwrap();
    assert_ne!(second, first);
    assert_eq!(Block::choose(b"seed", |_| false), None);
    let last = Block(BLOCK_LAST);
    assert_eq!(
        Block::choose(b"seed", |block| block == last),
        Some(last),
        "all are tried"
    );
}

#[test]
fn an_address_has_its_own_unicast_local_mac() {
    let a = mac(Ipv4Addr::new(10, 64, 1, 2));
    assert_eq!(a, [0x02, 0xa1, 10, 64, 1, 2]);
    assert_ne!(a, mac(Ipv4Addr::new(10, 64, 1, 3)));
}

#[test]
fn the_network_of_an_interface_address_has_no_host_bits() {
    assert_eq!(
        prefix([192, 168, 7, 9], 24).network(),
        prefix([192, 168, 7, 0], 24)
    );
    assert_eq!(prefix([1, 2, 3, 4], 0).network(), prefix([0, 0, 0, 0], 0));
    assert_eq!(prefix([1, 2, 3, 4], 32).network(), prefix([1, 2, 3, 4], 32));
}
