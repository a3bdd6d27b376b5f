//! False envelopes: forged, carried over from elsewhere, or sent again.

use allod_state::credit::Transfer;
use allod_state::{Credits, NetworkId, Signature, Transaction};

use crate::attack::{Attempt, Never};
use crate::client::{Draft, Wish};
use crate::person::STRANGERS;

fn good(draft: &mut Draft<'_>) -> Option<(usize, Transaction)> {
    let (_, account) = draft.founder();
    let signer = draft.signer_for(&account)?;
    let to = draft.people.get(STRANGERS.start).account;
    let amount = Credits::from_micro(1);
    let memo = String::from("attack");
    let wish = Wish {
        signer,
        account,
        actions: vec![Transfer { to, amount, memo }.into()],
    };
    Some((signer, draft.sign(&wish)?))
}

fn signed_again(draft: &Draft<'_>, signer: usize, mut transaction: Transaction) -> Transaction {
    let bytes = transaction.body.sign_bytes();
    transaction.signature = draft.people.get(signer).sign(&bytes);
    transaction
}

pub(super) fn flipped_signature(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, mut transaction) = good(draft)?;
    let Signature::Ed25519(mut bytes) = transaction.signature;
    let at = draft.random.index(bytes.len());
    *bytes.get_mut(at)? ^= 1 << draft.random.below(8);
    transaction.signature = Signature::Ed25519(bytes);
    Some(Attempt {
        transaction,
        never: Never::Verifies,
    })
}

pub(super) fn altered_body(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, mut transaction) = good(draft)?;
    match draft.random.below(3) {
        0 => transaction.body.nonce += 1,
        1 => transaction.body.expires_ms += 1,
        _ => transaction.body.actions.extend_from_within(..),
    }
    Some(Attempt {
        transaction,
        never: Never::Verifies,
    })
}

pub(super) fn strangers_key(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, mut transaction) = good(draft)?;
    let stranger = STRANGERS.start + draft.random.index(STRANGERS.len());
    transaction.body.key = draft.people.get(stranger).key;
    transaction.body.nonce = 0;
    Some(Attempt {
        transaction: signed_again(draft, stranger, transaction),
        never: Never::InBlock,
    })
}

pub(super) fn another_network(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.network = NetworkId([7; 32]);
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}

pub(super) fn expired(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.expires_ms = draft.state.tip().time_ms;
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}

pub(super) fn too_little_work(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.work_limit = 1;
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}

/// No transaction of these runs has so high a nonce.
pub(super) fn skipped_nonce(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.nonce += 10_000;
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}

pub(super) fn replay(draft: &mut Draft<'_>) -> Option<Attempt> {
    let remembered = draft.desk.remembered();
    let transaction = (*draft.random.pick(&remembered)?).clone();
    Some(Attempt {
        transaction,
        never: Never::Twice,
    })
}
