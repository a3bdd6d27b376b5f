//! Planted bugs: each breaks one promise on purpose, so that its check is seen to fail.
//!
//! They live in the simulator's own layer, between what ships and what the checks see. What a wrong law would have
//! done is planted by altering the rows of one block's state ([`crate::tamper`]).

use std::collections::BTreeMap;

use allod_state::Rejection;
use allod_state::event::Event;

use crate::check::Told;
use crate::tamper;

/// More than two thirds of four.
const ENOUGH_OF_FOUR: usize = 3;

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident caught by $check:literal),+ $(,)?) => {
        /// A bug planted on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation { $($(#[$doc])* $name),+ }

        impl Mutation {
            /// Every planted bug.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The check that must catch it.
            #[must_use]
            pub const fn caught_by(self) -> &'static str {
                match self { $(Self::$name => $check),+ }
            }
        }
    };
}

mutations! {
    /// Disks say that they have synced, and have not.
    SyncsDoNothing caught by "start",
    /// Machines lose their log and sign-state in every crash, and take their key for a new one.
    LogForgotten caught by "durability",
    /// Two machines sign with one key.
    OneKeyTwice caught by "signatures",
    /// Clients take a transaction that waits for one that is committed.
    AnsweredEarly caught by "durability",
    /// The network never comes back.
    NeverHeals caught by "liveness",
    /// Something outside the seed decides when clients act.
    OutsideChance caught by "determinism",
    /// A credit appears in an account.
    CreditMinted caught by "conservation",
    /// A credit appears in an account, and in the stated supply too.
    SupplyRaised caught by "conservation",
    /// A credit moves and no receipt says so.
    CreditMoved caught by "accounting",
    /// A slot's epoch falls.
    EpochFalls caught by "epochs",
    /// A slot has a second active lease.
    SecondLease caught by "leases",
    /// A second active lease holds a volume.
    SecondWriter caught by "volumes",
    /// A bill line grows without evidence.
    BillRaised caught by "bills",
    /// A lease forgets what it was charged.
    MeterForgets caught by "bills",
    /// A key's nonce falls back.
    NonceFalls caught by "nonces",
    /// A transaction is applied twice.
    AppliedTwice caught by "nonces",
    /// A receipt is not what the header commits to.
    ReceiptAltered caught by "headers",
    /// A header names another supply.
    SupplyMisstated caught by "headers",
    /// One replica has another state.
    OneDiffers caught by "agreement",
    /// A row is missing where the state is restored.
    RowForgotten caught by "restore",
    /// A lease that ends is not told as ended.
    EndsUntold caught by "ends",
    /// A machine is gone of which nobody has said so.
    GoneUntold caught by "absences",
    /// One validator more is false than may be.
    TooManyFalse caught by "agreement",
    /// A row that is gone is counted on.
    GoneCounted caught by "holdings",
    /// What an attacker must not get succeeds.
    AttackSucceeds caught by "attacks",
    /// Somebody decides whom nobody elected.
    SeatUnasked caught by "succession",
    /// Nobody ever stands or leaves.
    NobodyElected caught by "liveness",
    /// Those whom a block elects decide it themselves.
    SetEarly caught by "headers",
    /// A decision is shown by as many as were enough before others joined.
    OldQuorum caught by "headers",
    /// One validator more is dead for good than may be.
    TooManyGone caught by "liveness",
    /// Somebody believes a counterfeit snapshot.
    CounterfeitTaken caught by "agreement",
}

impl Mutation {
    /// How many validators the bug needs.
    #[must_use]
    pub const fn validators(self) -> usize {
        match self {
            Self::OneKeyTwice | Self::NeverHeals | Self::OneDiffers | Self::TooManyFalse => 4,
            _ if self.needs_succession() => 4,
            _ => 1,
        }
    }

    /// Whether it is about validators that come and go.
    pub(crate) const fn needs_succession(self) -> bool {
        matches!(
            self,
            Self::SeatUnasked
                | Self::NobodyElected
                | Self::SetEarly
                | Self::OldQuorum
                | Self::TooManyGone
                | Self::CounterfeitTaken
        )
    }

    /// Alters what a replica told, once there is something to alter.
    pub(crate) fn alter(self, told: &mut Told, rows: Option<&BTreeMap<Vec<u8>, Vec<u8>>>) {
        if let Some(rows) = rows
            && let Some(tamper) = tamper::of(self)
            && let Some(altered) = tamper::restored(&told.header, rows, tamper)
        {
            told.header.root = altered.root();
            told.state = altered;
            return;
        }
        match self {
            Self::AppliedTwice => told.transactions.extend_from_within(..),
            Self::ReceiptAltered => told.receipts.iter_mut().for_each(|one| one.work += 1),
            Self::AttackSucceeds => told
                .receipts
                .iter_mut()
                .filter(|one| one.outcome.as_ref().is_err_and(is_of_attackers))
                .for_each(|one| one.outcome = Ok(())),
            Self::EndsUntold => {
                let is_told = |event: &Event| !matches!(event, Event::LeaseEnded { .. });
                told.events.retain(is_told);
                let receipts = told.receipts.iter_mut();
                receipts.for_each(|one| one.events.retain(is_told));
            }
            Self::SetEarly => told.header.validators_hash = told.state.validators().hash(),
            Self::OldQuorum => {
                let enough = told.certificate.signatures.len().min(ENOUGH_OF_FOUR);
                told.certificate.signatures.truncate(enough);
            }
            Self::SupplyMisstated => {
                let micro = told.header.supply.micro() + 1;
                told.header.supply = allod_state::Credits::from_micro(micro);
            }
            _ => {}
        }
        if self == Self::AppliedTwice {
            told.ids.extend_from_within(..);
            told.receipts.extend_from_within(..);
        }
        if self == Self::OneDiffers && told.machine == 3 && told.header.height > 3 {
            told.header.receipts_hash = [7; 32];
        }
    }
}

/// What honest clients are hardly ever told: they know what is theirs.
const fn is_of_attackers(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::NotYourApp { .. }
            | Rejection::NotYourNode { .. }
            | Rejection::NotAWitness { .. }
            | Rejection::NotWatching { .. }
            | Rejection::NotAReader { .. }
    )
}
