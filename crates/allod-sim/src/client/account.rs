//! Wishes about credits and keys.

use std::collections::BTreeSet;

use allod_state::Credits;
use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RevokeKey, RotateKey};
use allod_state::credit::Transfer;

use crate::client::{Draft, Wish};
use crate::person::{NEWCOMERS, SPARE};

pub(super) fn transfer(draft: &mut Draft<'_>) -> Option<Wish> {
    let payers: Vec<_> = (0..NEWCOMERS.end)
        .filter(|at| {
            draft
                .state
                .account(&draft.people.get(*at).account)
                .is_some()
        })
        .collect();
    let account = draft.people.get(*draft.random.pick(&payers)?).account;
    let signer = if draft.state.keys_of(&account).next().is_none() {
        // An account that a transfer opened: its first key joins it with its first transaction.
        (0..NEWCOMERS.end).find(|at| draft.people.get(*at).account == account)?
    } else {
        draft.signer_for(&account)?
    };
    let to = draft.people.get(draft.random.index(NEWCOMERS.end)).account;
    let micro = match draft.random.below(10) {
        0 => 0,
        1 => draft.random.between(1, 100_000_000),
        _ => draft.random.between(1, 400_000),
    };
    let memo = "m".repeat(draft.random.index(20));
    let amount = Credits::from_micro(i128::from(micro));
    let actions = vec![Transfer { to, amount, memo }.into()];
    Some(Wish {
        signer,
        account,
        actions,
    })
}

pub(super) fn add_key(draft: &mut Draft<'_>) -> Option<Wish> {
    let (_, account) = draft.founder();
    let signer = draft.signer_for(&account)?;
    let key = fresh_key(draft)?;
    let mut verbs: BTreeSet<Verb> = BTreeSet::new();
    for verb in Verb::ALL {
        if draft.random.percent(50) {
            verbs.insert(*verb);
        }
    }
    let budget = draft.random.percent(50).then(|| Budget {
        amount: Credits::from_micro(i128::from(draft.random.between(1, 3_000_000))),
        period_ms: draft.random.between(1_000, 60_000),
    });
    let expires_ms = draft
        .random
        .percent(30)
        .then(|| draft.now_ms + draft.random.below(60_000));
    let grant = Grant {
        verbs,
        apps: AppSelector::All,
        nodes: NodeSelector::All,
        budget,
        expires_ms,
    };
    Some(Wish {
        signer,
        account,
        actions: vec![AddKey { key, grant }.into()],
    })
}

/// A key that was never used before.
fn fresh_key(draft: &mut Draft<'_>) -> Option<allod_state::PublicKey> {
    let number = SPARE.start + draft.desk.next_spare();
    SPARE
        .contains(&number)
        .then(|| draft.people.get(number).key)
}

pub(super) fn revoke_key(draft: &mut Draft<'_>) -> Option<Wish> {
    let (_, account) = draft.founder();
    let signer = draft.signer_for(&account)?;
    let keys: Vec<_> = draft.state.keys_of(&account).map(|(key, _)| key).collect();
    let key = *draft.random.pick(&keys)?;
    Some(Wish {
        signer,
        account,
        actions: vec![RevokeKey { key }.into()],
    })
}

pub(super) fn rotate_key(draft: &mut Draft<'_>) -> Option<Wish> {
    let (_, account) = draft.founder();
    let signer = draft.signer_for(&account)?;
    let new = fresh_key(draft)?;
    Some(Wish {
        signer,
        account,
        actions: vec![RotateKey { new }.into()],
    })
}
