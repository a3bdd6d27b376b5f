//! What is shown to be the network's: from its id over genesis, handovers and a certificate to a header, and from that to
//! rows of the state.

use allod_node::view::{Certified, Proved};
use allod_state::block::Header;
use allod_state::certificate::{Certificate, Handover, successors};
use allod_state::codec;
use allod_state::genesis::Genesis;
use allod_state::proof::Proof;
use allod_state::validator::ValidatorSet;
use allod_state::{NetworkId, Root};
use borsh::BorshDeserialize;
use data_encoding::HEXLOWER;
use serde::Serialize;

use super::limits::PROOF_BYTES_MAX;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// Whether it holds.
    pub is_good: bool,
    /// What was found.
    pub found: String,
}

impl Check {
    pub(super) fn new(what: impl Into<String>, result: Result<String, String>) -> Self {
        let is_good = result.is_ok();
        Self {
            what: what.into(),
            is_good,
            found: result.unwrap_or_else(|wrong| wrong),
        }
    }
}

/// The header that the network certified, and the two checks that say so.
pub(super) fn header_of(network: &NetworkId, claim: &Certified) -> ([Check; 2], Option<Header>) {
    let genesis = genesis(network, claim);
    let header = genesis.as_ref().map_err(Clone::clone);
    let header = header.and_then(|genesis| certified(network, genesis, claim));
    let validators = genesis.map(|genesis| {
        let validators = genesis.validators.len();
        format!("{network}, {validators} validator(s)")
    });
    let found = header.as_ref().map_err(Clone::clone);
    let found = found.map(|it| format!("height {}, root {}", it.height, it.root.short()));
    let checks = [
        Check::new("the genesis document is this network's", validators),
        Check::new("its validators certified the header", found),
    ];
    (checks, header.ok())
}

fn genesis(network: &NetworkId, claim: &Certified) -> Result<Genesis, String> {
    let genesis: Genesis = decoded("genesis document", &claim.genesis)?;
    if genesis.network() == *network {
        Ok(genesis)
    } else {
        Err(format!("it is that of {}", genesis.network()))
    }
}

fn certified(network: &NetworkId, genesis: &Genesis, claim: &Certified) -> Result<Header, String> {
    let header: Header = decoded("header", &claim.header)?;
    let certificate: Certificate = decoded("certificate", &claim.certificate)?;
    let powers = genesis.validators.iter().map(|(key, power)| (*key, *power));
    let handovers = claim.handovers.iter().map(|it| decoded("handover", it));
    let handovers = handovers.collect::<Result<Vec<Handover>, String>>()?;
    let validators = successors(network, ValidatorSet::new(powers), &handovers);
    validators
        .and_then(|validators| certificate.verify(network, &validators, &header))
        .map_err(|error| error.to_string())?;
    Ok(header)
}

/// A row that is in the state.
pub(super) fn proved<T: BorshDeserialize>(
    root: &Root,
    key: &[u8],
    claim: &Proved,
    what: &'static str,
) -> Result<T, String> {
    let bytes = proved_bytes(root, key, claim, what)?;
    codec::decode(what, PROOF_BYTES_MAX, &bytes).map_err(|error| error.to_string())
}

/// The bytes of a row that is in the state.
pub(super) fn proved_bytes(
    root: &Root,
    key: &[u8],
    claim: &Proved,
    what: &str,
) -> Result<Vec<u8>, String> {
    let bytes = unhex(what, &claim.value)?;
    let proof: Proof = decoded("proof", &claim.proof)?;
    if bytes.is_empty() {
        return Err(format!("the state holds no such {what} any more"));
    }
    proof
        .verify_value(root, key, &bytes)
        .map_err(|error| format!("the {what} is not in the state: {error}"))?;
    Ok(bytes)
}

/// Whether it is shown that there is no such row.
pub(super) fn is_absent(root: &Root, key: &[u8], claim: &Proved) -> bool {
    let proof: Result<Proof, String> = decoded("proof", &claim.proof);
    let is_shown = |proof: Proof| proof.lookup(root, key) == Ok(None);
    claim.value.is_empty() && proof.is_ok_and(is_shown)
}

pub(super) fn decoded<T: BorshDeserialize>(what: &'static str, text: &str) -> Result<T, String> {
    codec::decode(what, PROOF_BYTES_MAX, &unhex(what, text)?).map_err(|error| error.to_string())
}

pub(super) fn unhex(what: &str, text: &str) -> Result<Vec<u8>, String> {
    HEXLOWER
        .decode(text.as_bytes())
        .map_err(|_| format!("the {what} is not hexadecimal"))
}
