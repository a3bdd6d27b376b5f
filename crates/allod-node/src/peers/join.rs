//! Joining: what a newcomer does before its node can start. It speaks with the invite's own key, which members let in as
//! a guest: it asks for the document that the network began with, has its account opened, and has its machine listed.
//!
//! Each step is asked for again until it is known to be done, and what is done already is not done twice: a newcomer may
//! be killed anywhere, and joins when it is started again.

use allod_net::limits::PeerLimits;
use allod_net::peer::{PeerKey, Peers, PeersConfig, PeersError};
use allod_state::account::OpenAccount;
use allod_state::genesis::Genesis;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, PublicKey, Signature, Transaction, codec};
use ed25519_zebra::SigningKey;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::greeters::Greeters;
use super::question::{Answer, Question, ask, asking};
use super::roster::of_greeters;
use super::snapshot::{self, Fetched};
use crate::invite::{Invite, key_of};
use crate::limits::{GENESIS_BYTES_MAX, JOIN_PAUSES, JOIN_TIME_MAX, TRANSACTION_LIFETIME_MS};
use crate::time::now_ms;

/// Why a newcomer could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No socket.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// No member of the invite answers.
    #[error(
        "no member that the invite names answers: {last}; check that this machine is on the network, or ask for a new invite"
    )]
    Nobody {
        /// What was wrong with the last.
        last: String,
    },
    /// The member says something that the invite rules out.
    #[error("a member answers as one of another network would; ask for a new invite")]
    OtherNetwork,
    /// The invite was used or is over.
    #[error("the invite is used up or over; ask for a new one: `allod invite`")]
    Spent,
    /// The law refused.
    #[error("joining was refused: {text}; {next}")]
    Refused {
        /// Why.
        text: String,
        /// What to do.
        next: String,
    },
}

/// Who joins.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// The first key of its account.
    pub(crate) key: PublicKey,
    /// The transaction that lists its machine, signed.
    pub(crate) listing: Transaction,
}

/// What a newcomer joins with.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The bytes of the genesis document.
    pub(crate) genesis: Vec<u8>,
    /// A snapshot of the ledger, where a member gave one.
    pub(crate) snapshot: Option<Fetched>,
    /// Takes leave of the members that were asked; they are far away, and nothing waits for it.
    pub(crate) farewell: JoinSet<()>,
}

/// Joins.
///
/// # Errors
/// Where no member answers, or one refuses.
pub(crate) async fn join(invite: &Invite, newcomer: &Newcomer) -> Result<Joined, JoinError> {
    let config = PeersConfig {
        secret: *invite.secret.expose(),
        listen: None,
        external: Vec::new(),
        network: *invite.network.as_bytes(),
        is_relayed_only: false,
        limits: PeerLimits::default(),
    };
    let (peers, _heard) = Peers::open(config).await?;
    peers.admit(of_greeters(&invite.entrance.members)).await;
    let guest = Guest {
        invite,
        greeters: Greeters::of(&invite.entrance),
        peers,
    };
    let began = Instant::now();
    let joined = tokio::time::timeout(JOIN_TIME_MAX, guest.join(newcomer)).await;
    let joined = joined.unwrap_or_else(|_| {
        let last = format!("{} s have passed", JOIN_TIME_MAX.as_secs());
        Err(JoinError::Nobody { last })
    });
    let mut farewell = JoinSet::new();
    let (genesis, known) = match joined {
        Ok(joined) => joined,
        Err(error) => {
            guest.peers.close().await;
            return Err(error);
        }
    };
    // It takes as long as it takes: this machine has joined.
    let (listed, anchor) = (began.elapsed(), snapshot::anchor(&invite.entrance, None));
    let ask = asking(&guest.peers);
    let snapshot = snapshot::fetch(ask, &guest.greeters, &known, &anchor).await;
    let is_snapshot = snapshot.is_some();
    tracing::info!(?listed, all = ?began.elapsed(), is_snapshot, "members have answered");
    farewell.spawn(guest.peers.close());
    Ok(Joined {
        genesis,
        snapshot,
        farewell,
    })
}

