//! How much a peer is given in a second.

use std::time::Duration;

use super::*;

const GREEDY: PeerKey = PeerKey([1; 32]);

#[test]
fn whoever_asks_without_end_is_given_so_much_in_a_second() {
    let (mut allowances, began) = (Allowances::default(), Instant::now());
    let mut given = 0_u64;
    for at_ms in 0..60_000 {
        let now = began + Duration::from_millis(at_ms);
        if allowances.has_more(GREEDY, now) {
            allowances.give(GREEDY, 4 << 20, now);
            given += 4 << 20;
        }
    }
    let most = SERVED_BYTES_AT_ONCE_MAX + 60 * SERVED_BYTES_PER_SECOND + (4 << 20);
    assert!(given <= most, "{given}");
    assert!(given > most / 2, "{given}");
    assert!(allowances.has_more(PeerKey([2; 32]), began));
}
