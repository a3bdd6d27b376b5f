//! Two commands that want the same are two transactions.

use std::collections::BTreeSet;

use super::*;

#[test]
fn what_is_signed_twice_in_one_millisecond_is_not_the_same() {
    // As far ahead that this clock has no part in it.
    let ahead_ms = now_ms() * 2;
    let drawn: BTreeSet<u64> = (0..100).map(|_| expiry_ms(ahead_ms)).collect();
    assert!(drawn.len() > 50, "{drawn:?}");
    let earliest = ahead_ms + TRANSACTION_LIFETIME_MS;
    let allowed = earliest..earliest + TRANSACTION_LIFETIME_DRAWN_MS;
    assert!(drawn.iter().all(|ms| allowed.contains(ms)), "{drawn:?}");
}
