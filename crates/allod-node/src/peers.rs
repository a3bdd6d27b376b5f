//! The other machines of the network: this one speaks with whom the ledger lists, says where it may be found itself, and
//! answers newcomers who hold an invite, and members.
//!
//! Nothing is opened while nobody else is there or expected: a network of one listens to nobody.

mod greeters;
mod join;
mod opening;
mod question;
mod roster;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use allod_ledger::chain::Outbound;
use allod_ledger::store::Tip;
use allod_net::limits::{PeerLimits, RelayLimits};
use allod_net::peer::{
    MemberRelay, PeerKey, Peers, PeersConfig, PeersError, Protocol, Question, Roster,
};
use allod_state::genesis::Genesis;
use allod_state::limits::{REACH_ADDRESSES_MAX, REACH_RELAYS_MAX};
use allod_state::node::{PublishReach, Reach, Relay};
use allod_state::{PublicKey, State};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::agent::{Sight, chain as words};
use crate::carrier::Carrier;
use crate::conflict;
use crate::identity::Identity;
use crate::inner::Inner;
use crate::invite::{Entrance, Greeter};
use crate::limits::{
    ANSWERS_MAX, ENTRANCE_PERIOD, GUEST_GRACE, REACH_PERIOD, RETRY_PAUSE, ROSTER_PERIOD,
    SILENCE_MIN, SNAPSHOT_TIME_MAX,
};
use crate::porter;
use crate::quarantine;
use crate::readers;
use crate::time::now_ms;
use crate::whole;
use crate::witness;

use greeters::Greeters;
pub use join::JoinError;
pub(crate) use join::{Newcomer, join};
pub(crate) use opening::Unopened;
pub(crate) use question::manifest;
pub(crate) use roster::peer_key;
pub(crate) use snapshot::Fetched;

/// The file that keeps the port, so that invites stay good over a restart.
const PORT_FILE: &str = "peer-port";
/// The file that keeps the entrance by which this machine came, or would come again.
const ENTRANCE_FILE: &str = "entrance";

/// What this machine's company is kept with.
pub(crate) struct Settings {
    /// Where to listen for peers; port 0 takes the one of the last time, or any free one.
    pub(crate) listen: SocketAddr,
    /// Where to relay for other members, at an address that they reach.
    pub(crate) relay: Option<SocketAddr>,
    /// Whether members on the own local networks are looked for.
    pub(crate) looks_on_lan: bool,
    /// The document that the network began with.
    pub(crate) genesis: Arc<Vec<u8>>,
}

/// Keeps the entrance by which this machine joined.
pub(crate) fn remember(dir: &Path, entrance: &Entrance) -> std::io::Result<()> {
    whole::write(&dir.join(ENTRANCE_FILE), entrance.to_string().as_bytes())
}

/// Whether this machine came by an invite, or others came by its own.
pub(crate) fn knows_others(dir: &Path) -> bool {
    dir.join(ENTRANCE_FILE).exists()
}

/// Where this machine would begin anew.
fn remembered(dir: &Path) -> Option<Entrance> {
    let text = std::fs::read_to_string(dir.join(ENTRANCE_FILE));
    text.ok()?.parse().ok()
}

/// Asks for a snapshot of the ledger as the member that this machine is: its own ledger is gone, or ends with that block.
/// Nothing where it has not joined, or nobody gives one in time.
pub(crate) async fn learn_anew(
    dir: &Path,
    identity: &Identity,
    genesis: &Genesis,
    own: Option<Tip>,
) -> Option<Fetched> {
    let entrance = remembered(dir)?;
    let config = PeersConfig {
        secret: *identity.peer_secret().expose(),
        listen: None,
        external: Vec::new(),
        network: *genesis.network().as_bytes(),
        is_relayed_only: false,
        limits: PeerLimits::default(),
    };
    let (peers, _heard) = Peers::open(config).await.ok()?;
    peers.admit(roster::of_greeters(&entrance.members)).await;
    let anchor = snapshot::anchor(&entrance, own);
    let began = Instant::now();
    let fetched = loop {
        let greeters = Greeters::of(&entrance);
        // One that is on its way is waited for: each of its chunks has a time of its own.
        let fetched = snapshot::fetch(question::asking(&peers), &greeters, genesis, &anchor).await;
        if fetched.is_some() || began.elapsed() >= SNAPSHOT_TIME_MAX {
            break fetched;
        }
        // This machine may have no network yet.
        tokio::time::sleep(RETRY_PAUSE).await;
    };
    peers.close().await;
    fetched
}

