//! Frames: round trips and bytes that are none.

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::*;
use crate::bft::guard::SignStep;

fn records() -> Vec<Record> {
    let block = BlockId([4; 32]);
    let key = PublicKey::Ed25519([5; 32]);
    vec![
        Record::Signed(Signed {
            height: 9,
            round: 1,
            step: SignStep::Precommit,
            pol_round: None,
            value: Some(block),
        }),
        Record::Value {
            height: 9,
            block,
            bytes: vec![1, 2, 3],
        },
        Record::Verdict {
            height: 9,
            round: 1,
            valid_round: Some(0),
            proposer: key,
            block,
            is_valid: false,
        },
        Record::Timeout {
            height: 9,
            round: 1,
            kind: TimerKind::Prevote,
        },
        Record::Decided(Certificate {
            height: 9,
            round: 1,
            block,
            signatures: Vec::new(),
        }),
    ]
}

#[test]
fn a_frame_comes_back_whole() {
    assert_eq!(decode_frame(&encode_frame(&records())), Ok(records()));
    assert!(records().iter().all(|record| record.height() == 9));
}

#[test]
fn another_version_is_named() {
    let mut frame = encode_frame(&records());
    frame[0] = 2;
    assert_eq!(decode_frame(&frame), Err(FrameError::Version(Some(2))));
    assert_eq!(decode_frame(&[]), Err(FrameError::Version(None)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn reading_never_panics_and_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(records) = decode_frame(&bytes) {
            prop_assert_eq!(encode_frame(&records), bytes);
        }
    }
}

#[test]
fn the_encoding_is_frozen() {
    let frame = encode_frame(&records());
    assert_eq!(
        blake3::hash(&frame).to_hex().as_str(),
        "71effd3cd937af4964b7fb0b313acafc96f9dbac66e1701f42c3db39b16f01f9"
    );
}
