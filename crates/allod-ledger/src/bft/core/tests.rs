//! What is kept for a height that has not begun.

use allod_state::{NetworkId, Signature};

use super::*;
use crate::LocalSigner;
use crate::bft::{SignGuard, Timing};

fn core() -> Core<LocalSigner> {
    let validators = (0..4).map(|at| (LocalSigner::from_seed(&[at; 32]).public_key(), 1));
    let config = Config {
        network: NetworkId([9; 32]),
        timing: Timing::default(),
        block_bytes_max: 1_000,
    };
    let start = Start {
        height: 0,
        validators: ValidatorSet::new(validators),
        guard: SignGuard::default(),
        records: Vec::new(),
        is_waiting: false,
        is_quarantined: false,
    };
    Core::new(config, LocalSigner::from_seed(&[0; 32]), start)
}

#[test]
fn a_peer_has_room_for_one_early_block() {
    let mut core = core();
    let proposal = |round: u32, block: BlockId| {
        let proposal = SignedProposal {
            height: 2,
            round,
            value: block,
            pol_round: None,
            proposer: LocalSigner::from_seed(&[1; 32]).public_key(),
            signature: Signature::Ed25519([0; 64]),
        };
        Message::Proposal(proposal, Vec::new())
    };
    for round in 0..8 {
        let message = proposal(round, BlockId([round.to_le_bytes()[0]; 32]));
        core.step(1, Event::Message(Peer([1; 32]), message));
    }
    let true_one = proposal(0, BlockId([77; 32]));
    core.step(1, Event::Message(Peer([2; 32]), true_one.clone()));
    let blocks: Vec<&Peer> = core.early.iter().map(|(peer, _)| peer).collect();
    assert_eq!(blocks, [&Peer([1; 32]), &Peer([2; 32])]);
    assert_eq!(core.early.last().unwrap().1, true_one);
}
