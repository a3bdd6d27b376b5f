//! False validators: each holds a seat and a key like any other, and says on the wire what no honest one would.
//!
//! Behind each stands a whole replica, so that it knows what is going on. What that replica says passes through its
//! liar, who alters it, keeps it back or adds to it, with the real key and in the real messages. Fewer than a third of
//! the power is false in a run; everything else must keep every promise, and go on.

mod amnesiac;
mod counterfeiter;
mod deceiver;
mod equivocator;
mod fabricator;
mod flooder;
mod forger;
mod laggard;
mod plot;
mod scene;
mod withholder;

use std::collections::BTreeMap;

use allod_ledger::LocalSigner;
use allod_ledger::bft::{Message, Signer};
use allod_state::PublicKey;

use crate::mutation::Mutation;
use crate::person::validator;
use crate::random::Random;
use crate::run::Plan;
use crate::snapshot::Snapshot;

pub(crate) use plot::Plot;
pub(crate) use scene::{Letter, Scene};

/// How many of a hundred runs with enough validators have false ones among them.
const FALSE_PERCENT: u64 = 70;

/// How a false validator behaves.
pub(crate) trait Habit {
    /// What goes to a peer in place of what the replica says.
    fn says(&mut self, _: &mut Scene<'_>, to: usize, message: &Message) -> Vec<Letter> {
        vec![Letter::now(to, message)]
    }

    /// What it sends on hearing something.
    fn hears(&mut self, _: &mut Scene<'_>, _: &Message) -> Vec<Letter> {
        Vec::new()
    }

    /// What it gives to a newcomer that asks for a snapshot.
    fn gives(&mut self, _: &mut Scene<'_>, snapshot: Snapshot) -> Snapshot {
        snapshot
    }

    /// What it sends when nothing happens.
    fn acts(&mut self, _: &mut Scene<'_>) -> Vec<Letter> {
        Vec::new()
    }
}

type Make = fn() -> Box<dyn Habit>;

/// Every kind of false validator.
const LIARS: &[(&str, Make)] = &[
    ("amnesiac", || Box::<amnesiac::Amnesiac>::default()),
    ("counterfeiter", || {
        Box::<counterfeiter::Counterfeiter>::default()
    }),
    ("deceiver", || Box::<deceiver::Deceiver>::default()),
    ("equivocator", || Box::<equivocator::Equivocator>::default()),
    ("fabricator", || Box::<fabricator::Fabricator>::default()),
    ("flooder", || Box::<flooder::Flooder>::default()),
    ("forger", || Box::<forger::Forger>::default()),
    ("laggard", || Box::<laggard::Laggard>::default()),
    ("withholder", || Box::<withholder::Withholder>::default()),
];

/// A false validator.
pub(crate) struct Liar {
    pub(crate) kind: &'static str,
    pub(crate) habit: Box<dyn Habit>,
    pub(crate) random: Random,
    pub(crate) signer: LocalSigner,
}

impl Liar {
    /// The liar of this kind; none where there is no such kind.
    pub(crate) fn of(kind: &str, seed: u64, number: usize) -> Option<Self> {
        let (kind, make) = LIARS.iter().find(|(name, _)| *name == kind)?;
        Some(Self {
            kind,
            habit: make(),
            random: Random::new(seed, &format!("liar {number}")),
            signer: validator(number),
        })
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.signer.public_key()
    }
}

/// How many of so many validators may be false.
pub(crate) const fn most(validators: usize) -> usize {
    validators.saturating_sub(1) / 3
}

/// Who is false in a run, and how.
pub(crate) fn cast(plan: &Plan) -> BTreeMap<usize, Liar> {
    if plan.mutation == Some(Mutation::TooManyFalse) {
        let two = (0..=most(plan.validators)).filter_map(|number| {
            let liar = Liar::of("equivocator", plan.seed, number)?;
            Some((number, liar))
        });
        return two.collect();
    }
    if plan.mutation == Some(Mutation::CounterfeitTaken) {
        let one = Liar::of("counterfeiter", plan.seed, 0).map(|liar| (0, liar));
        return one.into_iter().collect();
    }
    let mut random = Random::new(plan.seed, "false");
    let most = most(plan.validators);
    let mut cast = BTreeMap::new();
    let is_wanted = plan.liars.is_some() || random.percent(FALSE_PERCENT);
    if plan.mutation.is_some() || most == 0 || !is_wanted {
        return cast;
    }
    let count = match plan.liars {
        Some(_) => most as u64,
        None => random.between(1, most as u64),
    };
    while cast.len() as u64 != count {
        let number = random.index(plan.validators);
        let drawn = random.pick(LIARS).map(|(kind, _)| *kind);
        let Some(kind) = plan.liars.or(drawn) else {
            return cast;
        };
        cast.extend(Liar::of(kind, plan.seed, number).map(|liar| (number, liar)));
    }
    cast
}
