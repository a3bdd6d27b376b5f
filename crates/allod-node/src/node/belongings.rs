//! What belongs to an account, with what shows it to whoever knows only the network's id.

use std::io;

use allod_state::{AccountId, Digest, State, codec};
use data_encoding::HEXLOWER;

use super::bills::proved;
use crate::node::Node;
use crate::view;

impl Node {
    /// A state, and why it is the network's.
    ///
    /// # Errors
    /// Where the ledger cannot be read, or no block has been committed yet.
    pub(super) fn certified(&self) -> io::Result<(State, view::Certified)> {
        let view = self.inner.ledger.view();
        let tip = view.tip.as_ref();
        let tip = tip.ok_or_else(|| io::Error::other("no block has been committed yet"))?;
        // A handover that came after the header was read is none of its own.
        let handovers = self.inner.ledger.chain().handovers();
        let handovers = handovers.map_err(io::Error::other)?.into_iter();
        let handovers = handovers.filter(|it| it.header.height < tip.header.height);
        let handovers = handovers.map(|it| HEXLOWER.encode(&codec::encode(&it)));
        let certified = view::Certified {
            genesis: HEXLOWER.encode(&self.genesis),
            header: HEXLOWER.encode(&codec::encode(&tip.header)),
            certificate: HEXLOWER.encode(&codec::encode(&tip.certificate)),
            handovers: handovers.collect(),
        };
        Ok((view.state.clone(), certified))
    }

    /// Everything that the ledger holds of an account.
    ///
    /// # Errors
    /// Where the ledger cannot be read, or no block has been committed yet.
    pub fn belongings(&self, account: &AccountId) -> io::Result<view::Belongings> {
        let (state, certified) = self.certified()?;
        let rows = state.owned_by(account).into_iter();
        let rows = rows.map(|key| view::OwnedRow {
            key: HEXLOWER.encode(&key),
            row: proved(&state, &key),
        });
        Ok(view::Belongings {
            network: state.network(),
            account: *account,
            certified,
            holdings: proved(&state, &State::holdings_key(account)),
            rows: rows.collect(),
        })
    }

    /// A sealed manifest of one of an account's apps; nothing where no kept revision of it names that one, or it is not on
    /// this machine.
    #[must_use]
    pub fn sealed_manifest(&self, account: &AccountId, digest: &Digest) -> Option<view::Sealed> {
        let state = self.state();
        let mut apps = state.apps_of(account);
        let is_named = apps.any(|(_, app)| {
            let mut revisions = state.revisions_of(&app);
            revisions.any(|(_, revision)| revision.manifest.ciphertext == *digest)
        });
        let ciphertext = self.inner.manifests.ciphertext(digest);
        let ciphertext = ciphertext.filter(|_| is_named)?;
        Some(view::Sealed {
            digest: *digest,
            ciphertext: HEXLOWER.encode(&ciphertext),
        })
    }
}
