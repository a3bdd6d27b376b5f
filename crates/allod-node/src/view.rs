//! What a node shows of itself and of the ledger: the shapes that the API, the CLI and scripts read.
//!
//! Amounts and 64-bit counts that may grow large are decimal texts, so that no reader rounds them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use allod_state::bill::Line;
use allod_state::evidence::{Item, Usage};
use allod_state::lease::Phase;
use allod_state::node::{Isolation, Prices, Resources};
use allod_state::{
    AccountId, AppId, Credits, Digest, Label, LeaseId, NetworkId, NodeId, PlanId, PublicKey,
    TransactionId,
};
use serde::{Deserialize, Serialize};

/// The network and this node in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The network.
    pub network: NetworkId,
    /// The newest block.
    pub height: u64,
    /// Its block time, in milliseconds since 1970.
    pub time_ms: u64,
    /// The oldest block that this node keeps; none where it has only the state after it.
    pub oldest: Option<u64>,
    /// How many validators vote.
    pub validators: u64,
    /// This node.
    pub node: NodeId,
    /// Where its ingress listens.
    pub ingress: String,
    /// What is said about the network's resilience.
    pub notice: Option<String>,
    /// Where newcomers get in, as invites carry it; none while this node expects nobody.
    pub entrance: Option<String>,
    /// This node's disk.
    pub disk: Disk,
}

/// The disk of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What is free of it.
    pub free_bytes: u64,
    /// Whether so little is free that the node takes no transactions until there is more.
    pub is_full: bool,
    /// What images take of it, fetched and unpacked.
    pub images_bytes: u64,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account.
    pub account: AccountId,
    /// What it holds; below zero it owes.
    pub balance: Credits,
    /// How far below zero it may go.
    pub line: Credits,
    /// What it can spend.
    pub available: Credits,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A key of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key.
    pub key: PublicKey,
    /// What it may do.
    pub verbs: Vec<String>,
    /// The blinded names of the apps that it is for; nothing where it is for all.
    pub apps: Option<Vec<Label>>,
    /// What it may spend, where that is bounded.
    pub budget: Option<Budget>,
    /// The nonce of its next transaction.
    pub nonce: u64,
    /// Block time in milliseconds at which it ends, where it does.
    pub expires_ms: Option<u64>,
}

/// What a key may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// How much in one period.
    pub amount: Credits,
    /// How long a period is, in milliseconds.
    pub period_ms: u64,
    /// What was sent away in the current period; what its apps cost comes on top.
    pub spent: Credits,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The node.
    pub node: NodeId,
    /// What its operator calls it.
    pub name: String,
    /// Who operates it.
    pub operator: AccountId,
    /// The key that manifests are sealed to for it, in hexadecimal.
    pub sealing_key: String,
    /// Where it is, as its operator says.
    pub region: Option<String>,
    /// All it gives.
    pub capacity: Resources,
    /// What leases take of it.
    pub used: Resources,
    /// What it asks.
    pub prices: Option<Prices>,
    /// The isolation classes it runs.
    pub isolation: Vec<Isolation>,
    /// What its operator says of it.
    pub tags: Vec<String>,
    /// Whether it takes no new replicas.
    pub is_cordoned: bool,
    /// Whether those that it has are to go elsewhere.
    pub is_draining: bool,
    /// Whether witnesses have given it up, and it has not come back.
    pub is_unreachable: bool,
    /// The share of the time in which others saw it there, in parts of a million; half of them for a newcomer.
    pub reputation_ppm: u32,
    /// What that comes from, day by day.
    pub days: Vec<Day>,
}

/// What others saw of a machine in a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970, in block time.
    pub day: u32,
    /// Milliseconds in which others watched it, or it was given up.
    pub watched_ms: u32,
    /// Of these, the milliseconds in which it was there.
    pub up_ms: u32,
}

/// Another machine, as the one that answers reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// What its operator calls it, where it is listed.
    pub name: Option<String>,
    /// The address or relay by which it is reached now.
    pub by: Option<String>,
    /// Whether that leads there without a relay.
    pub is_direct: bool,
    /// The time for there and back, in microseconds.
    pub round_trip_us: u64,
    /// Why it was not reached the last time that it was not.
    pub problem: Option<String>,
    /// The member whose relay it is reached by now.
    pub relay: Option<NodeId>,
    /// Where it says that it is.
    pub addresses: Vec<SocketAddr>,
    /// The members on whose relays it says that it listens.
    pub relayed_by: Vec<NodeId>,
}

