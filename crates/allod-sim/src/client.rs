//! Honest clients and nodes: what they wish for, drawn from the state that they see.

mod account;
mod app;
mod node;

use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, State, Transaction};

use crate::desk::Desk;
use crate::limits::LIFETIME_MS;
use crate::person::{FOUNDERS, People};
use crate::random::Random;

/// What a client sees while it makes up its mind.
pub(crate) struct Draft<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) people: &'a People,
    pub(crate) desk: &'a mut Desk,
    /// The state of the replica that the client speaks with.
    pub(crate) state: &'a State,
    /// The client's own clock.
    pub(crate) now_ms: u64,
}

/// Something that someone wants done.
pub(crate) struct Wish {
    /// Who signs.
    pub(crate) signer: usize,
    /// On whose behalf.
    pub(crate) account: AccountId,
    /// What is to be done.
    pub(crate) actions: Vec<Action>,
}

type Habit = fn(&mut Draft<'_>) -> Option<Wish>;

/// What clients do, and how often compared with one another.
const HABITS: &[(u64, Habit)] = &[
    (6, account::transfer),
    (2, account::add_key),
    (1, account::revoke_key),
    (1, account::rotate_key),
    (6, app::deploy),
    (4, app::scale),
    (2, app::restart),
    (2, app::rollback),
    (2, app::delete),
    (3, app::drop_volume),
    (3, node::register),
    (4, node::offer),
    (1, node::cordon),
    (1, node::enlist),
];

/// One wish of some client, if it has one now.
pub(crate) fn wish(draft: &mut Draft<'_>) -> Option<Wish> {
    let total = HABITS.iter().map(|(weight, _)| weight).sum();
    let mut at = draft.random.below(total);
    for (weight, habit) in HABITS {
        if at < *weight {
            return habit(draft);
        }
        at -= weight;
    }
    None
}

pub(crate) use node::{look, registration};

impl Draft<'_> {
    /// A founder and the account it acts for.
    pub(crate) fn founder(&mut self) -> (usize, AccountId) {
        let number = FOUNDERS.start + self.random.index(FOUNDERS.len());
        (number, self.people.get(number).account)
    }

    /// Someone who holds a key of the account: most often the one with every right.
    pub(crate) fn signer_for(&mut self, account: &AccountId) -> Option<usize> {
        let mut holders = Vec::new();
        for (key, record) in self.state.keys_of(account) {
            let Some(holder) = self.people.holder(&key) else {
                continue;
            };
            let weight = if record.grant.verbs.len() > 1 { 4 } else { 1 };
            holders.extend(std::iter::repeat_n(holder, weight));
        }
        if holders.is_empty() {
            let first = (0..FOUNDERS.end).find(|at| self.people.get(*at).account == *account);
            holders.extend(first);
        }
        self.random.pick(&holders).copied()
    }

    /// The wish as a signed transaction, if the key may send one more now.
    pub(crate) fn sign(&self, wish: &Wish) -> Option<Transaction> {
        let person = self.people.get(wish.signer);
        let nonce = self.desk.next_nonce(self.state, wish.account, person.key)?;
        let work = wish.actions.iter().map(Action::work).sum::<u64>();
        let body = Body {
            version: PROTOCOL_VERSION,
            network: self.state.network(),
            account: wish.account,
            key: person.key,
            nonce,
            // A client's clock may be behind the chain's.
            expires_ms: self.now_ms.max(self.state.tip().time_ms) + LIFETIME_MS,
            work_limit: work,
            actions: wish.actions.clone(),
        };
        let signature = person.sign(&body.sign_bytes());
        Some(Transaction { body, signature })
    }
}
