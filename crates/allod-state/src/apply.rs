//! One block: the one place that says in which order things happen.
//!
//! Where it comes late, the time before it counts for no machine. For each transaction: check its envelope → charge its
//! work → dispatch its actions. Then the block's last steps, in the order of [`LAST_STEPS`]. Then the root.
//!
//! - A transaction with a bad envelope makes the whole block invalid: an honest proposer leaves it out, so that a
//!   replayed or unpaid transaction can never leave a second receipt.
//! - A transaction whose actions fail leaves its receipt, its nonce and its fee, and nothing else.
//! - What a transaction's size alone does not tell, its effort is counted while it runs: nodes examined, replicas gone
//!   over. A block has room for so much of both, which bounds its time whatever the transactions and the state are.
//! - Whatever bytes come in, nothing here panics; but if credits were not conserved, the process stops: halting is
//!   better than forking.

use std::sync::Arc;

use crate::account::KeyRecord;
use crate::account::grant::{Grant, NodeSelector};
use crate::app::{App, plan_of};
use crate::block::{Block, Header, transactions_hash};
use crate::codec;
use crate::credit::move_credits;
use crate::event::Event;
use crate::id::{AccountId, AppId, NodeId, PlanId, TransactionId};
use crate::key::PublicKey;
use crate::lease::witness;
use crate::limits::{
    ACTIONS_MAX, BLOCK_TRANSACTIONS_MAX, EFFORT_MAX, EFFORT_PER_WORK, LEASE_RETENTION_MS,
    RETIRED_PER_BLOCK_MAX, TRANSACTION_LIFETIME_MS_MAX, WORK_PER_TRANSACTION_MAX,
};
use crate::money::Credits;
use crate::node::{self, Node};
use crate::place;
use crate::receipt::Receipt;
use crate::reject::Rejection;
use crate::state::{State, Write};
use crate::transaction::{Action, Body, PROTOCOL_VERSION, Verified};

/// What a proposer puts into a block.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// Block time; above the parent's.
    pub time_ms: u64,
    /// Who proposes.
    pub proposer: PublicKey,
    /// The transactions, in order.
    pub transactions: &'a [Verified],
}

/// What a block did.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The next state.
    pub state: State,
    /// The block itself.
    pub block: Block,
    /// The transactions' ids, in order.
    pub ids: Vec<TransactionId>,
    /// A receipt for each transaction, in order.
    pub receipts: Vec<Receipt>,
    /// What the block's last steps did.
    pub events: Vec<Event>,
    /// The rows that changed, for the store.
    pub writes: Vec<Write>,
    /// What its transactions cost, and its last steps: at most [`EFFORT_MAX`] and a little over
    /// [`PLACEMENT_EFFORT_MAX`](crate::limits::PLACEMENT_EFFORT_MAX).
    pub effort: [u64; 2],
}

/// A block that no honest proposer makes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// Its time is not above its parent's.
    #[error("the block's time {time_ms} is not after its parent's {parent_ms}")]
    Time {
        /// Its time.
        time_ms: u64,
        /// Its parent's.
        parent_ms: u64,
    },
    /// It holds too much.
    #[error("the block holds more transactions or work than a block may")]
    TooLarge,
    /// It holds a transaction whose envelope is bad.
    #[error("the block's transaction {id} is inadmissible: {rejection}")]
    Inadmissible {
        /// Which.
        id: TransactionId,
        /// Why.
        rejection: Rejection,
    },
    /// Its header does not say what executing it gives.
    #[error("the block's header does not match its execution")]
    WrongHeader,
}

/// Executes exactly these transactions on `parent`.
///
/// # Errors
/// Where they are no valid block.
pub fn execute(parent: &State, proposal: &Proposal<'_>) -> Result<Executed, InvalidBlock> {
    let mut run = Run::begin(parent, proposal)?;
    for transaction in proposal.transactions {
        if !run.has_room_for(transaction) {
            return Err(InvalidBlock::TooLarge);
        }
        let id = transaction.id();
        let fits = run
            .transaction(transaction)
            .map_err(|rejection| InvalidBlock::Inadmissible { id, rejection })?;
        if !fits {
            return Err(InvalidBlock::TooLarge);
        }
    }
    Ok(run.finish(proposal.proposer))
}

