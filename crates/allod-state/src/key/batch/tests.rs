//! How much a checker of signatures remembers.

use super::*;

#[test]
fn only_so_many_keys_are_remembered() {
    let mut keys = KnownKeys::default();
    for at in 0..u64::try_from(KNOWN_KEYS_MAX).unwrap() + 10 {
        let key = EdwardsPoint::mul_base(&Scalar::from(at)).compress().0;
        assert_eq!(keys.point(key).unwrap().compress().0, key);
        assert!(keys.0.len() <= KNOWN_KEYS_MAX);
    }
    assert!(!keys.0.is_empty());
}