/// Where newcomers get in, once this machine listens.
pub(crate) fn entrance(state: &State, own: &PublicKey) -> Entrance {
    roster::entrance(state, own)
}

/// Opens the peers once there is somebody to speak with, and keeps them true to the ledger.
pub(crate) async fn keep(
    inner: Arc<Inner>,
    settings: Settings,
    seen: watch::Receiver<Arc<Sight>>,
    mut said: mpsc::Receiver<Outbound>,
    opened: watch::Sender<Option<Peers>>,
) {
    let entrance = remembered(&inner.dir);
    let greeters = entrance.as_ref().map(|it| it.members.clone());
    let greeters = greeters.unwrap_or_default();
    let mut pulse = tokio::time::interval(ROSTER_PERIOD);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while settings.relay.is_none() && !is_expected(&inner.ledger.state(), &greeters) {
        tokio::select! {
            _ = pulse.tick() => {}
            // A network of one has nobody to carry messages to.
            message = said.recv() => if message.is_none() { return },
        }
    }
    let opening = opening::at_last(&inner.unopened.peers, || open(&inner, &settings));
    tokio::pin!(opening);
    let (peers, mut heard) = loop {
        tokio::select! {
            opened = &mut opening => break opened,
            // Nobody hears it yet; what matters is said again.
            message = said.recv() => if message.is_none() { return },
        }
    };
    let beats = heard.remove(&Protocol::Heartbeats);
    let _carrier = Carrier::start(inner.ledger.chain(), said, &peers, heard);
    let (relay, relay_seen) = watch::channel(None);
    let questions = peers.questions();
    let tunnels = peers.tunnels();
    opened.send_replace(Some(peers.clone()));
    let mut company = Company {
        greeters,
        ..Company::default()
    };
    let following = async {
        let mut unchecked = entrance;
        let mut written = Instant::now();
        let mut is_kept = knows_others(&inner.dir);
        loop {
            company.look(&inner.ledger.state(), &peers).await;
            unchecked = unchecked.filter(|entrance| !is_passed(&inner, entrance));
            if unchecked.is_none() && (!is_kept || written.elapsed() >= ENTRANCE_PERIOD) {
                written = Instant::now();
                is_kept = remember_anew(&inner);
            }
            pulse.tick().await;
        }
    };
    tokio::select! {
        () = following => {}
        () = keep_relay(&inner, &peers, settings.relay, relay) => {}
        () = say_where(&inner, &peers, &relay_seen, &settings) => {}
        () = look_around(&peers, &settings) => {}
        () = answer_all(&inner, Arc::clone(&settings.genesis), questions) => {}
        () = porter::admit(&inner, &seen, tunnels) => {}
        () = witness::keep(&inner, &peers, beats) => {}
        () = readers::keep(&inner) => {}
        () = conflict::show(&inner) => {}
        () = quarantine::report(&inner) => {}
    }
}

/// Writes down where this machine would begin anew: members move, and old blocks are let go. Says whether there is somebody.
fn remember_anew(inner: &Inner) -> bool {
    let own = inner.identity.public_key();
    let mut others = roster::entrance(&inner.ledger.state(), &own);
    let own = peer_key(&own);
    others.members.retain(|member| PeerKey(member.key) != own);
    if others.members.is_empty() {
        return false;
    }
    if let Err(error) = remember(&inner.dir, &others) {
        tracing::warn!(%error, "where this machine would begin anew is not written down");
    }
    true
}

/// The validators that this machine does not reach.
pub(crate) fn unreached(inner: &Inner, state: &State) -> Vec<PublicKey> {
    let paths = inner.peers.borrow().as_ref().map(Peers::paths);
    let paths = paths.unwrap_or_default().into_iter();
    let ways = paths.filter(|path| path.way.is_some());
    let reached: BTreeSet<PeerKey> = ways.map(|path| path.peer).collect();
    let own = inner.identity.public_key();
    let validators = state.validators();
    let keys = validators.iter().map(|(key, _)| *key);
    keys.filter(|key| *key != own && !reached.contains(&peer_key(key)))
        .collect()
}

/// The validators that are reached, or are this machine itself, and of which no vote has come for the block that has been
/// under way for a while, with its height. Only a validator hears votes.
pub(crate) fn silent(inner: &Inner, state: &State) -> Option<(u64, Vec<PublicKey>)> {
    let own = inner.identity.public_key();
    let validators = state.validators();
    let (voted, since) = inner.ledger.chain().voted()?;
    if validators.power(&own) == 0 || since < SILENCE_MIN {
        return None;
    }
    let is_voting = inner.ledger.view().is_voting;
    let unreached = unreached(inner, state);
    let has_voted = |key: &PublicKey| match *key == own {
        true => is_voting,
        false => voted.by.contains(key),
    };
    let keys = validators.iter().map(|(key, _)| *key);
    let silent = keys.filter(|key| !unreached.contains(key) && !has_voted(key));
    Some((voted.height, silent.collect()))
}