/// Executes what is admissible of `candidates`, in order, as a proposer does. The second value names what was left
/// out and why; candidates that merely found no room are in neither.
///
/// # Errors
/// Where the time is not after the parent's.
pub fn build(
    parent: &State,
    candidates: &Proposal<'_>,
) -> Result<(Executed, Vec<(TransactionId, Rejection)>), InvalidBlock> {
    let mut run = Run::begin(parent, candidates)?;
    let mut left_out = Vec::new();
    for transaction in candidates.transactions {
        if !run.has_room_for(transaction) {
            break;
        }
        match run.transaction(transaction) {
            Ok(true) => {}
            Ok(false) => break,
            Err(rejection) => left_out.push((transaction.id(), rejection)),
        }
    }
    Ok((run.finish(candidates.proposer), left_out))
}

/// Executes a block from elsewhere and checks every word of its header. `transactions` are its own, verified.
///
/// # Errors
/// Where it is not a valid child of `parent`.
pub fn check(
    parent: &State,
    header: &Header,
    transactions: &[Verified],
) -> Result<Executed, InvalidBlock> {
    let proposal = Proposal {
        time_ms: header.time_ms,
        proposer: header.proposer,
        transactions,
    };
    let executed = execute(parent, &proposal)?;
    if executed.block.header == *header {
        Ok(executed)
    } else {
        Err(InvalidBlock::WrongHeader)
    }
}

/// What actions would do.
#[derive(Debug)]
pub struct Rehearsal {
    /// The state after them.
    pub after: State,
    /// What would happen, or why they would be refused.
    pub outcome: Result<Vec<Event>, Rejection>,
    /// What the app that was deployed last comes to, where one was.
    pub plan: Option<PlanId>,
}

/// What these actions of an account would do. It is the very code that executes them, under a full grant and without
/// envelope, fee and signature.
#[must_use]
pub fn rehearse(state: &State, account: &AccountId, actions: &[Action]) -> Rehearsal {
    let mut after = state.clone();
    let now_ms = state.tip().time_ms.saturating_add(1);
    let key = PublicKey::Ed25519([0; 32]);
    let actor = Actor {
        account: *account,
        key,
        rights: Rights::Alone(Grant::full()),
    };
    let mut context = Context {
        state: &mut after,
        now_ms,
        actor,
        events: Vec::new(),
        effort: 0,
    };
    let outcome = actions.iter().try_for_each(|action| {
        action.apply(&mut context)?;
        context.check_effort()
    });
    let deployed = context.events.iter().rev().find_map(|event| match event {
        Event::AppDeployed { app, .. } => Some(*app),
        _ => None,
    });
    let plan = deployed.and_then(|app| plan_of(context.state, &app));
    if outcome.is_ok() {
        context.effort = 0;
        for step in LAST_STEPS {
            step(&mut context);
        }
    }
    let events = context.events;
    Rehearsal {
        after,
        plan: plan.filter(|_| outcome.is_ok()),
        outcome: outcome.map(|()| events),
    }
}

