//! What attackers begin with: a small payment that is in order, and a signature over what they made of it.

use allod_state::credit::Transfer;
use allod_state::{Credits, Transaction};

use crate::client::{Draft, Wish};
use crate::person::STRANGERS;

pub(super) fn good(draft: &mut Draft<'_>) -> Option<(usize, Transaction)> {
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

pub(super) fn signed_again(
    draft: &Draft<'_>,
    signer: usize,
    mut transaction: Transaction,
) -> Transaction {
    let bytes = transaction.body.sign_bytes();
    transaction.signature = draft.people.get(signer).sign(&bytes);
    transaction
}
