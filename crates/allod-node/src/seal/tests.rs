//! A sealed manifest opens for its holders, as what it was sealed as, and for nobody else.

use std::convert::Infallible;

use proptest::prelude::*;
use rand_core::{TryCryptoRng, TryRng};

use super::*;

const GOLDEN: &str = include_str!("golden_v1.txt");
const MANIFEST: &[u8] = b"image: registry.example/web@sha256:0123\nenv: TOKEN=hunter2\n";

/// Bytes that look random and are the same in every run.
struct Scripted(blake3::OutputReader);

impl Scripted {
    fn new(seed: u8) -> Self {
        Self(blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof())
    }
}

impl TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Scripted {}

fn key(seed: u8) -> SealingKey {
    SealingKey::from_bytes(&Secret::new([seed; 32]))
}

fn holder(seed: u8) -> Holder {
    Holder {
        id: [seed; 32],
        sealing_key: key(seed).public(),
    }
}

fn opener(key: &SealingKey, id: u8) -> Opener<'_> {
    Opener { id: [id; 32], key }
}

fn scope() -> Scope {
    Scope {
        network: NetworkId([1; 32]),
        app: Label([2; 32]),
    }
}

fn sealed() -> Sealed {
    seal(MANIFEST, &scope(), &[holder(3), holder(4)]).unwrap()
}

fn read(sealed: &Sealed, scope: &Scope, opener: Opener<'_>) -> Result<Vec<u8>, OpenError> {
    open(&sealed.ciphertext, &sealed.manifest, scope, opener).map(|plain| plain.expose().clone())
}

#[test]
fn every_holder_reads_the_manifest() {
    let sealed = sealed();
    for seed in [3, 4] {
        let key = key(seed);
        assert_eq!(
            read(&sealed, &scope(), opener(&key, seed)).unwrap(),
            MANIFEST
        );
    }
    assert_eq!(sealed.manifest.bytes, 1024);
    assert_eq!(sealed.manifest.ciphertext, Digest::of(&sealed.ciphertext));
    assert!(
        sealed
            .manifest
            .wraps
            .iter()
            .all(|wrap| wrap.key.len() == WRAP_BYTES)
    );
}

#[test]
fn nobody_else_reads_it() {
    let sealed = sealed();
    let stranger = key(5);
    assert_eq!(
        read(&sealed, &scope(), opener(&stranger, 5)),
        Err(OpenError::NotHolder)
    );
    // A stranger who poses as a holder has the wrong key.
    assert_eq!(
        read(&sealed, &scope(), opener(&stranger, 3)),
        Err(OpenError::WrongKey)
    );
    // A holder cannot use another holder's wrap either.
    let fourth = key(4);
    assert_eq!(
        read(&sealed, &scope(), opener(&fourth, 3)),
        Err(OpenError::WrongKey)
    );
}

#[test]
fn a_secret_appears_neither_in_the_ciphertext_nor_in_the_ledgers_part() {
    let sealed = sealed();
    let contains = |bytes: &[u8]| bytes.windows(7).any(|window| window == b"hunter2");
    assert!(contains(MANIFEST));
    assert!(!contains(&sealed.ciphertext));
    assert!(
        sealed
            .manifest
            .wraps
            .iter()
            .all(|wrap| !contains(&wrap.key))
    );
}

#[test]
fn two_sealings_of_one_manifest_share_nothing() {
    let (one, two) = (sealed(), sealed());
    assert_ne!(
        one.ciphertext[1..33],
        two.ciphertext[1..33],
        "the content key was used twice"
    );
    assert_ne!(
        one.ciphertext[33..57],
        two.ciphertext[33..57],
        "the nonce was used twice"
    );
}