/// What the law does by itself after a block's transactions, in this order.
const LAST_STEPS: &[fn(&mut Context<'_>)] = &[witness::reconsider, place::fill_due, retire];

struct Run {
    parent: Header,
    state: State,
    now_ms: u64,
    effort: u64,
    transactions: Vec<Arc<crate::Transaction>>,
    ids: Vec<TransactionId>,
    receipts: Vec<Receipt>,
}

impl Run {
    fn begin(parent: &State, proposal: &Proposal<'_>) -> Result<Self, InvalidBlock> {
        let tip = parent.tip();
        let time_ms = proposal.time_ms;
        if time_ms <= tip.time_ms {
            return Err(InvalidBlock::Time {
                time_ms,
                parent_ms: tip.time_ms,
            });
        }
        let validators_hash = parent.validators().hash();
        let header = Header {
            version: PROTOCOL_VERSION,
            network: parent.network(),
            height: tip.height.saturating_add(1),
            time_ms,
            parent: tip.block,
            proposer: proposal.proposer,
            transactions_hash: [0; 32],
            receipts_hash: [0; 32],
            root: parent.root(),
            validators_hash,
            next_validators_hash: validators_hash,
            supply: parent.params().supply,
        };
        let mut state = parent.clone();
        node::stood_still(&mut state, time_ms);
        Ok(Self {
            parent: header,
            state,
            now_ms: time_ms,
            effort: 0,
            transactions: Vec::new(),
            ids: Vec::new(),
            receipts: Vec::new(),
        })
    }

    fn has_room_for(&self, transaction: &Verified) -> bool {
        let effort = self
            .effort
            .saturating_add(least_effort(work_of(&transaction.transaction().body)));
        effort <= EFFORT_MAX && self.ids.len() < BLOCK_TRANSACTIONS_MAX
    }

    /// Whether the transaction found room. Where it did not, the state is as it was before.
    fn transaction(&mut self, verified: &Verified) -> Result<bool, Rejection> {
        let body = &verified.transaction().body;
        let (admission, record) = admit(&self.state, body, self.now_ms)?;
        self.state.mark();
        let actor = charge(&mut self.state, body, admission.fee, Arc::clone(&record))?;
        let mut context = Context {
            state: &mut self.state,
            now_ms: self.now_ms,
            actor,
            events: Vec::new(),
            effort: least_effort(admission.work),
        };
        context.toil(context.grant().entries());
        let outcome = dispatch(&mut context, body);
        let mut events = context.events;
        // One transaction alone always has room: what it may cost at most is what a block may.
        let effort = self.effort.saturating_add(context.effort.min(EFFORT_MAX));
        if effort > EFFORT_MAX {
            self.state.undo();
            return Ok(false);
        }
        self.effort = effort;
        if outcome.is_err() {
            self.state.undo();
            charge(&mut self.state, body, admission.fee, record)?;
            events = Vec::new();
        }
        self.transactions.push(Arc::clone(verified.transaction()));
        self.ids.push(verified.id());
        self.receipts.push(Receipt {
            transaction: verified.id(),
            outcome,
            work: admission.work,
            fee: admission.fee,
            events,
        });
        Ok(true)
    }

    fn finish(mut self, proposer: PublicKey) -> Executed {
        let mut context = Context {
            state: &mut self.state,
            now_ms: self.now_ms,
            actor: Actor::law(),
            events: Vec::new(),
            effort: 0,
        };
        for step in LAST_STEPS {
            step(&mut context);
        }
        let effort = [self.effort, context.effort];
        let events = context.events;
        let writes = self.state.seal();
        let supply = self.state.params().supply;
        assert!(
            self.state.running_sum() == supply,
            "credits are not conserved: accounts hold {} and the network was founded with {supply}",
            self.state.running_sum(),
        );
        let header = Header {
            proposer,
            transactions_hash: transactions_hash(self.ids.iter()),
            receipts_hash: codec::hash("allod receipts v1", &(&self.receipts, &events)),
            root: self.state.root(),
            next_validators_hash: self.state.validators().hash(),
            supply,
            ..self.parent
        };
        self.state.moved_to(&header);
        Executed {
            block: Block {
                header,
                transactions: self.transactions,
            },
            state: self.state,
            ids: self.ids,
            receipts: self.receipts,
            events,
            writes,
            effort,
        }
    }
}

/// What the envelope allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Work units that the actions cost.
    pub work: u64,
    /// What they cost in credits.
    pub fee: Credits,
    /// The key's next nonce as the state has it.
    pub nonce: u64,
    /// When the transaction or its key expires.
    pub expires_ms: u64,
}

/// Checks everything about a transaction that does not depend on its actions' content, except that the nonce may still
/// lie ahead: the mempool holds such transactions until their turn.
///
/// # Errors
/// Where the transaction can never enter a block on this state.
pub fn precheck(state: &State, body: &Body, now_ms: u64) -> Result<Admission, Rejection> {
    examine(state, body, now_ms).map(|(admission, _)| admission)
}

/// As [`precheck`]; gives the signing key's record too.
fn examine(
    state: &State,
    body: &Body,
    now_ms: u64,
) -> Result<(Admission, Arc<KeyRecord>), Rejection> {
    if body.version != PROTOCOL_VERSION {
        return Err(Rejection::WrongVersion {
            found: body.version,
        });
    }
    if body.network != state.network() {
        return Err(Rejection::WrongNetwork {
            found: body.network,
        });
    }
    if body.actions.is_empty() || body.actions.len() > ACTIONS_MAX {
        let found = u32::try_from(body.actions.len()).unwrap_or(u32::MAX);
        return Err(Rejection::ActionCount { found });
    }
    let work = work_of(body);
    let limit = body.work_limit.min(WORK_PER_TRANSACTION_MAX);
    if work > limit {
        return Err(Rejection::WorkLimit {
            needed: work,
            limit,
        });
    }
    let expires_ms = body.expires_ms;
    if expires_ms <= now_ms {
        return Err(Rejection::Expired { expires_ms });
    }
    if expires_ms > now_ms.saturating_add(TRANSACTION_LIFETIME_MS_MAX) {
        return Err(Rejection::ExpiryTooFar { expires_ms });
    }
    let record = key_record(state, body, now_ms)?;
    if let Some(expired_ms) = record.grant.expires_ms.filter(|expires| *expires <= now_ms) {
        return Err(Rejection::ExpiredKey { expired_ms });
    }
    if body.nonce < record.nonce {
        return Err(Rejection::WrongNonce {
            expected: record.nonce,
            found: body.nonce,
        });
    }
    let fee = state.params().fee_per_work.mul_div_floor(work, 1)?;
    let available = state.account_row(&body.account)?.available();
    if fee > Credits::ZERO && fee > available {
        return Err(Rejection::InsufficientCredit {
            needed: fee,
            available,
        });
    }
    let admission = Admission {
        work,
        fee,
        nonce: record.nonce,
        expires_ms: expires_ms.min(record.grant.expires_ms.unwrap_or(u64::MAX)),
    };
    Ok((admission, record))
}

fn admit(
    state: &State,
    body: &Body,
    now_ms: u64,
) -> Result<(Admission, Arc<KeyRecord>), Rejection> {
    let (admission, record) = examine(state, body, now_ms)?;
    if admission.nonce == body.nonce {
        Ok((admission, record))
    } else {
        Err(Rejection::WrongNonce {
            expected: admission.nonce,
            found: body.nonce,
        })
    }
}

/// Whether the key may sign for the account at all, now or as the first key of an account that has none: what a door
/// asks before it checks a signature.
///
/// # Errors
/// Where it may not.
pub fn check_signer(state: &State, body: &Body) -> Result<(), Rejection> {
    acting_key(state, &body.account, &body.key, 0).map(drop)
}

fn key_record(state: &State, body: &Body, now_ms: u64) -> Result<Arc<KeyRecord>, Rejection> {
    acting_key(state, &body.account, &body.key, now_ms)
}

/// A key's record; for the first key of an account that was opened by a transfer, the record it is about to get.
///
/// # Errors
/// Where the account does not exist, or the key is none of its keys.
pub fn acting_key(
    state: &State,
    of: &AccountId,
    key: &PublicKey,
    now_ms: u64,
) -> Result<Arc<KeyRecord>, Rejection> {
    if let Some(record) = state.key_row(of, key) {
        return Ok(Arc::clone(record));
    }
    let account = state.account_row(of)?;
    let is_first = account.keys == 0 && AccountId::of_first_key(key) == *of;
    if is_first {
        let record = KeyRecord::new(Grant::full(), account.nonce_floor, now_ms);
        Ok(Arc::new(record))
    } else {
        Err(Rejection::UnknownKey)
    }
}

/// Takes the fee and counts the nonce. Nothing later in the transaction undoes this.
fn charge(
    state: &mut State,
    body: &Body,
    fee: Credits,
    record: Arc<KeyRecord>,
) -> Result<Actor, Rejection> {
    if fee > Credits::ZERO {
        move_credits(state, body.account, AccountId::COMMONS, fee)?;
    }
    if state.key_row(&body.account, &body.key).is_none() {
        let mut account = state.account_or_reject(&body.account)?;
        account.keys = account.keys.saturating_add(1);
        state.put_account(body.account, account);
    }
    let mut counted = KeyRecord::clone(&record);
    counted.nonce = counted.nonce.saturating_add(1);
    state.put_key(body.account, body.key, counted);
    Ok(Actor {
        account: body.account,
        key: body.key,
        rights: Rights::Of(record),
    })
}

fn dispatch(context: &mut Context<'_>, body: &Body) -> Result<(), Rejection> {
    for action in &body.actions {
        // An earlier action of the same transaction may have taken the key or its rights away.
        let record = context.state.key_row(&body.account, &body.key);
        if let Some(record) = record {
            context.actor.rights = Rights::Of(Arc::clone(record));
        }
        if !context.grant().verbs.contains(&action.verb()) {
            return Err(Rejection::VerbNotGranted {
                verb: action.verb().name().to_owned(),
            });
        }
        action.apply(context)?;
        context.check_effort()?;
    }
    Ok(())
}

/// The effort that is counted for a transaction's work before it runs.
const fn least_effort(work: u64) -> u64 {
    work.saturating_mul(EFFORT_PER_WORK)
}

fn work_of(body: &Body) -> u64 {
    body.actions
        .iter()
        .fold(0, |sum: u64, action| sum.saturating_add(action.work()))
}

/// Forgets leases that ended so long ago that their bills are settled history.
fn retire(context: &mut Context<'_>) {
    let before_ms = context.now_ms.saturating_sub(LEASE_RETENTION_MS);
    for id in context.state.ended_before(before_ms, RETIRED_PER_BLOCK_MAX) {
        context.state.remove_lease(&id);
    }
}

/// Who acts.
struct Actor {
    account: AccountId,
    key: PublicKey,
    rights: Rights,
}

/// Where an actor's grant stands.
enum Rights {
    /// In the record of the key that signed; sharing it saves a copy in every transaction.
    Of(Arc<KeyRecord>),
    /// In no record: nobody signed.
    Alone(Grant),
}

impl Actor {
    /// The law itself, in a block's last steps.
    fn law() -> Self {
        let grant = Grant {
            verbs: std::collections::BTreeSet::new(),
            nodes: NodeSelector::Only(std::collections::BTreeSet::new()),
            ..Grant::full()
        };
        Self {
            account: AccountId::COMMONS,
            key: PublicKey::Ed25519([0; 32]),
            rights: Rights::Alone(grant),
        }
    }
}

/// What an action works on.
pub(crate) struct Context<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) now_ms: u64,
    actor: Actor,
    events: Vec<Event>,
    effort: u64,
}

