//! Accounts: what they hold, and how it came about. A key reads its own account.

use allod_state::AccountId;
use allod_state::account::grant::Verb;
use axum::body::Body;
use http::Response;

use super::{Access, Answer, Answered, Operation, Parameter, parameter, plain};
use crate::limits::{ENTRIES_DEFAULT, ENTRIES_MAX};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::{ACCOUNT, MOVEMENT, Shape};

pub(super) static SHOW: Operation = Operation {
    name: "account.show",
    path: "/v1/accounts/{account}",
    summary: "The signer's account: what it holds, and its keys with their next nonces.",
    access: Access::Member,
    answer: Answer::Json(Shape::View(&ACCOUNT)),
    ..plain(show)
};

pub(super) static OWN: Operation = Operation {
    name: "account.own",
    path: "/v1/account",
    summary: "The account that lists the signing key, found by the key alone: for a key that came from its phrase.",
    access: Access::Member,
    answer: Answer::Json(Shape::View(&ACCOUNT)),
    ..plain(find)
};

const LIMIT: &[Parameter] = &[parameter(
    "limit",
    Shape::Count,
    "At most so many, the newest; 100 where absent.",
)];

pub(super) static HISTORY: Operation = Operation {
    name: "account.history",
    path: "/v1/accounts/{account}/history",
    summary: "How the credits of the signer's account moved, newest last.",
    access: Access::Granted(&[Verb::Read]),
    query: LIMIT,
    answer: Answer::Json(Shape::List(&Shape::View(&MOVEMENT))),
    ..plain(history)
};

fn show(call: Call) -> Answered {
    Box::pin(async move {
        let account = own(&call)?;
        answer(&call, account)
    })
}

fn find(call: Call) -> Answered {
    Box::pin(async move {
        let account = call.caller()?.account;
        answer(&call, account)
    })
}

fn answer(call: &Call, account: AccountId) -> Result<Response<Body>, Problem> {
    let shown = call.node.account(&account);
    json(&shown.ok_or_else(|| Problem::internal("the account of a known key is missing"))?)
}

fn history(call: Call) -> Answered {
    Box::pin(async move {
        let account = own(&call)?;
        call.caller()?.must_cover_all()?;
        let limit = call.query.count("limit", ENTRIES_DEFAULT, ENTRIES_MAX)?;
        let node = call.node.clone();
        let movements = call.blocking(move || node.history(&account, limit)).await?;
        json(&movements)
    })
}

/// The account of the path, where it is the signer's.
fn own(call: &Call) -> Result<AccountId, Problem> {
    let text = call.part("account")?;
    let account: AccountId = text
        .parse()
        .map_err(|error| Problem::malformed(format!("`{}` is no account: {error}", short(text))))?;
    if account == call.caller()?.account {
        Ok(account)
    } else {
        Err(Problem::resource_not_granted())
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
