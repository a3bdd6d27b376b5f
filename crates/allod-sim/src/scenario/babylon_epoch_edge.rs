//! Babylon Genesis, 18 June 2025: at the edge of an epoch two modules changed the validators in one block; the second
//! change met what the first had left, and every node panicked.
//!
//! Here one block bars a validator that is proven false, says so a second time, and has another one leave. The block
//! after it is decided by exactly the two that are left, and the network goes on.

use allod_ledger::bft::{Message, Signer};
use allod_state::certificate::{VoteKind, vote_bytes};
use allod_state::node::RegisterNode;
use allod_state::validator::{Leave, ReportConflict, Said};
use allod_state::{Action, BlockId, NodeId};

use crate::network::stage::{Found, Stage};
use crate::person::validator;

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "babylon-epoch-edge",
    happened: "two changes of the validators in one block panicked every node (Babylon, 18 June 2025)",
    holds: "a block that bars a validator twice and lets another one leave is decided, and so is the next",
    planted: Some("one of those who stay is down: then nobody decides the next"),
    play,
};

/// Lists the validators' machines, as founder 0's.
fn list(stage: &mut Stage, count: usize) -> Found {
    let operator = stage.account(0);
    for number in 0..count {
        let signer = validator(number);
        let consent = RegisterNode::consent_bytes(&operator, &[3; 32]);
        let register = RegisterNode {
            key: signer.public_key(),
            consent: signer.sign(&consent),
            sealing_key: [3; 32],
            name: "validator".parse().map_err(|_| "no name")?,
        };
        stage.done(0, operator, vec![register.into()])?;
    }
    Ok(())
}

fn node_of(number: usize) -> NodeId {
    NodeId::of_first_key(&validator(number).public_key())
}

/// Two votes of the last validator for one round.
fn proof(stage: &Stage, reporter: usize) -> Result<Action, String> {
    let (signer, network) = (validator(3), stage.state(0)?.network());
    let said = |byte: u8| {
        let block = BlockId([byte; 32]);
        let bytes = vote_bytes(&network, VoteKind::Precommit, 1, 0, Some(&block));
        let said = Said::Vote(VoteKind::Precommit, Some(block));
        (said, signer.sign(&bytes))
    };
    let report = ReportConflict {
        node: node_of(reporter),
        validator: signer.public_key(),
        height: 1,
        round: 0,
        one: said(1),
        other: said(2),
    };
    Ok(report.into())
}

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    // The last one is false, so that what it says is held against nobody else.
    stage.corrupt(3, "withholder");
    list(&mut stage, 4)?;
    let changes = vec![
        proof(&stage, 0)?,
        Leave { node: node_of(2) }.into(),
        proof(&stage, 1)?,
    ];
    stage.done(0, stage.account(0), changes)?;
    if is_planted {
        stage.kill(1);
    }
    let state = stage.state(0)?;
    let left: Vec<_> = state.validators().iter().map(|(key, _)| *key).collect();
    let expected = [0, 1].map(|number| validator(number).public_key());
    if !left.iter().all(|key| expected.contains(key)) || left.len() != 2 {
        return Err(format!("the validators are now {left:?}"));
    }
    // A vote of somebody who is out is worth nothing, and ends nobody.
    let bytes = vote_bytes(&state.network(), VoteKind::Prevote, 99, 0, None);
    stage.throw(
        3,
        0,
        &Message::Vote(allod_ledger::bft::SignedVote {
            kind: VoteKind::Prevote,
            height: state.tip().height + 1,
            round: 0,
            value: None,
            validator: validator(3).public_key(),
            signature: validator(3).sign(&bytes),
        }),
    );
    stage.pay_times(0, 5)?;
    stage.end()
}
