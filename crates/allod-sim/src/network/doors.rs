//! What comes in from outside: clients, agents, attackers, and bytes from peers.

use allod_ledger::bft::{Message, Peer};
use allod_ledger::replica::Input;
use allod_state::transaction::Verified;
use allod_state::{State, Transaction};

use crate::attack::{self, Attempt, Never};
use crate::client::{self, Draft, Wish};
use crate::limits::START_MS;
use crate::mutation::Mutation;

use super::Network;

impl Network {
    /// A machine that is up, and the state that it shows.
    pub(super) fn some_machine(&mut self) -> Option<(usize, State)> {
        let at = self.clients.index(self.machines.len());
        let replica = self.machines.get(at)?.replica.as_ref()?;
        Some((at, replica.state().clone()))
    }

    pub(super) fn draft<'a>(&'a mut self, state: &'a State, is_attacker: bool) -> Draft<'a> {
        let random = if is_attacker {
            &mut self.attackers
        } else {
            &mut self.clients
        };
        Draft {
            random,
            people: &self.people,
            desk: &mut self.desk,
            state,
            now_ms: START_MS + self.now_ms,
        }
    }

    pub(super) fn wish(&mut self) {
        let Some((at, state)) = self.some_machine() else {
            return;
        };
        let mut draft = self.draft(&state, false);
        let signed = client::wish(&mut draft).and_then(|wish| sign(&draft, &wish));
        self.submit(at, signed);
    }

    pub(super) fn look(&mut self) {
        if !self.conflicts.is_empty() && self.clients.percent(30) {
            return self.denounce();
        }
        if !self.lost().is_empty() && self.clients.percent(30) {
            return self.report_loss();
        }
        let Some((at, state)) = self.some_machine() else {
            return;
        };
        let mut draft = self.draft(&state, false);
        let signed = client::look(&mut draft).and_then(|wish| sign(&draft, &wish));
        self.submit(at, signed);
    }

    pub(super) fn submit(&mut self, at: usize, signed: Option<Verified>) {
        let Some(verified) = signed else {
            return;
        };
        self.counts.submitted += 1;
        self.trace
            .note(self.now_ms, "submit", at, verified.id().as_bytes());
        self.desk.sent(verified.clone());
        self.offer(at, verified);
    }

    /// Gives a transaction to one machine, which tells the others of it.
    fn offer(&mut self, at: usize, verified: Verified) {
        let id = verified.id();
        let bytes = verified.transaction().to_bytes();
        self.send_to_all(at, &Message::Transactions(vec![bytes]));
        let answers = self.step(at, Input::Offer(vec![verified]));
        match answers.first() {
            Some(true) if self.plan.mutation == Some(Mutation::AnsweredEarly) => {
                self.inspector.answered(at, id);
            }
            Some(false) if !self.has_no_room(at) && !self.is_false(at) => self.desk.refused(&id),
            _ => {}
        }
    }

    fn has_no_room(&self, at: usize) -> bool {
        let replica = self.machines.get(at).and_then(|one| one.replica.as_ref());
        replica.is_none_or(allod_ledger::replica::Replica::is_read_only)
    }

    /// Clients offer again, to any machine, what has no answer.
    pub(super) fn retry(&mut self) {
        for verified in self.desk.unanswered() {
            let Some((at, state)) = self.some_machine() else {
                continue;
            };
            let body = &verified.transaction().body;
            // The mempool keeps what a key sent before it was revoked until that expires, and tells nobody.
            let is_revoked = body.nonce > 0 && state.key(&body.account, &body.key).is_none();
            if is_revoked {
                self.desk.refused(&verified.id());
            } else {
                self.offer(at, verified);
            }
        }
    }

    pub(super) fn attack(&mut self) {
        let Some((at, state)) = self.some_machine() else {
            return;
        };
        let mut draft = self.draft(&state, true);
        let attempt = attack::attempt(&mut draft);
        let garbage_len = draft.random.index(300);
        let garbage = draft.random.bytes(garbage_len);
        self.arrive(at, at, &garbage);
        if let Some(attempt) = attempt {
            self.counts.attacks += 1;
            self.attempt(at, attempt);
        }
    }

    fn attempt(&mut self, at: usize, attempt: Attempt) {
        let Attempt { transaction, never } = attempt;
        let id = transaction.body.id();
        self.trace.note(self.now_ms, "attack", at, id.as_bytes());
        self.inspector.attacked(id, never);
        let verified = transaction.clone().verify();
        if never == Never::Verifies && verified.is_ok() {
            let what = format!("the forged signature of {id} verifies");
            return self.inspector.complain("attacks", what);
        }
        if never == Never::Succeeds
            && let Ok(verified) = verified
        {
            // What has a good envelope is in the way of the key's own next transaction until it is answered.
            self.desk.sent(verified);
        }
        let bytes = Message::Transactions(vec![transaction.to_bytes()]).encode();
        for to in 0..self.machines.len() {
            self.arrive(at, to, &bytes);
        }
    }

    /// What a door does with bytes that are said to be a transaction. The same bytes come to every machine, and again
    /// and again; what they are is found once.
    fn verify(&mut self, bytes: Vec<u8>) -> Option<Verified> {
        if let Some(known) = self.verified.get(&bytes) {
            return known.clone();
        }
        let read = Transaction::from_bytes(&bytes).ok();
        let verified = read.and_then(|transaction| transaction.verify().ok());
        self.verified.insert(bytes, verified.clone());
        verified
    }

    /// Bytes from a peer, whoever really sent them.
    pub(super) fn arrive(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let Ok(message) = Message::decode(bytes) else {
            return;
        };
        if self.is_false(to) {
            self.hear(to, &message);
        }
        if let Message::Transactions(transactions) = message {
            for bytes in transactions {
                if let Some(verified) = self.verify(bytes) {
                    self.step(to, Input::Offer(vec![verified]));
                }
            }
            return;
        }
        let mut peer = [0; 32];
        peer[0] = u8::try_from(from).unwrap_or(u8::MAX);
        self.step(to, Input::Message(Peer(peer), message));
    }
}

pub(super) fn sign(draft: &Draft<'_>, wish: &Wish) -> Option<Verified> {
    draft.sign(wish)?.verify().ok()
}
