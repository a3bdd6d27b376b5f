//! The inspector: opens what is left with the shipping code, and compares it with what was told.
//!
//! It believes nothing that the store says about itself: balances follow from the nonces alone, the
//! headers from one another and their certificates, the roots and receipts from executing the blocks
//! again, beginning with genesis or with a snapshot.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use allod_ledger::disk::RealDisk;
use allod_ledger::replica::Replica;
use allod_ledger::store::{Store, StoredBlock};
use allod_state::{AccountId, State};

use crate::Failure;
use crate::book::{BALANCE, Book, clock};
use crate::chain::execute;
use crate::journal::Journal;
use crate::options::Options;
use crate::snapshots;

type Blocks = BTreeMap<u64, StoredBlock>;

/// What is looked at, and what was found.
struct Inspector<'a> {
    book: &'a Book,
    store: &'a Store,
    state: &'a State,
    journal: &'a Journal,
    violations: Vec<String>,
    /// Receipts that were found at their places.
    receipts: u64,
    /// Blocks that were executed again.
    recomputed: u64,
}

/// Opens the folder and says what is wrong with it.
pub(crate) fn run(
    book: &Book,
    folder: &Path,
    journal: &Path,
    options: &Options,
) -> Result<ExitCode, Failure> {
    let journal = Journal::read(journal)?;
    let disk = Arc::new(RealDisk::new(&folder.join("ledger"))?);
    let replica = Replica::open(disk, book.validator(), book.settings(options), clock())?;
    let mut inspector = Inspector {
        book,
        store: replica.store(),
        state: replica.state(),
        journal: &journal,
        violations: journal.violations.clone(),
        receipts: 0,
        recomputed: 0,
    };
    let blocks = inspector.blocks()?;
    inspector.places(&blocks)?;
    inspector.answers(&blocks)?;
    inspector.commits(&blocks, options);
    inspector.balances()?;
    inspector.recompute(&RealDisk::new(&folder.join("snapshots"))?, &blocks)?;
    println!(
        "{{\"acknowledged\":{},\"tip\":{},\"oldest\":{},\"receipts\":{},\"recomputed\":{},\"signatures\":{},\
         \"snapshot\":{},\"fulls\":{},\"rooms\":{},\"violations\":{}}}",
        journal.answers.len(),
        inspector.state.tip().height,
        blocks.keys().next().copied().unwrap_or(0),
        inspector.receipts,
        inspector.recomputed,
        journal.signatures,
        journal.snapshot.unwrap_or(0),
        journal.fulls,
        journal.rooms,
        inspector.violations.len(),
    );
    for violation in &inspector.violations {
        println!("violation {violation}");
    }
    let is_whole = inspector.violations.is_empty();
    Ok(ExitCode::from(u8::from(!is_whole)))
}

