//! Messages: round trips, limits, and bytes that are no message.

use allod_state::certificate::{Certificate, VoteKind};
use allod_state::{BlockId, PublicKey, Signature};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::*;

fn vote() -> SignedVote {
    SignedVote {
        kind: VoteKind::Precommit,
        height: 7,
        round: 2,
        value: Some(BlockId([3; 32])),
        validator: PublicKey::Ed25519([1; 32]),
        signature: Signature::Ed25519([2; 64]),
    }
}

#[test]
fn every_kind_survives_a_round_trip() {
    let key = PublicKey::Ed25519([1; 32]);
    let signature = Signature::Ed25519([2; 64]);
    let block = BlockId([3; 32]);
    let proposal = SignedProposal {
        height: 1,
        round: 0,
        pol_round: Some(4),
        value: block,
        proposer: key,
        signature,
    };
    let certificate = Certificate {
        height: 1,
        round: 0,
        block,
        signatures: vec![(key, signature)],
    };
    let votes = vec![(VoteKind::Prevote, None, key, signature)];
    let messages = [
        Message::Vote(vote()),
        Message::Proposal(proposal, vec![1, 2, 3]),
        Message::Polka(Polka {
            height: 1,
            round: 1,
            value: block,
            signatures: vec![(key, signature)],
        }),
        Message::Round(RoundProof {
            height: 1,
            round: 1,
            is_skip: true,
            votes,
        }),
        Message::Status(9),
        Message::SyncRequest(4),
        Message::SyncResponse(vec![DecidedBlock {
            certificate,
            block: vec![5],
        }]),
        Message::Transactions(vec![vec![1], vec![2]]),
    ];
    for message in messages {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = Message::Status(1).encode();
    bytes[0] = 9;
    assert_eq!(Message::decode(&bytes), Err(MessageError::Version(9)));
    assert_eq!(Message::decode(&[]), Err(MessageError::Empty));
}

#[test]
fn longer_lists_than_any_network_has_are_refused() {
    let signatures = vec![(PublicKey::Ed25519([1; 32]), Signature::Ed25519([2; 64])); 513];
    let polka = Polka {
        height: 1,
        round: 1,
        value: BlockId([3; 32]),
        signatures,
    };
    let refused = Message::decode(&Message::Polka(polka).encode());
    assert!(matches!(
        refused,
        Err(MessageError::TooMany {
            what: "signatures",
            ..
        })
    ));
}

#[test]
fn engine_forms_convert_back() {
    let vote = vote();
    assert_eq!(SignedVote::from_engine(&vote.to_engine()), vote);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn decoding_never_panics_and_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..200, with in 1u8..) {
        let mut bytes = Message::Vote(vote()).encode();
        let at = at % bytes.len();
        bytes[at] ^= with;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

#[test]
fn the_encoding_is_frozen() {
    let digest = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    assert_eq!(
        Message::Status(258).encode(),
        [1, 4, 2, 1, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        digest(&Message::Vote(vote()).encode()),
        "ed7bf62bf141b69a74cd762fb42dcdd44c3adfff40e25a1abb667f02ebc6f6e6"
    );
    let proposal = allod_state::certificate::proposal_bytes(
        &allod_state::NetworkId([7; 32]),
        7,
        2,
        Some(1),
        &BlockId([3; 32]),
    );
    assert_eq!(
        digest(&proposal),
        "59a254bfaba22b91a336b459c0730710d85ee09f93e019c88b18c81c5f2cebfd"
    );
}
