//! Machines without a ledger: new ones, and those that lost their disk. They learn all blocks, or begin from a
//! snapshot that another machine gives, which may be false.

use allod_ledger::disk::MemoryDisk;
use allod_ledger::store::{Anchor, SnapshotError};
use allod_state::validator::ReportLoss;
use allod_state::{Action, BlockId};

use crate::client::registration;
use crate::limits::{BEGIN_AGAIN_MS, BEGIN_BY_SNAPSHOT_PERCENT, HAVE_ALL_MIN, VISIT_EVERY_MS};
use crate::machine::{Machine, is_injected};
use crate::mutation::Mutation;
use crate::snapshot::Snapshot;

use super::lies::node_of;
use super::{Event, Network};

impl Network {
    /// One more machine, which has nothing yet.
    pub(super) fn arrive_new(&mut self) -> usize {
        let awaits = self.beginning();
        self.add_machine(awaits)
    }

    /// One more machine: it learns all blocks, or asks for a snapshot that leads past what it knows.
    pub(super) fn add_machine(&mut self, awaits: Option<Anchor>) -> usize {
        let number = self.machines.len();
        let mut machine = Machine::new(self.plan.seed, number);
        machine.has_all = false;
        machine.awaits = awaits;
        self.machines.push(machine);
        self.ticked_ms.push(None);
        self.start(number);
        number
    }

    /// Whether those who have every block are enough without this one.
    pub(super) fn is_spared(&self, at: usize) -> bool {
        let has_all = |one: &Machine| one.has_all && !one.is_gone && !self.is_false(one.number);
        let left = self
            .machines
            .iter()
            .filter(|one| one.number != at && has_all(one));
        left.count() >= HAVE_ALL_MIN
    }

    /// A machine loses its disk, and with it everything but its key.
    pub(super) fn lost_disk(&mut self, at: usize) -> bool {
        let is_alone = self.plan.validators < 4;
        let mut failing = self.failing();
        failing.insert(at);
        if is_alone || self.is_false(at) || !self.is_up(at) || !self.is_spared(at) {
            return false;
        }
        if !self.is_bearable(&failing) {
            return false;
        }
        let awaits = self.beginning();
        self.crash(at);
        if let Some(machine) = self.machines.get_mut(at) {
            machine.put_disk(MemoryDisk::default());
            machine.awaits = awaits;
            machine.has_all = false;
        }
        self.counts.disks_lost += 1;
        self.forgetful.insert(at);
        self.inspector.replaced(at);
        true
    }

    /// The machines that may have signed what they do not know, with what each of them drew when it started.
    pub(super) fn lost(&self) -> Vec<(usize, [u8; 32])> {
        let lost = |one: &Machine| Some((one.number, one.replica.as_ref()?.quarantine()?));
        self.machines.iter().filter_map(lost).collect()
    }

    /// One of them tells the ledger so; its operator lists it first where nobody has.
    pub(super) fn report_loss(&mut self) {
        let lost = self.lost();
        let Some((number, challenge)) = self.newcomers.pick(&lost).copied() else {
            return;
        };
        let node = node_of(number).1;
        let is_listed = self.inspector.newest().node(&node).is_some();
        let register = registration(&self.people, number).filter(|_| !is_listed);
        let actions = register.into_iter().map(Action::from);
        let actions = actions.chain([ReportLoss { node, challenge }.into()]);
        self.operate(number, actions.collect());
    }

    /// What somebody whom its owner trusts tells a newcomer of the chain; nothing where it learns all blocks.
    fn beginning(&mut self) -> Option<Anchor> {
        if !self.newcomers.percent(BEGIN_BY_SNAPSHOT_PERCENT) {
            return None;
        }
        Some(self.known_block())
    }

    /// The last block that some honest machine knows of, or an earlier one.
    fn known_block(&mut self) -> Anchor {
        let honest = self.honest();
        let at = self.newcomers.pick(&honest).copied().unwrap_or(0);
        let replica = self.machines.get(at).and_then(|one| one.replica.as_ref());
        let tip = replica.and_then(|replica| replica.store().tip().ok().flatten());
        let height = tip.as_ref().map_or(0, |tip| tip.header.height);
        let earlier = self.newcomers.below(height + 1);
        let stored = replica.and_then(|replica| replica.store().block(earlier).ok().flatten());
        let (height, block) = match (stored, tip) {
            (Some(stored), _) if self.newcomers.percent(50) => (earlier, stored.certificate.block),
            (_, Some(tip)) => (height, tip.certificate.block),
            _ => (0, BlockId([0; 32])),
        };
        Anchor {
            height,
            block,
            header: None,
        }
    }

