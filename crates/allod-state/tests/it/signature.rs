//! ZIP-215: single and batch verification agree on every signature, however crafted. Were it otherwise, two validators
//! could disagree about one block.

use allod_state::key::{Claim, KnownKeys, verify_batch};
use allod_state::{PublicKey, Signature};

use crate::world::Person;

/// The encodings of the eight points of small order, canonical and not (RFC 8032, section 5.1; ZIP-215's vectors).
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// The order of the base point, and one less and one more.
const ORDER: [&str; 3] = [
    "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
    "ecd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
    "eed3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
];

fn bytes(hex: &str) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    std::array::from_fn(|at| byte(2 * at))
}

fn signature(point: [u8; 32], scalar: [u8; 32]) -> Signature {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&point);
    both[32..].copy_from_slice(&scalar);
    Signature::Ed25519(both)
}

fn single(claim: &Claim<'_>) -> bool {
    claim.key.verify(claim.message, &claim.signature).is_ok()
}

#[test]
fn small_order_points_pass_alone_and_together() {
    let message: &[u8] = b"Zcash";
    let mut claims = Vec::new();
    for key in SMALL_ORDER {
        for point in SMALL_ORDER {
            claims.push(Claim {
                key: PublicKey::Ed25519(bytes(key)),
                message,
                signature: signature(bytes(point), [0; 32]),
            });
        }
    }
    for claim in &claims {
        assert!(
            single(claim),
            "ZIP-215 accepts every one of these: {claim:?}"
        );
        assert!(verify_batch(&[*claim]).is_ok(), "{claim:?}");
    }
    assert!(verify_batch(&claims).is_ok(), "and all together");
}

#[test]
fn one_and_many_agree_on_crafted_signatures() {
    let person = Person::new(1);
    let message: &[u8] = b"message";
    let Signature::Ed25519(good) = person.sign(message);
    let (point, scalar): ([u8; 32], [u8; 32]) = (
        good[..32].try_into().unwrap(),
        good[32..].try_into().unwrap(),
    );
    let mut claims = Vec::new();
    let mut add = |key, signature| {
        claims.push(Claim {
            key,
            message,
            signature,
        });
    };
    for crafted in SMALL_ORDER {
        add(PublicKey::Ed25519(bytes(crafted)), signature(point, scalar));
        add(person.key, signature(bytes(crafted), scalar));
        add(person.key, signature(bytes(crafted), [0; 32]));
    }
    for crafted in ORDER {
        add(person.key, signature(point, bytes(crafted)));
    }
    add(person.key, signature(point, plus_order(scalar)));
    for at in 0..512 {
        let mut flipped = good;
        flipped[at / 8] ^= 1 << (at % 8);
        add(person.key, Signature::Ed25519(flipped));
    }
    let good = Claim {
        key: person.key,
        message,
        signature: Signature::Ed25519(good),
    };
    assert!(single(&good));
    let mut keys = KnownKeys::default();
    for claim in &claims {
        let alone = single(claim);
        assert_eq!(keys.verify(&[good, *claim]).is_ok(), alone, "{claim:?}");
        assert_eq!(verify_batch(&[*claim]).is_ok(), alone, "{claim:?}");
        assert_eq!(verify_batch(&[good, *claim]).is_ok(), alone, "{claim:?}");
    }
    assert!(
        claims.iter().all(|claim| !single(claim)),
        "none is a signature"
    );
}

/// The same scalar again, one order higher: ZIP-215 refuses it, or one signature would have two forms.
fn plus_order(scalar: [u8; 32]) -> [u8; 32] {
    let order = bytes(ORDER[0]);
    let mut carry = 0_u16;
    std::array::from_fn(|at| {
        let sum = u16::from(scalar[at]) + u16::from(order[at]) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    })
}

#[test]
fn a_batch_with_one_bad_signature_is_refused() {
    let person = Person::new(1);
    let messages: Vec<Vec<u8>> = (0..20).map(|at: u8| vec![at]).collect();
    let mut claims: Vec<Claim<'_>> = messages
        .iter()
        .map(|message| Claim {
            key: person.key,
            message,
            signature: person.sign(message),
        })
        .collect();
    assert!(verify_batch(&claims).is_ok());
    claims[11].message = &messages[12];
    assert!(verify_batch(&claims).is_err());
    assert!(verify_batch(&[]).is_ok(), "nothing is false of nothing");
}

#[test]
fn keys_that_are_known_change_no_verdict() {
    let people: Vec<Person> = (1..=5).map(Person::new).collect();
    let messages: Vec<Vec<u8>> = (0..20).map(|at: u8| vec![at]).collect();
    let good: Vec<Claim<'_>> = messages
        .iter()
        .zip(people.iter().cycle())
        .map(|(message, person)| Claim {
            key: person.key,
            message,
            signature: person.sign(message),
        })
        .collect();
    let mut keys = KnownKeys::default();
    for _ in 0..2 {
        assert!(keys.verify(&good).is_ok());
        for at in 0..good.len() {
            let mut forged = good.clone();
            forged[at].key = people[(at + 1) % people.len()].key;
            assert!(keys.verify(&forged).is_err(), "another's key at {at}");
            assert!(keys.verify(&forged[at..=at]).is_err(), "alone, at {at}");
        }
    }
}

/// Two false signatures whose errors add up to nothing: the batch's coefficients are there to tell them.
#[test]
fn errors_that_cancel_each_other_out_are_refused() {
    let person = Person::new(1);
    let changed = |message: &[u8], by: fn(u8) -> u8| {
        let Signature::Ed25519(mut bytes) = person.sign(message);
        bytes[40] = by(bytes[40]);
        Signature::Ed25519(bytes)
    };
    for at in 0..16_u8 {
        let messages = [[at, 0], [at, 1]];
        let claims = [
            Claim {
                key: person.key,
                message: &messages[0],
                signature: changed(&messages[0], |byte| byte.wrapping_add(1)),
            },
            Claim {
                key: person.key,
                message: &messages[1],
                signature: changed(&messages[1], |byte| byte.wrapping_sub(1)),
            },
        ];
        assert!(claims.iter().all(|claim| !single(claim)));
        assert!(verify_batch(&claims).is_err());
    }
}
