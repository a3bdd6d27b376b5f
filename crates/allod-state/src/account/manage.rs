//! Adding, revoking and rotating keys.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::KeyRecord;
use crate::account::grant::{Grant, Verb};
use crate::app::App;
use crate::apply::Context;
use crate::event::Event;
use crate::id::AccountId;
use crate::key::PublicKey;
use crate::limits::{EFFORT_PER_ROW, EFFORT_PER_SLOT, KEYS_PER_ACCOUNT_MAX};
use crate::reject::Rejection;
use crate::transaction::Apply;

/// Adds a key with a grant that the signing key's own grant covers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AddKey {
    /// The new key.
    pub key: PublicKey,
    /// What it may do.
    pub grant: Grant,
}

/// Takes a key away at once.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RevokeKey {
    /// The key that goes.
    pub key: PublicKey,
}

/// Replaces the signing key by a new one with the same grant. The account keeps its id.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RotateKey {
    /// The key that takes over.
    pub new: PublicKey,
}

impl Apply for AddKey {
    const VERB: Verb = Verb::Keys;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        self.grant.validate()?;
        if !context.grant().covers(&self.grant) {
            return Err(Rejection::ResourceNotGranted);
        }
        let account = context.account();
        if context.state.key(&account, &self.key).is_some() {
            return Err(Rejection::KeyExists);
        }
        let mut owner = context.state.account_or_reject(&account)?;
        if owner.keys >= KEYS_PER_ACCOUNT_MAX {
            return Err(Rejection::too_many("keys"));
        }
        owner.keys = owner.keys.saturating_add(1);
        let nonce = owner.nonce_floor;
        context.state.put_account(account, owner);
        let record = KeyRecord::new(self.grant.clone(), nonce, context.now_ms);
        context.state.put_key(account, self.key, record);
        context.emit(Event::KeyAdded {
            account,
            key: self.key,
        });
        Ok(())
    }
}

impl Apply for RevokeKey {
    const VERB: Verb = Verb::Keys;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let account = context.account();
        let record = context
            .state
            .key(&account, &self.key)
            .ok_or(Rejection::UnknownKey)?;
        if !context.grant().covers(&record.grant) {
            return Err(Rejection::ResourceNotGranted);
        }
        let stays = |grant: &Grant| grant.verbs.contains(&Verb::Keys) && grant.expires_ms.is_none();
        // One with a budget, or for less, could never hand on what this one can.
        let another_does = context
            .state
            .grants_of(&account)
            .any(|(key, grant)| *key != self.key && stays(grant) && grant.covers(&record.grant));
        if stays(&record.grant) && !another_does {
            return Err(Rejection::LastKey);
        }
        remove(context, &account, &self.key)
    }
}

/// Takes a key of an account away, so that nothing it has signed is ever valid again.
pub(super) fn remove(
    context: &mut Context<'_>,
    account: &AccountId,
    key: &PublicKey,
) -> Result<(), Rejection> {
    let record = context.state.key(account, key);
    let record = record.ok_or(Rejection::UnknownKey)?;
    let mut owner = context.state.account_or_reject(account)?;
    owner.keys = owner.keys.saturating_sub(1);
    owner.nonce_floor = owner.nonce_floor.max(record.nonce);
    context.state.put_account(*account, owner);
    context.state.remove_key(account, key);
    context.emit(Event::KeyRevoked {
        account: *account,
        key: *key,
    });
    Ok(())
}

impl Apply for RotateKey {
    const VERB: Verb = Verb::Keys;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let (account, old) = (context.account(), context.key());
        let apps = context.state.account_or_reject(&account)?.apps;
        context.toil(apps.saturating_mul(EFFORT_PER_SLOT));
        if context.state.key(&account, &self.new).is_some() {
            return Err(Rejection::KeyExists);
        }
        let record = context
            .state
            .key(&account, &old)
            .ok_or(Rejection::UnknownKey)?;
        let mut owner = context.state.account_or_reject(&account)?;
        let nonce = owner.nonce_floor.max(record.nonce);
        owner.nonce_floor = nonce;
        context.state.put_account(account, owner);
        context.state.remove_key(&account, &old);
        context
            .state
            .put_key(account, self.new, KeyRecord { nonce, ..record });
        // The budget that bore these apps bears them still.
        for id in context.state.apps_deployed_by(&account, &old) {
            context.toil(EFFORT_PER_ROW);
            if let Some(app) = context.state.app(&id) {
                let deployed_by = self.new;
                context.state.put_app(id, App { deployed_by, ..app });
            }
        }
        context.emit(Event::KeyRotated {
            account,
            old,
            new: self.new,
        });
        Ok(())
    }
}
