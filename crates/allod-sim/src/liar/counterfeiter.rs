//! Gives newcomers snapshots of what nobody decided: other rows, another header, a network that it handed over to itself.

use std::collections::BTreeMap;

use allod_ledger::bft::Signer;
use allod_state::block::Header;
use allod_state::certificate::{Certificate, Handover, VoteKind, vote_bytes};
use allod_state::validator::ValidatorSet;
use allod_state::{Digest, Root, codec};

use crate::snapshot::Snapshot;
use crate::tamper;

use super::{Habit, Scene};

type Lie = fn(&Scene<'_>, &mut Snapshot) -> Option<()>;

/// What a snapshot can be wrong about.
const LIES: &[Lie] = &[
    other_rows,
    other_chunk,
    missing_chunk,
    other_header,
    own_certificate,
    few_signatures,
    own_network,
    own_network,
    no_way_there,
    another_anchor,
];

#[derive(Default)]
pub(super) struct Counterfeiter {
    /// The first snapshot that it gave: later it is an old one.
    old: Option<Snapshot>,
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows_of(snapshot: &Snapshot) -> Option<Rows> {
    let chunks = snapshot.manifest.chunks.iter();
    let mut rows = Rows::new();
    for digest in chunks {
        let bytes = snapshot.chunks.get(digest)?;
        let chunk: Vec<(Vec<u8>, Vec<u8>)> = borsh::from_slice(bytes).ok()?;
        rows.extend(chunk);
    }
    Some(rows)
}

fn put_rows(snapshot: &mut Snapshot, rows: Rows) {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = rows.into_iter().collect();
    let bytes = codec::encode(&rows);
    let digest = Digest::of(&bytes);
    snapshot.manifest.chunks = vec![digest];
    snapshot.chunks = BTreeMap::from([(digest, bytes)]);
}

/// A credit more, in chunks that are what their digests say.
fn other_rows(_: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    let mut rows = rows_of(snapshot)?;
    tamper::mint(&mut rows)?;
    put_rows(snapshot, rows);
    Some(())
}

fn other_chunk(_: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    let mut chunk = snapshot.chunks.first_entry()?;
    *chunk.get_mut().last_mut()? ^= 1;
    Some(())
}

fn missing_chunk(_: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    snapshot.manifest.chunks.pop().map(drop)
}

fn other_header(_: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    snapshot.manifest.header.root = Root([7; 32]);
    Some(())
}

/// Its own vote, for the header as it stands, as often as there are names.
fn own_votes(scene: &Scene<'_>, header: &Header, names: &ValidatorSet) -> Certificate {
    let (height, round, block) = (header.height, 0, header.id());
    let kind = VoteKind::Precommit;
    let bytes = vote_bytes(&header.network, kind, height, round, Some(&block));
    let signature = scene.signer.sign(&bytes);
    Certificate {
        height,
        round,
        block,
        signatures: names.iter().map(|(key, _)| (*key, signature)).collect(),
    }
}

/// A state of its own, and its own vote under the names of all.
fn own_certificate(scene: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    mint_under_header(snapshot)?;
    let header = &snapshot.manifest.header;
    snapshot.manifest.certificate = own_votes(scene, header, &scene.state.validators());
    Some(())
}

fn mint_under_header(snapshot: &mut Snapshot) -> Option<()> {
    let rows = rows_of(snapshot)?;
    let (root, rows) = tamper::root(&snapshot.manifest.header, &rows, tamper::mint)?;
    put_rows(snapshot, rows);
    snapshot.manifest.header.root = root;
    Some(())
}

fn few_signatures(_: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    snapshot.manifest.certificate.signatures.truncate(1);
    Some(())
}

/// A state of its own, decided by itself alone, to whom it says that everybody handed over.
fn own_network(scene: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    mint_under_header(snapshot)?;
    let alone = ValidatorSet::new([(scene.key(), 1)]);
    let header = &mut snapshot.manifest.header;
    let mut last = header.clone();
    last.height = header.height.checked_sub(1)?;
    last.next_validators_hash = alone.hash();
    let everybody = scene.state.validators();
    let names = if last.height.is_multiple_of(2) {
        &everybody
    } else {
        &alone
    };
    header.validators_hash = alone.hash();
    snapshot.manifest.certificate = own_votes(scene, header, &alone);
    snapshot.manifest.handovers.push(Handover {
        certificate: own_votes(scene, &last, names),
        header: last,
        next: alone,
    });
    Some(())
}

/// The last of those who handed over is left out.
fn no_way_there(_: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    snapshot.manifest.handovers.pop().map(drop)
}

fn another_anchor(_: &Scene<'_>, snapshot: &mut Snapshot) -> Option<()> {
    snapshot.header.as_mut()?.root = Root([7; 32]);
    Some(())
}

impl Habit for Counterfeiter {
    fn gives(&mut self, scene: &mut Scene<'_>, snapshot: Snapshot) -> Snapshot {
        let old = self.old.get_or_insert_with(|| snapshot.clone());
        if scene.random.percent(10) {
            return Snapshot {
                header: snapshot.header,
                ..old.clone()
            };
        }
        let mut false_one = snapshot.clone();
        let lie = scene.random.pick(LIES).copied();
        match lie.and_then(|lie| lie(scene, &mut false_one)) {
            Some(()) => false_one,
            None => snapshot,
        }
    }
}
