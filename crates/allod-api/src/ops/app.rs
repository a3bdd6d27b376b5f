//! Apps, with their services and replicas.

use super::{Access, Answer, Answered, Operation, WORKERS, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::shape::{APP, Shape, VERDICT};

pub(super) static LIST: Operation = Operation {
    name: "app.list",
    path: "/v1/apps",
    summary: "The apps of the signer's account that its grant covers.",
    access: Access::Granted(WORKERS),
    answer: Answer::Json(Shape::List(&Shape::View(&APP))),
    ..plain(list)
};

pub(super) static SHOW: Operation = Operation {
    name: "app.show",
    path: "/v1/apps/{app}",
    summary: "One app, by its id or its name.",
    access: Access::Granted(WORKERS),
    answer: Answer::Json(Shape::View(&APP)),
    ..plain(show)
};

pub(super) static WHY: Operation = Operation {
    name: "app.why",
    path: "/v1/apps/{app}/why",
    summary: "What each node says to each replica of an app: whether it may run there, and every rule that refuses it.",
    access: Access::Granted(WORKERS),
    answer: Answer::Json(Shape::List(&Shape::View(&VERDICT))),
    ..plain(why)
};

fn why(call: Call) -> Answered {
    Box::pin(async move {
        let (app, node) = (call.app()?, call.node.clone());
        json(&call.blocking(move || node.verdicts(app)).await?)
    })
}

fn list(call: Call) -> Answered {
    Box::pin(async move {
        let (node, caller) = (call.node.clone(), call.caller()?.clone());
        let apps = call.blocking(move || {
            let state = node.state();
            let mut apps = node.apps(&caller.account);
            apps.retain(|app| caller.covers_app(&state, &app.app));
            apps
        });
        json(&apps.await?)
    })
}

fn show(call: Call) -> Answered {
    Box::pin(async move {
        let (app, account) = (call.app()?, call.caller()?.account);
        let node = call.node.clone();
        let shown = call
            .blocking(move || node.app(&account, &app.to_string()))
            .await?;
        json(&shown.ok_or_else(|| call.no_app())?)
    })
}
