//! Plans: what actions would do, found out by the function that would do it.

use allod_state::limits::ACTIONS_MAX;
use allod_state::{AccountId, Action, State, codec};

use super::{
    Access, Answer, Answered, Input, Method, Operation, Parameter, WORKERS, parameter, plain,
};
use crate::limits::PLAN_BYTES_MAX;
use crate::server::answer::json;
use crate::server::call::{Call, Caller};
use crate::server::problem::Problem;
use crate::shape::{PLAN, Shape};

pub(super) static MAKE: Operation = Operation {
    name: "plan.make",
    method: Method::Post,
    path: "/v1/plan",
    summary: "What these actions of the signer's account would do now: placements, price, every refusal.",
    access: Access::Granted(WORKERS),
    query: &[Parameter {
        is_required: true,
        ..parameter(
            "account",
            Shape::Text,
            "On whose behalf: the signer's account.",
        )
    }],
    input: Input::Bytes {
        what: "the canonical bytes of a list of actions",
        bytes_max: PLAN_BYTES_MAX as u64,
    },
    answer: Answer::Json(Shape::View(&PLAN)),
    ..plain(make)
};

fn make(call: Call) -> Answered {
    Box::pin(async move {
        let account = call.query.required("account")?;
        let account: AccountId = account
            .parse()
            .map_err(|error| Problem::malformed(format!("`account` is no account: {error}")))?;
        let caller = call.caller()?;
        if account != caller.account {
            return Err(Problem::resource_not_granted());
        }
        let actions: Vec<Action> = codec::decode("list of actions", PLAN_BYTES_MAX, &call.bytes()?)
            .map_err(|error| Problem::malformed(error.to_string()))?;
        if actions.is_empty() || actions.len() > ACTIONS_MAX {
            let detail = format!(
                "there are {} actions; 1 to {ACTIONS_MAX} are planned",
                actions.len()
            );
            return Err(Problem::malformed(detail));
        }
        let state = call.node.state();
        if !actions.iter().all(|action| covers(caller, &state, action)) {
            return Err(Problem::resource_not_granted());
        }
        let node = call.node.clone();
        json(&call.blocking(move || node.plan(&account, &actions)).await?)
    })
}

/// Whether the caller's grant covers what an action is about. A rehearsal acts with the account's full rights, so that a
/// limited key must not learn through it what it could not read.
fn covers(caller: &Caller, state: &State, action: &Action) -> bool {
    match action {
        Action::Deploy(deploy) => caller.grant.covers_app(&deploy.label),
        Action::Scale(scale) => caller.covers_app(state, &scale.app),
        Action::Restart(restart) => caller.covers_app(state, &restart.app),
        Action::Rollback(rollback) => caller.covers_app(state, &rollback.app),
        Action::Delete(delete) => caller.covers_app(state, &delete.app),
        _ => caller.covers_all(),
    }
}
