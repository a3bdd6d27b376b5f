//! A network without chance: nothing happens to it but what a scenario says.

use std::collections::BTreeSet;

use allod_ledger::LocalSigner;
use allod_ledger::bft::Message;
use allod_ledger::disk::{Disk, MemoryDisk};
use allod_ledger::replica::Replica;
use allod_ledger::store::Anchor;
use allod_state::block::Header;
use allod_state::credit::Transfer;
use allod_state::genesis::Genesis;
use allod_state::node::RegisterNode;
use allod_state::receipt::Receipt;
use allod_state::transaction::Verified;
use allod_state::{AccountId, Action, Credits, NodeId, State, TransactionId};

use crate::client::{Wish, registration};
use crate::liar::Liar;
use crate::limits::START_MS;
use crate::machine::Machine;
use crate::mutation::Mutation;
use crate::run::Plan;
use crate::wire::Wire;

use super::{Event, Network};

/// What a scenario finds: nothing, or what is wrong.
pub(crate) type Found = Result<(), String>;

/// How often somebody signs anew what was refused.
const TRIES: usize = 5;

pub(crate) struct Stage {
    network: Network,
}

impl Stage {
    /// Honest validators, all up, that have decided nothing yet.
    pub(crate) fn new(validators: usize) -> Self {
        Self::with(validators, None)
    }

    /// The same, with a bug planted where there is one.
    pub(crate) fn with(validators: usize, mutation: Option<Mutation>) -> Self {
        let plan = Plan {
            mutation,
            ..Plan::new(0, validators)
        };
        let mut network = Network::new(&plan);
        network.liars.clear();
        for at in 0..validators {
            network.start(at);
        }
        // Clients offer again what has no answer, as they always do.
        network.after(1, Event::Retry);
        Self { network }
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        START_MS + self.network.now_ms
    }