    /// Founds the ledger of a machine that has none, or asks again later; says whether it has one now.
    pub(super) fn begin(&mut self, at: usize) -> bool {
        let anchor = self.machines.get(at).and_then(|one| one.awaits.clone());
        let Some(anchor) = anchor else {
            return true;
        };
        let is_founded = self.found(at, &anchor);
        if !is_founded {
            let ms = 1 + self.newcomers.below(BEGIN_AGAIN_MS);
            self.after(ms, Event::Start(at));
        }
        is_founded
    }

    fn found(&mut self, at: usize, anchor: &Anchor) -> bool {
        let others = self.machines.iter().map(|one| one.number);
        let others: Vec<usize> = others.filter(|other| *other != at).collect();
        let Some((giver, snapshot)) = self.asked(at, &others, anchor) else {
            return false;
        };
        let Some(disk) = self.disk_of(at).cloned() else {
            return false;
        };
        if !self.is_taken(giver, &snapshot, anchor) {
            return false;
        }
        if let Err(error) = snapshot.found(&disk, &self.genesis, anchor) {
            self.refused(giver, &error);
            // What was begun is of no use; its owner empties the folder.
            self.put_empty_disk(at);
            return false;
        }
        let header = &snapshot.manifest.header;
        self.trace
            .note(self.now_ms, "found", at, header.id().as_bytes());
        self.inspector.founded(at, header);
        self.counts.founded += 1;
        if let Some(machine) = self.machines.get_mut(at) {
            machine.awaits = None;
        }
        true
    }

    fn put_empty_disk(&mut self, at: usize) {
        if let Some(machine) = self.machines.get_mut(at) {
            machine.put_disk(MemoryDisk::default());
        }
    }

    /// Whether it leads to a block that an honest machine has told of. A false one may know of a decision before all
    /// others do; a newcomer that has it all the same waits, so that every block is seen by the checks.
    fn is_taken(&mut self, giver: usize, snapshot: &Snapshot, anchor: &Anchor) -> bool {
        let header = &snapshot.manifest.header;
        match snapshot.verify(&self.genesis, anchor) {
            Ok(()) => {
                self.inspector.certified(header);
                header.height <= self.inspector.newest().tip().height
            }
            Err(error) => {
                self.refused(giver, &error);
                false
            }
        }
    }

    /// A snapshot of one of the others, if the question and the answer get through.
    fn asked(&mut self, at: usize, of: &[usize], anchor: &Anchor) -> Option<(usize, Snapshot)> {
        let giver = *self.newcomers.pick(of)?;
        let replica = self.machines.get(giver)?.replica.as_ref()?;
        let taken = Snapshot::take(replica.store(), anchor.height);
        let gets_through =
            !self.wire.delays(at, giver).is_empty() && !self.wire.delays(giver, at).is_empty();
        match taken {
            Err(SnapshotError::Empty) => None,
            Err(error) => {
                if !is_injected(&error) {
                    let what = format!("machine {giver} takes no snapshot: {error}");
                    self.inspector.complain("snapshots", what);
                }
                None
            }
            Ok(taken) if gets_through => {
                let given = self.given(giver, taken);
                Some((giver, given))
            }
            Ok(_) => None,
        }
    }

    /// A snapshot was refused: an honest one only where its giver knows less than the newcomer, or a disk fails.
    fn refused(&mut self, giver: usize, error: &SnapshotError) {
        self.trace
            .note(self.now_ms, "refuse", giver, error.to_string().as_bytes());
        if self.is_false(giver) {
            self.counts.refused += 1;
            return;
        }
        let is_older = matches!(error, SnapshotError::Unanchored(_));
        if !is_older && !is_injected(error) {
            let what = format!("the honest snapshot of machine {giver} is refused: {error}");
            self.inspector.complain("snapshots", what);
        }
    }

    /// Somebody who has no part in the network asks for a snapshot, and sees whether it could begin with it.
    pub(super) fn visit(&mut self) {
        let anchor = self.known_block();
        let visitor = usize::MAX;
        let mut of: Vec<usize> = self.liars.keys().copied().collect();
        if of.is_empty() || self.newcomers.percent(50) {
            of = self.honest();
        }
        if let Some((giver, snapshot)) = self.asked(visitor, &of, &anchor) {
            match snapshot.found(&MemoryDisk::default(), &self.genesis, &anchor) {
                Ok(store) => {
                    self.counts.visits += 1;
                    self.inspector.certified(&snapshot.manifest.header);
                    if let Err(error) = store.load() {
                        let what = format!("a snapshot of machine {giver} is taken: {error}");
                        self.inspector.complain("snapshots", what);
                    }
                }
                Err(_) if self.plan.mutation == Some(Mutation::CounterfeitTaken) => {
                    self.inspector.certified(&snapshot.manifest.header);
                }
                Err(error) => self.refused(giver, &error),
            }
        }
        let ms = 1 + self.newcomers.below(2 * VISIT_EVERY_MS);
        self.after(ms, Event::Visit);
    }
}