/// A newcomer before it is a member.
struct Guest<'a> {
    invite: &'a Invite,
    greeters: Greeters,
    peers: Peers,
}

impl Guest<'_> {
    /// A member may be far away: what need not wait for another answer is asked beside it.
    async fn join(&self, newcomer: &Newcomer) -> Result<(Vec<u8>, Genesis), JoinError> {
        let ((), genesis) = tokio::try_join!(self.list(newcomer), self.genesis())?;
        Ok(genesis)
    }

    async fn genesis(&self) -> Result<(Vec<u8>, Genesis), JoinError> {
        let Answer::Genesis(genesis) = self.ask(&Question::Genesis).await? else {
            return Err(JoinError::OtherNetwork);
        };
        let known = codec::decode("genesis", GENESIS_BYTES_MAX, &genesis).ok();
        let known = known.filter(|it: &Genesis| it.network() == self.invite.network);
        Ok((genesis, known.ok_or(JoinError::OtherNetwork)?))
    }

    /// Opens the newcomer's account and lists its machine, where that has not been done.
    async fn list(&self, newcomer: &Newcomer) -> Result<(), JoinError> {
        let account = AccountId::of_first_key(&newcomer.key);
        let own = key_of(&self.invite.secret);
        let (known, invited) = tokio::try_join!(
            self.nonce(account, newcomer.key),
            self.nonce(self.invite.inviter, own)
        )?;
        let listing = &newcomer.listing;
        // The listing is its key's first transaction: where the nonce is beyond that, it is in a block. And it is where the
        // account begins: whoever has just opened it need not ask.
        let nonce = match known {
            Some(nonce) => nonce,
            None => {
                let nonce = invited.ok_or(JoinError::Spent)?;
                self.open_account(newcomer.key, nonce).await?;
                0
            }
        };
        if nonce == listing.body.nonce {
            self.submit(listing).await?;
        }
        Ok(())
    }

    async fn open_account(&self, key: PublicKey, nonce: u64) -> Result<(), JoinError> {
        let seed = SigningKey::from(*self.invite.secret.expose());
        let own = key_of(&self.invite.secret);
        let inviter = self.invite.inviter;
        let actions: Vec<Action> = vec![OpenAccount { key }.into()];
        let body = Body {
            version: PROTOCOL_VERSION,
            network: self.invite.network,
            account: inviter,
            key: own,
            nonce,
            expires_ms: now_ms() + TRANSACTION_LIFETIME_MS,
            work_limit: actions.iter().map(Action::work).sum(),
            actions,
        };
        let signature = Signature::Ed25519(seed.sign(&body.sign_bytes()).to_bytes());
        self.submit(&Transaction { body, signature }).await
    }

    async fn nonce(&self, account: AccountId, key: PublicKey) -> Result<Option<u64>, JoinError> {
        match self.ask(&Question::Nonce(account, key)).await? {
            Answer::Nonce(nonce) => Ok(nonce),
            _ => Err(JoinError::OtherNetwork),
        }
    }

    async fn submit(&self, transaction: &Transaction) -> Result<(), JoinError> {
        match self.ask(&Question::Submit(transaction.to_bytes())).await? {
            Answer::Committed(_) => Ok(()),
            Answer::Refused(text, next) => Err(JoinError::Refused { text, next }),
            _ => Err(JoinError::OtherNetwork),
        }
    }

    async fn ask(&self, question: &Question) -> Result<Answer, JoinError> {
        let asked = self
            .greeters
            .first(|member| self.ask_again(member, question));
        match asked.await {
            Ok((_, answer)) => Ok(answer),
            Err(last) => Err(JoinError::Nobody { last }),
        }
    }

    /// An invite takes a moment to be known, and a home relay to be found.
    async fn ask_again(&self, member: PeerKey, question: &Question) -> Result<Answer, String> {
        for pause in JOIN_PAUSES {
            match ask(&self.peers, member, question).await {
                Ok(answer) => return Ok(answer),
                Err(error) => tracing::debug!(%member, error, "a member does not answer yet"),
            }
            tokio::time::sleep(pause).await;
        }
        ask(&self.peers, member, question).await
    }
}