/// A machine that validates, is elected to, or stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validator {
    /// The node.
    pub node: NodeId,
    /// What its operator calls it, where it is listed.
    pub name: Option<String>,
    /// Who operates it, where it is listed.
    pub operator: Option<AccountId>,
    /// Its part in deciding blocks.
    pub standing: Standing,
    /// Its votes among all.
    pub power: u64,
    /// The validators that want its standing changed: elected, or where it is elected, dismissed.
    pub votes: Vec<NodeId>,
}

/// A machine's part in deciding blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It decides.
    Validates,
    /// It is elected, and waits until enough are.
    Waits,
    /// It stands for election.
    Stands,
    /// It signed two things that conflict, and is never elected again.
    Barred,
}

/// An app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The app.
    pub app: AppId,
    /// Its name, where this node can read it.
    pub name: String,
    /// Its newest revision.
    pub revision: u64,
    /// The revisions that `rollback` can go back to.
    pub revisions: Vec<u64>,
    /// Its services.
    pub services: Vec<Service>,
    /// What its active leases cost in an hour.
    pub price_per_hour: Credits,
}

/// A service of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, where this node can read it.
    pub name: String,
    /// The image as its owner wrote it.
    pub image: String,
    /// How many replicas are wanted.
    pub wanted: u32,
    /// How many are ready.
    pub ready: u32,
    /// Whether two of it never run at once.
    pub is_exclusive: bool,
    /// Whether a new revision failed so often that the old one keeps serving.
    pub is_halted: bool,
    /// Where the ingress serves it.
    pub urls: Vec<String>,
    /// Ports of this machine that lead to it, as `address:port -> port`.
    pub published: Vec<String>,
    /// Its replicas.
    pub replicas: Vec<Replica>,
}

/// A replica of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its index.
    pub replica: u32,
    /// Its lease, where it has one.
    pub lease: Option<LeaseId>,
    /// The lease's epoch.
    pub epoch: u64,
    /// The revision it runs.
    pub revision: Option<u64>,
    /// The node that runs it.
    pub node: Option<NodeId>,
    /// Where the lease is in its life.
    pub phase: Option<Phase>,
    /// How far it is, in words.
    pub stage: String,
    /// What went wrong last, in words.
    pub detail: Option<String>,
    /// Its address inside the app's network.
    pub address: Option<String>,
    /// How many times in a row it failed.
    pub failures: u32,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// The block in which it happened.
    pub height: u64,
    /// Its place in the block.
    pub index: u32,
    /// Block time in milliseconds since 1970.
    pub time_ms: u64,
    /// The app it is about, where it is about one.
    pub app: Option<AppId>,
    /// Its kind.
    pub kind: String,
    /// What happened, in words.
    pub text: String,
}

/// A movement of credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// The block.
    pub height: u64,
    /// Block time in milliseconds since 1970.
    pub time_ms: u64,
    /// From.
    pub from: AccountId,
    /// To.
    pub to: AccountId,
    /// How much.
    pub amount: Credits,
    /// A transfer's memo, or the lease that was charged.
    pub memo: String,
}

/// A bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Who pays.
    pub payer: AccountId,
    /// The month, as `yyyymm` in UTC.
    pub month: u32,
    /// Its lines.
    pub lines: Vec<BillLine>,
    /// Their sum.
    pub total: Credits,
    /// What of it one owes oneself, for leases on one's own nodes: it nets to zero.
    pub to_oneself: Credits,
}

/// One lease on a bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillLine {
    /// The lease.
    pub lease: LeaseId,
    /// The app's name, where this node can read it.
    pub app: String,
    /// The service's name, where this node can read it.
    pub service: String,
    /// Who is paid, where the lease is still in the state.
    pub payee: Option<AccountId>,
    /// The price reserved for an hour, where the lease is still in the state.
    pub price_per_hour: Option<Credits>,
    /// Ready time and amount.
    #[serde(flatten)]
    pub line: Line,
    /// What was used, for information: the bill is ready time.
    pub usage: Usage,
}

/// Everything needed to recompute a bill without trusting the node that gives it. The bytes are the canonical
/// encodings in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillProof {
    /// What the proofs lead to.
    #[serde(flatten)]
    pub certified: Certified,
    /// The lines with their proofs.
    pub lines: Vec<LineProof>,
}

/// A header, and why it is the network's. The bytes are the canonical encodings in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The genesis document: its hash is the network's id.
    pub genesis: String,
    /// A header.
    pub header: String,
    /// The quorum's certificate for it.
    pub certificate: String,
    /// How the network's validators came to be those who certified it: each handover, oldest first.
    pub handovers: Vec<String>,
}