#[test]
fn no_flipped_byte_goes_unnoticed() {
    let honest = sealed();
    let key = key(3);
    for at in 0..honest.ciphertext.len() {
        let mut forged = honest.clone();
        forged.ciphertext[at] ^= 1;
        let seen = read(&forged, &scope(), opener(&key, 3));
        assert_eq!(seen, Err(OpenError::WrongCiphertext), "byte {at}");
        // Even a ledger that named the forged bytes would not make them open.
        forged.manifest.ciphertext = Digest::of(&forged.ciphertext);
        assert_eq!(
            read(&forged, &scope(), opener(&key, 3)),
            Err(OpenError::WrongKey)
        );
        // Nor would somebody who knows the content key and wraps it for the forged bytes.
        let content = content_key(&honest.manifest, &scope(), opener(&key, 3)).unwrap();
        assert!(
            decrypt(&forged.ciphertext, &scope(), &content).is_err(),
            "byte {at}"
        );
    }
    for at in 0..WRAP_BYTES {
        let mut forged = honest.clone();
        forged.manifest.wraps[0].key[at] ^= 1;
        assert!(
            read(&forged, &scope(), opener(&key, 3)).is_err(),
            "byte {at} of the wrap"
        );
    }
}

#[test]
fn no_cut_ciphertext_or_wrap_opens() {
    let honest = sealed();
    let key = key(3);
    let content = content_key(&honest.manifest, &scope(), opener(&key, 3)).unwrap();
    for length in 0..honest.ciphertext.len() {
        let cut = &honest.ciphertext[..length];
        assert!(decrypt(cut, &scope(), &content).is_err(), "length {length}");
    }
    for length in 0..WRAP_BYTES {
        let mut cut = honest.clone();
        cut.manifest.wraps[0].key.truncate(length);
        assert!(
            read(&cut, &scope(), opener(&key, 3)).is_err(),
            "length {length}"
        );
    }
    let mut longer = honest;
    longer.manifest.wraps[0].key.push(0);
    assert!(read(&longer, &scope(), opener(&key, 3)).is_err());
}

#[test]
fn a_manifest_means_nothing_in_another_app_or_network() {
    let sealed = sealed();
    let key = key(3);
    let other_app = Scope {
        app: Label([9; 32]),
        ..scope()
    };
    let other_network = Scope {
        network: NetworkId([9; 32]),
        ..scope()
    };
    let content = content_key(&sealed.manifest, &scope(), opener(&key, 3)).unwrap();
    for other in [other_app, other_network] {
        assert_eq!(
            read(&sealed, &other, opener(&key, 3)),
            Err(OpenError::WrongKey)
        );
        // The ciphertext itself is bound too, not only the wrap.
        assert!(decrypt(&sealed.ciphertext, &other, &content).is_err());
    }
}

#[test]
fn a_wrap_means_nothing_beside_another_ciphertext_or_holder() {
    let (one, two) = (sealed(), sealed());
    let key = key(3);
    let mut mixed = one.clone();
    mixed.manifest.wraps = two.manifest.wraps;
    assert_eq!(
        read(&mixed, &scope(), opener(&key, 3)),
        Err(OpenError::WrongKey)
    );
    let mut renamed = one;
    renamed.manifest.wraps[0].holder = [7; 32];
    assert_eq!(
        read(&renamed, &scope(), opener(&key, 7)),
        Err(OpenError::WrongKey)
    );
}

#[test]
fn a_crafted_commitment_does_not_open() {
    // An owner who commits to one key and encrypts with another must not get holders to disagree.
    let mut sealed = sealed();
    let key = key(3);
    let content = content_key(&sealed.manifest, &scope(), opener(&key, 3)).unwrap();
    sealed.ciphertext[1..33].copy_from_slice(&[0; 32]);
    assert_eq!(
        decrypt(&sealed.ciphertext, &scope(), &content).map(drop),
        Err(OpenError::Damaged)
    );
}

#[test]
fn a_holder_wraps_for_the_next_standby() {
    let mut sealed = sealed();
    let third = key(3);
    let wraps = rewrap(&sealed.manifest, &scope(), opener(&third, 3), &[holder(6)]).unwrap();
    sealed.manifest.wraps = wraps;
    let sixth = key(6);
    assert_eq!(
        read(&sealed, &scope(), opener(&sixth, 6)).unwrap(),
        MANIFEST
    );
    assert_eq!(
        read(&sealed, &scope(), opener(&third, 3)),
        Err(OpenError::NotHolder)
    );
    let stranger = key(5);
    let refused = rewrap(
        &sealed.manifest,
        &scope(),
        opener(&stranger, 5),
        &[holder(5)],
    );
    assert_eq!(refused, Err(OpenError::NotHolder));
}