    /// Time passes, and what is under way happens.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let until_ms = self.network.now_ms + ms;
        self.network.after(ms, Event::Nothing);
        while self.network.now_ms < until_ms && self.network.is_well() {
            self.network.advance();
        }
    }

    /// The same, until something is so; it has to be within so long.
    pub(crate) fn wait(&mut self, what: &str, ms: u64, is_so: impl Fn(&Self) -> bool) -> Found {
        let until_ms = self.network.now_ms + ms;
        self.network.after(ms, Event::Nothing);
        while !is_so(self) {
            self.well()?;
            if self.network.now_ms >= until_ms {
                return Err(format!(
                    "not within {ms} ms: {what}; heights {:?}",
                    self.heights()
                ));
            }
            self.network.advance();
        }
        self.well()
    }

    /// Whether every promise was kept so far.
    pub(crate) fn well(&self) -> Found {
        let violations = self.network.inspector.violations.iter();
        let all: Vec<_> = violations
            .map(|violation| format!("{}: {}", violation.check, violation.what))
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        Err(all.join("; "))
    }

    /// The end: the honest ones are asked for everything that they ever told.
    pub(crate) fn end(mut self) -> Found {
        let honest = self.network.honest();
        let machines = honest
            .iter()
            .filter_map(|at| self.network.machines.get(*at));
        let machines: Vec<&Machine> = machines.collect();
        self.network.inspector.ended(&machines);
        self.well()
    }

    pub(crate) fn machine(&mut self, at: usize) -> &mut Machine {
        self.network
            .machines
            .get_mut(at)
            .expect("a scenario names the machines that it has")
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.network.wire
    }

    pub(crate) fn replica(&self, at: usize) -> Option<&Replica<LocalSigner>> {
        self.network.machines.get(at)?.replica.as_ref()
    }

    /// The state that a machine shows.
    pub(crate) fn state(&self, at: usize) -> Result<State, String> {
        let replica = self.replica(at);
        let replica = replica.ok_or_else(|| format!("machine {at} is down"))?;
        Ok(replica.state().clone())
    }

    /// Where a machine is; 0 while it is down.
    pub(crate) fn height(&self, at: usize) -> u64 {
        self.replica(at)
            .map_or(0, |replica| replica.state().tip().height)
    }

    fn heights(&self) -> Vec<u64> {
        let all = 0..self.network.machines.len();
        all.map(|at| self.height(at)).collect()
    }

    /// The machine loses power and stays down.
    pub(crate) fn kill(&mut self, at: usize) {
        self.machine(at).crash();
    }

    pub(crate) fn start(&mut self, at: usize) {
        self.network.start(at);
    }

    /// The machine has lost its disk, and gets another one; it stays down.
    pub(crate) fn replace_disk(&mut self, at: usize, disk: MemoryDisk) {
        self.kill(at);
        self.machine(at).put_disk(disk);
        self.network.inspector.replaced(at);
    }

    /// A machine that lost what it signed tells the ledger so, until it may sign again.
    pub(crate) fn tell_of_loss(&mut self, at: usize) -> Found {
        let is_lost = |stage: &Self| stage.network.lost().iter().any(|(lost, _)| *lost == at);
        for _ in 0..TRIES {
            self.network.report_loss();
            let is_over = self.wait("it may sign", 10_000, |stage| !is_lost(stage));
            if is_over.is_ok() {
                return Ok(());
            }
            self.well()?;
        }
        Err(format!(
            "machine {at} may not sign though it told of its loss"
        ))
    }

    /// One more machine: it learns all blocks, or asks for a snapshot that leads past what it knows.
    pub(crate) fn add_machine(&mut self, awaits: Option<Anchor>) -> usize {
        self.network.add_machine(awaits)
    }

    /// Somebody holds this block for decided.
    pub(crate) fn believe(&mut self, header: &Header) {
        self.network.inspector.certified(header);
    }

    pub(crate) fn genesis(&self) -> &Genesis {
        &self.network.genesis
    }

    /// What a validator's machine is on the ledger.
    pub(crate) fn seat(&self, number: usize) -> NodeId {
        super::lies::node_of(number).1
    }

    /// What lists a validator's machine as its operator's.
    pub(crate) fn registration(&self, number: usize) -> Result<RegisterNode, String> {
        registration(&self.network.people, number).ok_or_else(|| "no name".into())
    }

    /// Time passes in which nothing happens, as while everybody sleeps.
    pub(crate) fn sleep(&mut self, ms: u64) {
        self.network.now_ms += ms;
    }

    /// From now on a validator is false.
    pub(crate) fn corrupt(&mut self, at: usize, kind: &str) {
        let liar = Liar::of(kind, 0, at).expect("a scenario names a kind of liar that there is");
        self.network.known_false.insert(liar.key());
        self.network.liars.insert(at, liar);
        self.network.after(1, Event::Lie(at));
    }

    /// A validator that was false is honest again.
    pub(crate) fn reform(&mut self, at: usize) {
        self.network.liars.remove(&at);
    }

    /// A message arrives, whoever made it.
    pub(crate) fn throw(&mut self, from: usize, to: usize, message: &Message) {
        self.network.arrive(from, to, &message.encode());
    }

    /// The names of a machine's log files.
    pub(crate) fn logs(&mut self, at: usize) -> BTreeSet<String> {
        let names = self.machine(at).disk().list().unwrap_or_default();
        let logs = names.into_iter().filter(|name| name.starts_with("wal-"));
        logs.collect()
    }

    /// Every byte of a machine's log.
    pub(crate) fn log_bytes(&mut self, at: usize) -> Vec<Vec<u8>> {
        let names = self.logs(at);
        let disk = self.machine(at).disk();
        let read = |name: &String| {
            let file = disk.open(name).ok()?;
            let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
            file.read_at(0, &mut bytes).ok()?;
            Some(bytes)
        };
        names.iter().filter_map(read).collect()
    }

    /// How many messages were sent so far.
    pub(crate) fn messages(&self) -> u64 {
        self.network.counts.messages
    }

    pub(crate) fn account(&self, number: usize) -> AccountId {
        self.network.people.get(number).account
    }

    pub(crate) fn node(&self, machine: usize) -> allod_state::NodeId {
        self.network.people.node(machine)
    }

    pub(crate) fn person(&self, number: usize) -> &crate::person::Person {
        self.network.people.get(number)
    }

    /// What somebody wants, signed with the next nonce that a machine knows of.
    pub(crate) fn sign(
        &mut self,
        at: usize,
        signer: usize,
        account: AccountId,
        actions: Vec<Action>,
    ) -> Result<Verified, String> {
        let state = self.state(at)?;
        let wish = Wish {
            signer,
            account,
            actions,
        };
        let draft = self.network.draft(&state, false);
        super::doors::sign(&draft, &wish).ok_or_else(|| "nothing could be signed".into())
    }

    /// A client gives a machine what it signed.
    pub(crate) fn send(&mut self, at: usize, verified: &Verified) {
        self.network.submit(at, Some(verified.clone()));
    }

    /// A payment of one founder to another, signed and sent.
    pub(crate) fn pay(&mut self, at: usize, micro: i128) -> Result<TransactionId, String> {
        let payment = self.payment(at, micro)?;
        self.send(at, &payment);
        Ok(payment.id())
    }

    /// A payment of one founder to another, signed.
    pub(crate) fn payment(&mut self, at: usize, micro: i128) -> Result<Verified, String> {
        let transfer = Transfer {
            to: self.account(1),
            amount: Credits::from_micro(micro),
            memo: String::new(),
        };
        self.sign(at, 0, self.account(0), vec![transfer.into()])
    }

    /// Whether a client knows what became of its transaction, and be it that it was refused.
    pub(crate) fn is_answered(&self, at: usize, id: &TransactionId) -> bool {
        let unanswered = self.network.desk.unanswered();
        self.receipt(at, id).is_some() || unanswered.iter().all(|one| one.id() != *id)
    }

    /// What a machine answers when asked for a transaction.
    pub(crate) fn receipt(&self, at: usize, id: &TransactionId) -> Option<Receipt> {
        let receipt = self.replica(at)?.store().receipt(id).ok()??;
        Some(receipt.2)
    }

    /// Something is done, and succeeds.
    pub(crate) fn done(
        &mut self,
        signer: usize,
        account: AccountId,
        actions: Vec<Action>,
    ) -> Found {
        let what: Vec<_> = actions.iter().map(Action::name).collect();
        let what = format!("an answer to {what:?}");
        // What is refused is signed anew: the machine may not have known of the key's last transaction.
        for _ in 0..TRIES {
            let verified = self.sign(0, signer, account, actions.clone())?;
            self.send(0, &verified);
            let id = verified.id();
            self.wait(&what, 20_000, |stage| stage.is_answered(0, &id))?;
            // Another machine may have told of it first.
            let _ = self.wait(&what, 10_000, |stage| stage.receipt(0, &id).is_some());
            match self.receipt(0, &id).map(|receipt| receipt.outcome) {
                Some(Ok(())) => return Ok(()),
                Some(Err(rejection)) => return Err(format!("{what}: {rejection:?}")),
                None => self.well()?,
            }
        }
        Err(format!("{what}: refused again and again"))
    }

    /// So many payments go through, one after the other, at one machine. What was refused is signed anew.
    pub(crate) fn pay_times(&mut self, at: usize, times: u64) -> Found {
        for _ in 0..times {
            self.wait("clients have their answers", 60_000, |stage| {
                stage.network.desk.unanswered().is_empty()
            })?;
            let mut tries = 0..TRIES;
            loop {
                tries.next().ok_or("a payment is refused again and again")?;
                let id = self.pay(at, 1)?;
                self.wait("a payment is answered", 60_000, |stage| {
                    stage.is_answered(at, &id)
                })?;
                let is_there = |stage: &Self| stage.receipt(at, &id).is_some();
                if is_there(self) || self.wait("it is here too", 10_000, is_there).is_ok() {
                    break;
                }
            }
        }
        self.well()
    }
}
