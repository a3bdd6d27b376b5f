//! States that tests make up, row by row.

use allod_state::block::Header;
use allod_state::state::RestoreError;
use allod_state::{BlockId, Credits, NetworkId, PublicKey, Root, State};

/// The state of these rows, by their stored keys.
pub(crate) fn restored(rows: Vec<(Vec<u8>, Vec<u8>)>) -> State {
    let mut header = Header {
        version: 1,
        network: NetworkId([0; 32]),
        height: 1,
        time_ms: 1,
        parent: BlockId([0; 32]),
        proposer: PublicKey::Ed25519([0; 32]),
        transactions_hash: [0; 32],
        receipts_hash: [0; 32],
        root: Root([0; 32]),
        validators_hash: [0; 32],
        next_validators_hash: [0; 32],
        supply: Credits::ZERO,
    };
    // The root is what these rows say that it is.
    let Err(RestoreError::WrongRoot { found, .. }) = State::restore(&header, rows.clone()) else {
        panic!("no row can be read");
    };
    header.root = found;
    State::restore(&header, rows).unwrap()
}
