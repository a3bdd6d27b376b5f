//! Everyone who holds a key, by number: the keys are the same in every run.

use std::collections::BTreeMap;

use allod_ledger::LocalSigner;
use allod_ledger::bft::Signer;
use allod_state::{AccountId, NodeId, PublicKey, Signature};

/// Founders with an account: 0 operates two machines, 4 operates one, all may deploy.
pub(crate) const FOUNDERS: std::ops::Range<usize> = 0..5;
/// Keys whose account does not exist until someone sends credits to it.
pub(crate) const NEWCOMERS: std::ops::Range<usize> = 5..8;
/// The keys of the machines that run workloads.
pub(crate) const MACHINES: std::ops::Range<usize> = 8..11;
/// Keys that founders hand out and take back.
pub(crate) const SPARE: std::ops::Range<usize> = 11..27;
/// Keys that nobody ever gave a right.
pub(crate) const STRANGERS: std::ops::Range<usize> = 27..29;
/// Those who operate validators: so many that nobody has a third of the power in a small set.
pub(crate) const OPERATORS: std::ops::Range<usize> = 29..45;

/// The validators that a run may have, those who come later included.
pub(crate) const VALIDATORS: std::ops::Range<usize> = 0..80;

/// Someone with a key.
pub(crate) struct Person {
    signer: LocalSigner,
    /// The public half.
    pub(crate) key: PublicKey,
    /// The account that begins with this key.
    pub(crate) account: AccountId,
}

impl Person {
    fn new(number: usize) -> Self {
        let signer = signer(b'p', number);
        let key = signer.public_key();
        Self {
            signer,
            key,
            account: AccountId::of_first_key(&key),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.signer.sign(message)
    }
}

/// The number of whoever operates a validator.
pub(crate) fn operator_of_validator(number: usize) -> usize {
    OPERATORS.start + number % OPERATORS.len()
}

/// The signer of a validator.
pub(crate) fn validator(number: usize) -> LocalSigner {
    signer(b'v', number)
}

fn signer(kind: u8, number: usize) -> LocalSigner {
    let mut seed = [kind; 32];
    let (front, _) = seed.split_at_mut(8);
    front.copy_from_slice(&(number as u64).to_le_bytes());
    LocalSigner::from_seed(&seed)
}

/// Everyone.
pub(crate) struct People {
    all: Vec<Person>,
    by_key: BTreeMap<PublicKey, usize>,
}

impl People {
    pub(crate) fn new() -> Self {
        let all: Vec<Person> = (0..OPERATORS.end).map(Person::new).collect();
        let by_key = all.iter().enumerate().map(|(at, person)| (person.key, at));
        let by_key = by_key.collect();
        Self { all, by_key }
    }

    pub(crate) fn get(&self, number: usize) -> &Person {
        self.all
            .get(number)
            .expect("people are named by the ranges above")
    }

    /// Who holds this key.
    pub(crate) fn holder(&self, key: &PublicKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// Who operates a machine.
    pub(crate) fn operator_of(&self, machine: usize) -> &Person {
        self.get(if machine + 1 == MACHINES.end { 4 } else { 0 })
    }

    /// Who operates a validator.
    pub(crate) fn operator_of_validator(&self, number: usize) -> &Person {
        self.get(operator_of_validator(number))
    }

    /// The node that a machine is on the ledger.
    pub(crate) fn node(&self, machine: usize) -> NodeId {
        NodeId::of_first_key(&self.get(machine).key)
    }
}
