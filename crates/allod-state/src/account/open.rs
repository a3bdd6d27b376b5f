//! Opening accounts for newcomers. An invite is a key with the verb `invite` alone: whoever holds it opens one account,
//! at the expense of the one who invites, and the key is gone.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::{Grant, Verb};
use crate::account::{Account, KeyRecord, manage};
use crate::apply::Context;
use crate::event::Event;
use crate::id::AccountId;
use crate::key::PublicKey;
use crate::reject::Rejection;
use crate::transaction::Apply;

/// Opens the account that begins with a key. It holds nothing and may owe nothing.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenAccount {
    /// The newcomer's first key.
    pub key: PublicKey,
}

impl Apply for OpenAccount {
    const VERB: Verb = Verb::Invite;

    fn work(&self) -> u64 {
        200
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let (by, invite) = (context.account(), context.key());
        let id = AccountId::of_first_key(&self.key);
        // Credits may have come before the invite: then the account is there, without a key.
        let account = context.state.account(&id);
        let account = account.unwrap_or_else(|| Account::opened(context.now_ms));
        if account.keys > 0 {
            return Err(Rejection::KeyExists);
        }
        let record = KeyRecord::new(Grant::full(), account.nonce_floor, context.now_ms);
        context
            .state
            .put_account(id, Account { keys: 1, ..account });
        context.state.put_key(id, self.key, record);
        context.emit(Event::AccountOpened { account: id, by });
        if context.grant().is_invite() {
            manage::remove(context, &by, &invite)?;
        }
        Ok(())
    }
}
