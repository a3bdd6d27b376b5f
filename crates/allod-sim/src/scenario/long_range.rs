//! The long-range attack on proof of stake (Buterin, "Proof of Stake: How I Learned to Love Weak Subjectivity", 2014):
//! whoever once decided and has nothing to lose any more signs another history from there on, and newcomers cannot tell.
//!
//! Here four validators are replaced by four others, one by one. Then the first four, all together, sign another chain,
//! as high as the true one, and give it to a newcomer. It knows of one block, from whoever invited it.

use std::collections::BTreeMap;

use allod_ledger::bft::Signer;
use allod_ledger::disk::MemoryDisk;
use allod_ledger::store::{Anchor, Manifest, SnapshotError};
use allod_state::block::Header;
use allod_state::certificate::{Certificate, VoteKind, vote_bytes};
use allod_state::genesis::Genesis;
use allod_state::validator::{Leave, Stand, Vote};
use allod_state::{Action, BlockId, Digest, Proposal, build, codec};

use crate::network::stage::{Found, Stage};
use crate::person::{operator_of_validator, validator};
use crate::snapshot::Snapshot;

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "long-range",
    happened: "those who decided long ago sign another history, and a newcomer cannot tell (long-range attack)",
    holds: "a newcomer that was told of one block refuses every history without it, and begins with the true one",
    planted: Some("the newcomer was told of no block"),
    play,
};

const SET: usize = 4;

/// The operator of a validator does something.
fn operate(stage: &mut Stage, number: usize, actions: Vec<Action>) -> Found {
    let operator = operator_of_validator(number);
    stage.done(operator, stage.account(operator), actions)
}

/// Four others take the places of the first four.
fn replace_all(stage: &mut Stage) -> Found {
    for number in 0..SET {
        let register = stage.registration(number)?;
        operate(stage, number, vec![register.into()])?;
    }
    for number in SET..2 * SET {
        stage.add_machine(None);
        let node = stage.seat(number);
        let register = stage.registration(number)?;
        operate(stage, number, vec![register.into(), Stand { node }.into()])?;
        for voter in 0..number {
            operate(stage, voter, vec![Vote { node, is_in: true }.into()])?;
        }
    }
    for number in 0..SET {
        let node = stage.seat(number);
        operate(stage, number, vec![Leave { node }.into()])?;
    }
    Ok(())
}

/// A snapshot of a chain of empty blocks that the first four decided, with a header that was asked for.
fn other_history(genesis: &Genesis, shown: Header) -> Result<Snapshot, String> {
    let (mut state, writes) = genesis.state();
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut write = |writes: Vec<allod_state::state::Write>| {
        for (key, value) in writes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    };
    write(writes);
    let mut last = None;
    while state.tip().height < shown.height {
        let proposal = Proposal {
            time_ms: state.tip().time_ms + 1_000,
            proposer: validator(0).public_key(),
            transactions: &[],
        };
        let (executed, _) = build(&state, &proposal).map_err(|error| error.to_string())?;
        write(executed.writes);
        state = executed.state;
        last = Some(executed.block.header);
    }
    let header = last.ok_or("there is nothing to rewrite")?;
    let rows: Vec<(Vec<u8>, Vec<u8>)> = rows.into_iter().collect();
    let chunk = codec::encode(&rows);
    let digest = Digest::of(&chunk);
    Ok(Snapshot {
        manifest: Manifest {
            certificate: decided_by_the_first(&header),
            header,
            handovers: Vec::new(),
            chunks: vec![digest],
        },
        chunks: BTreeMap::from([(digest, chunk)]),
        header: Some(shown),
    })
}

fn decided_by_the_first(header: &Header) -> Certificate {
    let (height, block) = (header.height, header.id());
    let kind = VoteKind::Precommit;
    let bytes = vote_bytes(&header.network, kind, height, 0, Some(&block));
    let signed = (0..SET).map(|number| {
        let signer = validator(number);
        (signer.public_key(), signer.sign(&bytes))
    });
    let mut signatures: Vec<_> = signed.collect();
    signatures.sort_by_key(|(key, _)| *key);
    Certificate {
        height,
        round: 0,
        block,
        signatures,
    }
}

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(SET);
    replace_all(&mut stage)?;
    stage.pay_times(SET, 3)?;
    let replica = stage.replica(SET).ok_or("a validator is down")?;
    let tip = replica.store().tip().ok().flatten();
    let shown = tip.ok_or("nothing was decided")?.header;
    let genesis = stage.genesis().clone();
    let unknown = Anchor {
        height: 0,
        block: BlockId([0; 32]),
        header: None,
    };
    let told = Anchor {
        height: shown.height,
        block: shown.id(),
        header: None,
    };
    let other = other_history(&genesis, shown)?;
    let known = if is_planted { &unknown } else { &told };
    match other.found(&MemoryDisk::default(), &genesis, known) {
        Err(SnapshotError::Unanchored(_)) => {}
        Err(error) => return Err(format!("it is refused for another reason: {error}")),
        Ok(_) => stage.believe(&other.manifest.header),
    }
    stage.well()?;
    let newcomer = stage.add_machine(Some(told.clone()));
    stage.wait("the newcomer has begun", 60_000, |stage| {
        stage.height(newcomer) >= told.height
    })?;
    let replica = stage.replica(newcomer).ok_or("the newcomer is down")?;
    if replica.store().oldest_height().ok().flatten() == Some(1) {
        return Err("it learned all blocks".into());
    }
    stage.pay_times(newcomer, 2)?;
    stage.end()
}