/// Everything that the ledger holds of an account, with proofs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongings {
    /// The network.
    pub network: NetworkId,
    /// Whose they are.
    pub account: AccountId,
    /// What the proofs lead to.
    #[serde(flatten)]
    pub certified: Certified,
    /// How many rows it has, as the state counts them: so that none is left out.
    pub holdings: Proved,
    /// The rows, in the order of their keys.
    pub rows: Vec<OwnedRow>,
}

/// A row of the state and the proof that it is there, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedRow {
    /// The key under which it is stored: the number of its table, and its canonical bytes.
    pub key: String,
    /// The row and its proof.
    #[serde(flatten)]
    pub row: Proved,
}

/// A sealed manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The hash of its ciphertext, by which revisions name it.
    pub digest: Digest,
    /// The ciphertext in hexadecimal.
    pub ciphertext: String,
}

/// One line of a bill with what makes it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineProof {
    /// The lease.
    pub lease: LeaseId,
    /// The stored line and its proof.
    pub line: Proved,
    /// The stored lease and its proof.
    pub row: Proved,
    /// The raw evidence, in order.
    pub items: Vec<Item>,
}

/// A stored value and the proof that it is in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// The value's canonical bytes, in hexadecimal; empty where there is none.
    pub value: String,
    /// The proof's canonical bytes, in hexadecimal.
    pub proof: String,
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The transaction.
    pub transaction: TransactionId,
    /// The block that holds it.
    pub height: u64,
    /// Nothing, or why it changed nothing.
    pub rejection: Option<Rejection>,
    /// The fee paid.
    pub fee: Credits,
    /// What happened.
    pub events: Vec<String>,
}

/// Why the law refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The stable number.
    pub code: u8,
    /// The stable name.
    pub name: String,
    /// What it says.
    pub text: String,
    /// What to do about it.
    pub next_step: String,
}

impl From<&allod_state::Rejection> for Rejection {
    fn from(rejection: &allod_state::Rejection) -> Self {
        Self {
            code: rejection.code(),
            name: rejection.name().to_owned(),
            text: rejection.to_string(),
            next_step: rejection.next_step().to_owned(),
        }
    }
}

/// What a deployment would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The name of what it comes to, where it is a deployment that is not refused.
    pub id: Option<PlanId>,
    /// Where each new replica would go.
    pub placements: Vec<Placement>,
    /// What the app would cost in an hour, with what of it runs already.
    pub price_per_hour: Credits,
    /// The nodes for which the app is to be sealed: those that would run it, and those that could take over.
    pub readers: Vec<Reader>,
    /// Why it would be refused, where it would.
    pub rejection: Option<Rejection>,
    /// The refusals of each node, where nothing fits.
    pub refusals: Vec<NodeRefusal>,
    /// The state on which it was made.
    pub root: String,
    /// The height of that state.
    pub height: u64,
}

/// A node that is to be able to read an app's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// The node.
    pub node: NodeId,
    /// Its X25519 key, in hexadecimal.
    pub sealing_key: String,
}

/// Where a replica would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The service's label; the caller knows its name.
    pub service: allod_state::Label,
    /// The replica.
    pub replica: u32,
    /// The node.
    pub node: NodeId,
    /// The node's name.
    pub node_name: String,
    /// What an hour of it costs.
    pub price_per_hour: Credits,
}

/// Why a node would not take a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRefusal {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Every rule that refuses it.
    pub rules: Vec<String>,
}

/// What a node says to a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The service's name, where this node can read it.
    pub service: String,
    /// The replica.
    pub replica: u32,
    /// The node.
    pub node: NodeId,
    /// The node's name.
    pub node_name: String,
    /// Whether the replica is there.
    pub is_here: bool,
    /// What an hour there would cost, where it offers anything.
    pub price_per_hour: Option<Credits>,
    /// Every rule that refuses it there; none where it may run there.
    pub rules: Vec<String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The app's label.
    pub app: allod_state::Label,
    /// The volume's label.
    pub volume: allod_state::Label,
    /// Its name, as `app/volume`, where this node can read it.
    pub name: String,
    /// Where its data are.
    pub node: NodeId,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is used, kept or given up.
    pub standing: allod_state::volume::Standing,
}

/// One line of a replica's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The service's name.
    pub service: String,
    /// The replica.
    pub replica: u32,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether it came on standard error.
    pub is_error: bool,
    /// The text.
    pub text: String,
}

/// The images that an archive held: their digests, and what each was called.
pub type Imported = BTreeMap<String, Vec<String>>;
