//! Replicas never disagree: the same height has the same block, the same root and the same receipts everywhere.

use std::collections::BTreeMap;

use allod_state::block::Header;
use allod_state::{BlockId, Root, TransactionId};

use super::{Check, Found, Told};

type Decided = (BlockId, Root, [u8; 32], Vec<TransactionId>);

#[derive(Default)]
pub(super) struct Agreement {
    decided: BTreeMap<u64, Decided>,
    /// What somebody was shown to be decided before any honest machine told of it.
    certified: BTreeMap<u64, BlockId>,
}

impl Agreement {
    fn agrees(&self, height: u64, block: BlockId) -> Found {
        let decided = self.decided.get(&height).map(|decided| decided.0);
        let certified = self.certified.get(&height).copied();
        match [decided, certified]
            .into_iter()
            .flatten()
            .find(|one| *one != block)
        {
            None => Ok(()),
            Some(other) => Err(format!(
                "block {block} is shown as decided at height {height}, and so is {other}"
            )),
        }
    }
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
        self.agrees(header.height, here.0)?;
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

    fn certified(&mut self, header: &Header) -> Found {
        self.agrees(header.height, header.id())?;
        self.certified.insert(header.height, header.id());
        Ok(())
    }
}
