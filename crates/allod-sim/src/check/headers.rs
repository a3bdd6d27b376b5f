//! Every word of a header is true: chain, hashes, supply, root, validators, and the certificate over it.

use allod_state::BlockId;
use allod_state::block::transactions_hash;
use allod_state::codec;

use super::{Check, Found, Fresh};

#[derive(Default)]
pub(super) struct Headers {
    parent: Option<(BlockId, u64)>,
}

impl Check for Headers {
    fn name(&self) -> &'static str {
        "headers"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let (told, header) = (fresh.told, &fresh.told.header);
        let network = fresh.before.network();
        let (parent, parent_ms) = self.parent.unwrap_or((
            BlockId(*network.as_bytes()),
            fresh.before.params().genesis_ms,
        ));
        let (before, after) = (fresh.before.validators(), told.state.validators());
        let receipts = codec::hash("allod receipts v1", &(&told.receipts, &told.events));
        let facts = [
            ("parent", header.parent == parent),
            ("time", header.time_ms > parent_ms),
            ("network", header.network == network),
            ("root", header.root == told.state.root()),
            ("supply", header.supply == told.state.params().supply),
            (
                "transactions hash",
                header.transactions_hash == transactions_hash(told.ids.iter()),
            ),
            ("receipts hash", header.receipts_hash == receipts),
            ("validators hash", header.validators_hash == before.hash()),
            (
                "next validators hash",
                header.next_validators_hash == after.hash(),
            ),
        ];
        self.parent = Some((header.id(), header.time_ms));
        if let Some((what, _)) = facts.iter().find(|(_, is_true)| !is_true) {
            return Err(format!(
                "the {what} of header {} is not true",
                header.height
            ));
        }
        let verified = told.certificate.verify(&network, &before, header);
        verified.map_err(|error| format!("the certificate of {}: {error}", header.height))
    }
}