impl Inspector<'_> {
    fn found(&mut self, kind: &str, what: impl Display) {
        self.violations.push(format!("{kind}: {what}"));
    }

    /// Reads every block that is kept and checks that they are one certified chain up to the state.
    fn blocks(&mut self) -> Result<Blocks, Failure> {
        let (stored, tip) = (self.store.load()?.0, self.state.tip());
        if stored.root() != self.state.root() || stored.tip() != tip {
            self.found("state", "the store's state is not the replica's");
        }
        // What is damaged is named, be it the index alone.
        self.store.scrub(0, usize::MAX)?;
        let mut blocks = Blocks::new();
        let mut parent = None;
        let validators = self.state.validators();
        let oldest = self.store.oldest_height()?.unwrap_or(1);
        for height in oldest..=tip.height {
            let Some(kept) = self.store.block(height)? else {
                self.found("headers", format_args!("there is no block {height}"));
                continue;
            };
            let header = &kept.block.header;
            let proof = kept
                .certificate
                .verify(&self.book.network(), &validators, header);
            if let Err(error) = proof {
                self.found("headers", format_args!("block {height}: {error}"));
            }
            if header.height != height || parent.is_some_and(|parent| parent != header.parent) {
                self.found("headers", format_args!("block {height} follows another"));
            }
            parent = Some(header.id());
            blocks.insert(height, kept);
        }
        let last = blocks.get(&tip.height).map(|kept| &kept.block.header);
        let is_last = |root, id| root == self.state.root() && id == tip.block;
        if tip.height > 0 && !last.is_some_and(|last| is_last(last.root, last.id())) {
            self.found("headers", "the last block is not the state's");
        }
        Ok(blocks)
    }

    /// Each transaction is in one block only, and is found there with its receipt.
    fn places(&mut self, blocks: &Blocks) -> Result<(), Failure> {
        let mut seen = BTreeMap::new();
        for (height, kept) in blocks {
            for (index, transaction) in (0u32..).zip(&kept.block.transactions) {
                let (id, place) = (transaction.body.id(), (*height, index));
                if let Some(first) = seen.insert(id, place) {
                    let what = format!("{id} is at {first:?} and at {place:?}");
                    self.found("twice", what);
                }
                match self.store.receipt(&id)? {
                    Some((height, index, receipt))
                        if (height, index) == place && receipt.outcome.is_ok() =>
                    {
                        self.receipts += 1;
                    }
                    other => {
                        let what = format!("{id} is at {place:?}, and found is {other:?}");
                        self.found("receipts", what);
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything that was acknowledged is there, where it was said to be.
    fn answers(&mut self, blocks: &Blocks) -> Result<(), Failure> {
        let oldest = blocks.keys().next().copied().unwrap_or(0);
        for ((at, nonce), place) in &self.journal.answers {
            let told = format!("transfer {nonce} of account {at}, told to be at {place:?}");
            if *nonce >= self.book.nonce(self.state, *at) {
                self.found("lost", told);
                continue;
            }
            let is_kept = place.is_some_and(|(height, _)| height >= oldest);
            if !is_kept {
                continue;
            }
            let id = self.book.transaction(*at, *nonce).body.id();
            let found = self.store.receipt(&id)?.map(|found| (found.0, found.1));
            if found != *place {
                self.found("lost", format_args!("{told}, is at {found:?}"));
            }
        }
        Ok(())
    }

    /// Every block that was told is there, or is older than what must be kept.
    fn commits(&mut self, blocks: &Blocks, options: &Options) {
        let tip = self.state.tip();
        let kept_from_ms = tip.time_ms.saturating_sub(options.retention_ms);
        for (height, (time_ms, id)) in &self.journal.commits {
            match blocks.get(height) {
                Some(kept) if kept.block.header.id().to_string() == *id => {}
                Some(_) => self.found("lost", format_args!("block {height} is another one now")),
                None if *height < tip.height && *time_ms < kept_from_ms => {}
                None => self.found("lost", format_args!("block {height} is gone")),
            }
        }
    }

    /// What every account holds follows from how many transfers each has made.
    fn balances(&mut self) -> Result<(), Failure> {
        let fee = fee(self.book)?;
        let mut expected: BTreeMap<AccountId, i128> = BTreeMap::new();
        for at in 0..self.book.accounts() {
            let from = self.book.account(at);
            *expected.entry(from).or_default() += BALANCE.micro();
            for nonce in 0..self.book.nonce(self.state, at) {
                let (to, amount) = self.book.transfer_of(at, nonce);
                *expected.entry(from).or_default() -= amount.micro() + fee;
                *expected.entry(to).or_default() += amount.micro();
                *expected.entry(AccountId::COMMONS).or_default() += fee;
            }
        }
        let state = self.state;
        for (id, account) in state.accounts() {
            let (has, expected) = (account.balance.micro(), expected.remove(id).unwrap_or(0));
            if has != expected {
                self.found("balances", format_args!("{id} has {has}, not {expected}"));
            }
        }
        if !expected.is_empty() || state.recount() != Some(state.params().supply) {
            self.found("balances", "accounts or credits are missing");
        }
        Ok(())
    }

    /// Executes the blocks again, from genesis or from the oldest snapshot that reaches them, and
    /// imports every snapshot on the way.
    fn recompute(&mut self, snapshots: &RealDisk, blocks: &Blocks) -> Result<(), Failure> {
        let imported = match snapshots::import_all(self.book, snapshots) {
            Ok(imported) => imported,
            Err(error) => {
                self.found("snapshots", error);
                Vec::new()
            }
        };
        let newest = imported.last().map(|(height, _)| *height);
        if newest < self.journal.snapshot {
            let told = self.journal.snapshot;
            self.found(
                "snapshots",
                format_args!("{told:?} was told, {newest:?} is the newest"),
            );
        }
        let oldest = blocks.keys().next().copied().unwrap_or(1);
        let reaching = imported.iter().find(|(height, _)| height + 1 >= oldest);
        let mut state = match reaching {
            _ if oldest == 1 => self.book.genesis.state().0,
            Some((_, snapshot)) => snapshot.load()?.0,
            None => return Ok(()),
        };
        for (height, kept) in blocks.range(state.tip().height + 1..) {
            if kept.block.header.parent != state.tip().block {
                self.found(
                    "snapshots",
                    format_args!("block {height} does not follow one"),
                );
            }
            let executed = match execute(&state, &kept.block) {
                Ok(executed) => executed,
                Err(error) => {
                    self.found("recomputed", format_args!("block {height}: {error}"));
                    return Ok(());
                }
            };
            let outcome = self.store.outcome(*height)?;
            let is_same = outcome.is_some_and(|outcome| {
                outcome.receipts == executed.receipts && outcome.events == executed.events
            });
            if !is_same {
                self.found(
                    "recomputed",
                    format_args!("block {height} has other receipts"),
                );
            }
            state = executed.state;
            self.recomputed += 1;
        }
        if state.root() != self.state.root() {
            self.found("recomputed", "the blocks lead to another root");
        }
        Ok(())
    }
}

/// What each transfer costs: all are alike.
fn fee(book: &Book) -> Result<i128, Failure> {
    let (genesis, _) = book.genesis.state();
    let transfers = [book.transaction(0, 0).verify()?];
    let proposal = allod_state::Proposal {
        time_ms: genesis.tip().time_ms + 1,
        proposer: book.transaction(0, 0).body.key,
        transactions: &transfers,
    };
    let executed = allod_state::execute(&genesis, &proposal)?;
    let receipt = executed.receipts.first().ok_or("there is no receipt")?;
    Ok(receipt.fee.micro())
}