/// Whether this machine reaches as many validators as decide a block.
pub(crate) fn has_quorum(inner: &Inner, state: &State) -> bool {
    let unreached = unreached(inner, state);
    let validators = state.validators();
    let reached = validators
        .iter()
        .filter(|(key, _)| !unreached.contains(key));
    let power = reached.fold(0_u64, |sum, (_, power)| sum.saturating_add(power));
    validators.is_quorum(power)
}

/// Whether there is somebody else, or somebody may come.
fn is_expected(state: &State, greeters: &[Greeter]) -> bool {
    let is_invited = state.invites(now_ms()).next().is_some();
    !greeters.is_empty() || is_invited || state.nodes().nth(1).is_some()
}

async fn open(
    inner: &Inner,
    settings: &Settings,
) -> Result<(Peers, allod_net::peer::Inboxes), PeersError> {
    let file = inner.dir.join(PORT_FILE);
    let last = std::fs::read_to_string(&file).ok();
    let last: Option<u16> = last.and_then(|text| text.trim().parse().ok());
    let config = |listen: SocketAddr| PeersConfig {
        secret: *inner.identity.peer_secret().expose(),
        listen: Some(listen),
        external: Vec::new(),
        network: *inner.ledger.state().network().as_bytes(),
        is_relayed_only: false,
        limits: PeerLimits::default(),
    };
    let mut listen = settings.listen;
    if listen.port() == 0 {
        listen.set_port(last.unwrap_or(0));
    }
    let opened = match Peers::open(config(listen)).await {
        Err(_) if listen.port() != settings.listen.port() => {
            Peers::open(config(settings.listen)).await?
        }
        opened => opened?,
    };
    let port = opened.0.listening().first().map(SocketAddr::port);
    if let Some(port) = port.filter(|port| Some(*port) != last) {
        // Where it cannot be kept, the next start has another port, and says so on the ledger.
        if let Err(error) = whole::write(&file, port.to_string().as_bytes()) {
            tracing::warn!(%error, "the port for peers is not kept");
        }
    }
    Ok(opened)
}

/// Relays for other members, where that is asked for, and tells where they reach it.
async fn keep_relay(
    inner: &Inner,
    peers: &Peers,
    listen: Option<SocketAddr>,
    opened: watch::Sender<Option<Relay>>,
) {
    let Some(listen) = listen else {
        return pending().await;
    };
    let secret = inner.identity.peer_secret();
    let limits = RelayLimits::default();
    let start = || MemberRelay::start(listen, secret.expose(), peers.roster(), &limits);
    // It runs until it is dropped.
    let relay = opening::at_last(&inner.unopened.relay, start).await;
    let (address, known) = relay.entry;
    opened.send_replace(Some(Relay {
        address,
        pin: known.pin,
        discovery_port: known.discovery_port,
    }));
    pending().await
}

/// Whether this machine's chain has come to the inviter's block, and holds it. Where it holds another, everything stops.
fn is_passed(inner: &Inner, entrance: &Entrance) -> bool {
    if inner.ledger.state().tip().height < entrance.height {
        return false;
    }
    // What was pruned meanwhile was looked at before.
    let block = inner.ledger.chain().block(entrance.height).ok().flatten();
    if block.is_none_or(|block| block.block.header.id() == entrance.block) {
        return true;
    }
    tracing::error!(
        height = entrance.height,
        "the members that answer follow another chain than whoever invited this machine; join again with a new invite"
    );
    std::process::abort();
}

async fn answer_all(
    inner: &Arc<Inner>,
    genesis: Arc<Vec<u8>>,
    questions: Option<mpsc::Receiver<Question>>,
) {
    let Some(mut questions) = questions else {
        return;
    };
    let mut answering = JoinSet::new();
    while let Some(asked) = questions.recv().await {
        while answering.len() >= ANSWERS_MAX {
            answering.join_next().await;
        }
        while answering.try_join_next().is_some() {}
        let (inner, genesis) = (Arc::clone(inner), Arc::clone(&genesis));
        answering.spawn(async move { question::answer(&inner, &genesis, asked).await });
    }
}

