//! One chain in a file, for builds that must agree on it: it does not depend on when it is made.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use allod_ledger::bft::Signer;
use allod_state::block::Block;
use allod_state::credit::Transfer;
use allod_state::transaction::Verified;
use allod_state::{AccountId, Action, Credits, Executed, Proposal, State, codec};

use crate::Failure;
use crate::book::{Book, genesis};

const ACCOUNTS: u32 = 200;
const GENESIS_MS: u64 = 1_800_000_000_000;
const BLOCK_EVERY_MS: u64 = 50;

/// What a chain comes to.
#[derive(Default)]
struct Sum {
    blocks: u64,
    transactions: usize,
    failed: usize,
    roots: [u8; 32],
}

impl Sum {
    fn add(&mut self, executed: &Executed) {
        let header = &executed.block.header;
        self.blocks += 1;
        self.transactions += executed.receipts.len();
        let failed = |receipt: &&allod_state::receipt::Receipt| receipt.outcome.is_err();
        self.failed += executed.receipts.iter().filter(failed).count();
        self.roots = codec::hash_parts(
            "allod endure roots v1",
            &[&self.roots, &header.root.0, &header.receipts_hash],
        );
    }

    fn print(&self) {
        let roots: String = self
            .roots
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        println!(
            "{} blocks, {} transactions, {} of them failed, roots {roots}",
            self.blocks, self.transactions, self.failed
        );
    }
}

/// Executes a block on the state before it, and checks every word of its header.
pub(crate) fn execute(parent: &State, block: &Block) -> Result<Executed, Failure> {
    let transactions = Verified::batch(block.transactions.clone())?;
    Ok(allod_state::check(parent, &block.header, &transactions)?)
}

/// Writes a chain of so many transactions.
pub(crate) fn make(file: &Path, count: usize) -> Result<(), Failure> {
    let book = Book::of(genesis(ACCOUNTS, GENESIS_MS, [9; 32]))?;
    let (mut state, _) = book.genesis.state();
    let mut file = BufWriter::new(File::create(file)?);
    let (mut sum, mut made) = (Sum::default(), 0);
    while made < count {
        let wanted = (1 + made * 37 % 400).min(count - made);
        let transactions = (made..made + wanted).map(|at| transaction(&book, at));
        let transactions = Verified::batch(transactions.collect::<Result<_, _>>()?)?;
        let proposal = Proposal {
            time_ms: state.tip().time_ms + BLOCK_EVERY_MS,
            proposer: book.validator().public_key(),
            transactions: &transactions,
        };
        let executed = allod_state::execute(&state, &proposal)?;
        let bytes = executed.block.to_bytes();
        file.write_all(&u32::try_from(bytes.len())?.to_le_bytes())?;
        file.write_all(&bytes)?;
        sum.add(&executed);
        made += wanted;
        state = executed.state;
    }
    file.flush()?;
    sum.print();
    Ok(())
}

/// The transaction of this number: transfers with and without words, several at once, to accounts
/// that there are and that there are not, and some that nobody can pay.
fn transaction(book: &Book, number: usize) -> Result<allod_state::Transaction, Failure> {
    let (at, nonce) = (number % book.accounts(), number / book.accounts());
    let nonce = u64::try_from(nonce)?;
    let (to, amount) = book.transfer_of(at, nonce);
    let transfer = |to, amount, memo: String| Action::from(Transfer { to, amount, memo });
    let actions = match number % 11 {
        0 => vec![transfer(to, amount, format!("for number {number}"))],
        1 => vec![
            transfer(to, amount, String::new()),
            transfer(AccountId::COMMONS, amount, "and a gift".to_owned()),
        ],
        2 => {
            let stranger = codec::hash_parts("allod endure stranger", &[&number.to_le_bytes()]);
            vec![transfer(AccountId(stranger), amount, String::new())]
        }
        3 => {
            let too_much = Credits::from_micro(crate::book::BALANCE.micro() * 1_000);
            vec![
                transfer(to, amount, String::new()),
                transfer(to, too_much, String::new()),
            ]
        }
        _ => vec![transfer(to, amount, String::new())],
    };
    Ok(book.signed(at, nonce, actions))
}

/// Executes a chain again.
pub(crate) fn replay(file: &Path) -> Result<(), Failure> {
    let book = Book::of(genesis(ACCOUNTS, GENESIS_MS, [9; 32]))?;
    let (mut state, _) = book.genesis.state();
    let mut file = BufReader::new(File::open(file)?);
    let mut sum = Sum::default();
    let mut length = [0; 4];
    while file.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(length))?];
        file.read_exact(&mut bytes)?;
        let executed = execute(&state, &Block::from_bytes(&bytes)?)
            .map_err(|error| format!("block {}: {error}", sum.blocks + 1))?;
        sum.add(&executed);
        state = executed.state;
    }
    sum.print();
    Ok(())
}
