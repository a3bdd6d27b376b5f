//! A second execution of every block, apart from all replicas, and the rows that it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use allod_state::block::Header;
use allod_state::genesis::Genesis;
use allod_state::transaction::Verified;
use allod_state::{Executed, State, Transaction};

use crate::check::Told;

/// The state and its rows as the blocks alone give them.
#[derive(Default)]
pub(crate) struct Shadow {
    state: Option<State>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Shadow {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        let (state, writes) = genesis.state();
        let mut shadow = Self {
            state: Some(state),
            rows: BTreeMap::new(),
        };
        shadow.write(writes);
        shadow
    }

    pub(crate) fn state(&self) -> &State {
        self.state.as_ref().expect("only a taken shadow is empty")
    }

    pub(crate) fn rows(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.rows
    }

    fn write(&mut self, writes: Vec<allod_state::state::Write>) {
        for (key, value) in writes {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Executes the next block without moving to it; an error says what is wrong with it.
    pub(crate) fn execute(
        &self,
        header: &Header,
        transactions: &[Arc<Transaction>],
    ) -> Result<Executed, String> {
        let height = header.height;
        let verified = Verified::batch(transactions.to_vec())
            .map_err(|error| format!("block {height} holds a false signature: {error}"))?;
        allod_state::check(self.state(), header, &verified)
            .map_err(|error| format!("block {height} does not execute again: {error}"))
    }

    /// Moves to the next block; an error says how what the replica told differs.
    pub(crate) fn follow(&mut self, told: &Told) -> Result<(), String> {
        let height = told.header.height;
        let executed = self.execute(&told.header, &told.transactions)?;
        if executed.ids != told.ids || executed.receipts != told.receipts {
            return Err(format!(
                "block {height} has other receipts when executed again"
            ));
        }
        if executed.events != told.events {
            return Err(format!(
                "block {height} has other events when executed again"
            ));
        }
        self.write(executed.writes);
        self.state = Some(executed.state);
        Ok(())
    }
}