/// Tells the ledger where this machine is, whenever that changes. It waits for a block each time, however long.
async fn say_where(
    inner: &Inner,
    peers: &Peers,
    relay: &watch::Receiver<Option<Relay>>,
    settings: &Settings,
) {
    let mut pulse = tokio::time::interval(ROSTER_PERIOD);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // It learns where it is in the first seconds; what changes again and again afterwards is no news for a ledger.
    let mut pause = ROSTER_PERIOD;
    loop {
        pulse.tick().await;
        let (state, node) = (inner.ledger.state(), inner.node);
        let before = state.reach(&node);
        let mut reach = reach(&state, peers, settings.listen.ip());
        reach.relay.clone_from(&relay.borrow());
        // One that was asked for and does not run yet is not taken back: it may do so in a moment.
        if reach.relay.is_none() && settings.relay.is_some() {
            reach.relay = before.as_ref().and_then(|before| before.relay.clone());
        }
        let is_known = !(reach.addresses.is_empty() && reach.relayed_by.is_empty());
        let is_news = before.as_ref() != Some(&reach);
        if !(is_known && is_news && state.node(&node).is_some()) {
            continue;
        }
        let action = PublishReach { node, reach };
        if let Err(error) = inner.signer.submit(vec![action.into()]).await {
            tracing::warn!(error = %words(&error), "the ledger does not know where this machine is");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REACH_PERIOD);
    }
}

/// Looks for members on the networks where this machine has an address now. It does not wait for the ledger, which may need
/// those members.
async fn look_around(peers: &Peers, settings: &Settings) {
    let mut pulse = tokio::time::interval(ROSTER_PERIOD);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse.tick().await;
        if settings.looks_on_lan {
            let own = own_addresses(settings.listen.ip()).into_iter();
            let own = own.filter_map(|own| match own {
                IpAddr::V4(own) => Some(own),
                IpAddr::V6(_) => None,
            });
            peers.look_on(own.collect());
        }
    }
}

/// The addresses that this machine's links have at this moment, where it listens on them. The peers know them later: they
/// ask relays first how others see this machine.
fn own_addresses(listen: IpAddr) -> BTreeSet<IpAddr> {
    let mut own = allod_runtime::network::outer_addresses().unwrap_or_else(|error| {
        tracing::debug!(%error, "this machine's addresses are not known");
        BTreeSet::new()
    });
    if !listen.is_unspecified() {
        own = BTreeSet::from([listen]);
    }
    own
}

/// This machine's addresses, without those that lead nowhere for others.
fn addresses(peers: &Peers, listen: IpAddr) -> Vec<SocketAddr> {
    let inner = allod_runtime::network::inner_addresses().unwrap_or_else(|error| {
        tracing::debug!(%error, "which addresses lead nowhere is not known");
        BTreeSet::new()
    });
    // What its owner names is taken at their word.
    let leads_here = |at: &SocketAddr| at.ip() == listen || !inner.contains(&at.ip());
    let addresses = peers.addresses().into_iter();
    addresses.filter(leads_here).collect()
}

/// Where this machine may be found, as far as it knows; of its own relay nothing.
fn reach(state: &State, peers: &Peers, listen: IpAddr) -> Reach {
    let homes = peers.homes();
    let is_home = |reach: &Reach| {
        let relay = reach.relay.as_ref();
        relay.is_some_and(|relay| homes.contains(&relay.address))
    };
    let relayed_by = state.reaches().filter(|(_, reach)| is_home(reach));
    let addresses = addresses(peers, listen).into_iter();
    Reach {
        addresses: addresses.take(REACH_ADDRESSES_MAX).collect(),
        relayed_by: relayed_by
            .map(|(node, _)| *node)
            .take(REACH_RELAYS_MAX)
            .collect(),
        relay: None,
    }
}

/// Whom this machine speaks with, as it was told last.
#[derive(Default)]
struct Company {
    greeters: Vec<Greeter>,
    told: Roster,
    /// When each invite was last seen unused.
    unused: BTreeMap<PeerKey, Instant>,
}

impl Company {
    /// Tells the peers what the ledger says now.
    async fn look(&mut self, state: &State, peers: &Peers) {
        let mut roster = roster::roster(state, &self.greeters, now_ms());
        let now = Instant::now();
        let unused = roster.guests.iter().map(|guest| (*guest, now));
        self.unused.extend(unused);
        self.unused
            .retain(|_, seen| now.duration_since(*seen) < GUEST_GRACE);
        roster.guests = self.unused.keys().copied().collect();
        if roster != self.told {
            peers.admit(roster.clone()).await;
            self.told = roster;
        }
    }
}