#[test]
fn bad_holders_are_refused_by_place() {
    assert_eq!(seal(b"", &scope(), &[]), Err(SealError::NoHolder));
    let many = vec![holder(3); WRAPS_PER_MANIFEST_MAX + 1];
    assert!(matches!(
        seal(b"", &scope(), &many),
        Err(SealError::TooManyHolders { .. })
    ));
    // The zero point: its shared secret would be known to everybody.
    let low = Holder {
        id: [8; 32],
        sealing_key: [0; 32],
    };
    assert_eq!(
        seal(b"", &scope(), &[holder(3), low]),
        Err(SealError::BadKey { index: 1 })
    );
}

#[test]
fn an_unknown_version_asks_for_an_upgrade() {
    let mut sealed = sealed();
    let key = key(3);
    let content = content_key(&sealed.manifest, &scope(), opener(&key, 3)).unwrap();
    sealed.ciphertext[0] = 2;
    assert_eq!(
        decrypt(&sealed.ciphertext, &scope(), &content).map(drop),
        Err(OpenError::Version)
    );
    sealed.manifest.wraps[0].key[0] = 2;
    let seen = content_key(&sealed.manifest, &scope(), opener(&key, 3)).map(drop);
    assert_eq!(seen, Err(OpenError::Version));
}

#[test]
fn the_largest_manifest_fits_and_one_byte_more_does_not() {
    let max = 1024 * 1024 - 77;
    let largest = seal(&vec![1; max], &scope(), &[holder(3)]).unwrap();
    assert_eq!(largest.ciphertext.len(), 1024 * 1024);
    let key = key(3);
    assert_eq!(
        read(&largest, &scope(), opener(&key, 3)).unwrap().len(),
        max
    );
    let error = seal(&vec![1; max + 1], &scope(), &[holder(3)]).unwrap_err();
    assert_eq!(
        error,
        SealError::TooLong {
            bytes: max + 1,
            max
        }
    );
}

#[test]
fn the_format_is_frozen() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let sealed = seal_with(MANIFEST, &scope(), &[holder(3)], &mut Scripted::new(1)).unwrap();
    let made = format!(
        "{}\n{}\n",
        hex(&sealed.ciphertext),
        hex(&sealed.manifest.wraps[0].key)
    );
    assert_eq!(
        made, GOLDEN,
        "the sealed format changed: old manifests would no longer open"
    );
}

#[test]
fn what_version_1_wrote_still_opens() {
    let mut lines = GOLDEN
        .lines()
        .map(|line| data_encoding::HEXLOWER.decode(line.as_bytes()).unwrap());
    let (ciphertext, wrapped) = (lines.next().unwrap(), lines.next().unwrap());
    let manifest = SealedManifest {
        ciphertext: Digest::of(&ciphertext),
        bytes: 1024,
        wraps: vec![Wrap {
            holder: [3; 32],
            key: wrapped,
        }],
    };
    let key = key(3);
    let plain = open(&ciphertext, &manifest, &scope(), opener(&key, 3)).unwrap();
    assert_eq!(plain.expose(), MANIFEST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sealed_opens(manifest in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let sealed = seal(&manifest, &scope(), &[holder(3), holder(4)]).unwrap();
        let length = sealed.ciphertext.len();
        prop_assert!(length.is_power_of_two() && length >= 1024 && length < 2 * (manifest.len() + 1024));
        let key = key(4);
        prop_assert_eq!(read(&sealed, &scope(), opener(&key, 4)).unwrap(), manifest);
    }

    #[test]
    fn no_bytes_make_opening_panic(ciphertext in proptest::collection::vec(any::<u8>(), 0..200),
                                   wrapped in proptest::collection::vec(any::<u8>(), 0..100)) {
        let manifest = SealedManifest {
            ciphertext: Digest::of(&ciphertext),
            bytes: 0,
            wraps: vec![Wrap { holder: [3; 32], key: wrapped }],
        };
        let key = key(3);
        prop_assert!(open(&ciphertext, &manifest, &scope(), opener(&key, 3)).is_err());
        prop_assert!(decrypt(&ciphertext, &scope(), &Secret::new([0; 32])).is_err());
    }
}
