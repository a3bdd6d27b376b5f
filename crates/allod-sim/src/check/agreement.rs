//! Replicas never disagree: the same height has the same block, the same root and the same receipts everywhere.

use std::collections::BTreeMap;

use allod_state::{BlockId, Root, TransactionId};

use super::{Check, Found, Told};

type Decided = (BlockId, Root, [u8; 32], Vec<TransactionId>);

#[derive(Default)]
pub(super) struct Agreement {
    decided: BTreeMap<u64, Decided>,
}

impl Check for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn told(&mut self, told: &Told) -> Found {
        let header = &told.header;
        let here = (
            told.certificate.block,
            told.state.root(),
            header.receipts_hash,
            told.ids.clone(),
        );
        let first = self
            .decided
            .entry(header.height)
            .or_insert_with(|| here.clone());
        if *first == here {
            return Ok(());
        }
        Err(format!(
            "machine {} has block {} and {} at height {}, another has {} and {}",
            told.machine, here.0, here.1, header.height, first.0, first.1
        ))
    }
}
