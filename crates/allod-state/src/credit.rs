//! Moving credits: the one function that does it, and the transfer.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::Account;
use crate::account::grant::Verb;
use crate::apply::Context;
use crate::event::Event;
use crate::id::AccountId;
use crate::limits::MEMO_BYTES_MAX;
use crate::money::Credits;
use crate::reject::Rejection;
use crate::state::State;
use crate::transaction::Apply;

/// Sends credits to another account, opening it if it is new.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transfer {
    /// Who receives.
    pub to: AccountId,
    /// How much; above zero.
    pub amount: Credits,
    /// Why, for the history; public, at most 256 bytes.
    pub memo: String,
}

impl Apply for Transfer {
    const VERB: Verb = Verb::Transfer;

    fn work(&self) -> u64 {
        10
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        if self.memo.len() > MEMO_BYTES_MAX || self.memo.chars().any(char::is_control) {
            return Err(Rejection::field(
                "the memo is longer than 256 bytes or holds control characters",
            ));
        }
        if self.amount == Credits::ZERO || !self.amount.is_nameable() {
            return Err(Rejection::BadAmount);
        }
        let from = context.account();
        if from == self.to {
            return Err(Rejection::field(
                "an account cannot send to itself; name another account",
            ));
        }
        context.spend(self.amount)?;
        context.check_kept(self.amount)?;
        if context.state.account_row(&self.to).is_err() {
            context
                .state
                .put_account(self.to, Account::opened(context.now_ms));
        }
        move_credits(context.state, from, self.to, self.amount)?;
        context.emit(Event::Transferred {
            from,
            to: self.to,
            amount: self.amount,
            memo: self.memo.clone(),
        });
        Ok(())
    }
}

/// Moves `amount` (not negative) between two existing accounts; nothing else in the law changes a balance. The payer
/// may not fall below its line. Moving to oneself changes nothing, but still asks that the amount be there.
pub(crate) fn move_credits(
    state: &mut State,
    from: AccountId,
    to: AccountId,
    amount: Credits,
) -> Result<(), Rejection> {
    if !amount.is_nameable() {
        return Err(Rejection::BadAmount);
    }
    let payer = state.account_row(&from)?;
    let available = payer.available();
    if amount > available {
        return Err(Rejection::InsufficientCredit {
            needed: amount,
            available,
        });
    }
    if from == to {
        return Ok(());
    }
    let payee = state.account_row(&to)?;
    let debited = Account {
        balance: payer.balance.minus(amount)?,
        ..payer.clone()
    };
    let credited = Account {
        balance: payee.balance.plus(amount)?,
        ..payee.clone()
    };
    state.put_account(from, debited);
    state.put_account(to, credited);
    Ok(())
}