impl Context<'_> {
    /// Counts effort; [`Context::check_effort`] refuses where it becomes too much.
    pub(crate) const fn toil(&mut self, effort: u64) {
        self.effort = self.effort.saturating_add(effort);
    }

    pub(crate) const fn effort(&self) -> u64 {
        self.effort
    }

    /// Refuses where one transaction has become more than a whole block may be.
    pub(crate) fn check_effort(&self) -> Result<(), Rejection> {
        if self.effort <= EFFORT_MAX {
            return Ok(());
        }
        Err(Rejection::WorkLimit {
            needed: self.effort.div_ceil(EFFORT_PER_WORK),
            limit: EFFORT_MAX / EFFORT_PER_WORK,
        })
    }

    pub(crate) const fn account(&self) -> AccountId {
        self.actor.account
    }

    pub(crate) const fn key(&self) -> PublicKey {
        self.actor.key
    }

    pub(crate) fn grant(&self) -> &Grant {
        match &self.actor.rights {
            Rights::Of(record) => &record.grant,
            Rights::Alone(grant) => grant,
        }
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The app, if the actor owns it and the grant covers it.
    pub(crate) fn own_app(&self, id: &AppId) -> Result<App, Rejection> {
        let app = self
            .state
            .app(id)
            .ok_or(Rejection::UnknownApp { app: *id })?;
        if app.owner != self.account() {
            return Err(Rejection::NotYourApp { app: *id });
        }
        if !self.grant().covers_app(&app.label) {
            return Err(Rejection::ResourceNotGranted);
        }
        Ok(app)
    }

    /// The node, if the actor operates it and the grant covers it.
    pub(crate) fn own_node(&self, id: &NodeId) -> Result<Node, Rejection> {
        let node = self
            .state
            .node(id)
            .ok_or(Rejection::UnknownNode { node: *id })?;
        if node.operator != self.account() {
            return Err(Rejection::NotYourNode { node: *id });
        }
        if !self.grant().covers_node(id) {
            return Err(Rejection::ResourceNotGranted);
        }
        Ok(node)
    }
}
