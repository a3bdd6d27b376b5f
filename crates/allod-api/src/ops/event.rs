//! What happened, once or as it happens. A stream is resumed with the last id that was seen.

use allod_state::account::grant::Verb;
use allod_state::{AccountId, AppId};

use super::{Access, Answer, Answered, Operation, Parameter, parameter, plain};
use crate::limits::{ENTRIES_DEFAULT, ENTRIES_MAX};
use crate::server::answer::json;
use crate::server::call::{Call, Caller};
use crate::server::problem::Problem;
use crate::server::stream::{Events, Place};
use crate::shape::{HAPPENING, Shape};

const QUERY: &[Parameter] = &[
    parameter(
        "after",
        Shape::Text,
        "Only what happened after this place, written `height.index`.",
    ),
    parameter(
        "limit",
        Shape::Count,
        "At most so many; 100 where absent. Streams have no end.",
    ),
];

const ANSWER: Answer = Answer::JsonOrEvents(
    Shape::List(&Shape::View(&HAPPENING)),
    Shape::View(&HAPPENING),
);

pub(super) static LIST: Operation = Operation {
    name: "event.list",
    path: "/v1/events",
    summary: "What happened to everything of the signer's account that its grant covers.",
    access: Access::Granted(&[Verb::Read]),
    query: QUERY,
    answer: ANSWER,
    ..plain(list)
};

pub(super) static LIST_OF_APP: Operation = Operation {
    name: "event.list-of-app",
    path: "/v1/apps/{app}/events",
    summary: "What happened to one app.",
    access: Access::Granted(&[Verb::Read]),
    query: QUERY,
    answer: ANSWER,
    ..plain(list_of_app)
};

fn list(call: Call) -> Answered {
    Box::pin(async move { answer(call, None).await })
}

fn list_of_app(call: Call) -> Answered {
    Box::pin(async move {
        let app = call.app()?;
        answer(call, Some(app)).await
    })
}

async fn answer(
    call: Call,
    app: Option<AppId>,
) -> Result<http::Response<axum::body::Body>, Problem> {
    let after = match call.query.one("after")? {
        Some(text) => Some(Place::read(text)?),
        None => None,
    };
    if call.accepts("text/event-stream") {
        let resumed = match call.headers.get("last-event-id") {
            Some(id) => Some(Place::read(id.to_str().unwrap_or_default())?),
            None => after,
        };
        return Events::open(&call, app, resumed);
    }
    let limit = call.query.count("limit", ENTRIES_DEFAULT, ENTRIES_MAX)?;
    let (node, caller) = (call.node.clone(), call.caller()?.clone());
    let place = after.map(|place| (place.height, place.index));
    let happenings = call.blocking(move || {
        let account: AccountId = caller.account;
        let mut all = node.events(
            &account,
            app,
            place,
            if app.is_some() { limit } else { ENTRIES_MAX },
        );
        retain_covered(&mut all, &caller, &node.state());
        bounded(all, limit, place.is_some())
    });
    json(&happenings.await?)
}

/// Leaves out what the key's grant does not cover.
pub(crate) fn retain_covered(
    happenings: &mut Vec<allod_node::view::Happening>,
    caller: &Caller,
    state: &allod_state::State,
) {
    happenings.retain(|happening| match happening.app {
        Some(app) => caller.covers_app(state, &app),
        None => caller.covers_all(),
    });
}

/// The first of them after a place, or else the last.
fn bounded<T>(mut all: Vec<T>, limit: usize, from_a_place: bool) -> Vec<T> {
    if from_a_place {
        all.truncate(limit);
    } else {
        all.drain(..all.len().saturating_sub(limit));
    }
    all
}
