//! Volumes: where data are kept.

use super::{Access, Answer, Answered, Operation, WORKERS, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::shape::{Shape, VOLUME};

pub(super) static LIST: Operation = Operation {
    name: "volume.list",
    path: "/v1/volumes",
    summary: "The volumes of the signer's account that its grant covers, those of deleted apps included.",
    access: Access::Granted(WORKERS),
    answer: Answer::Json(Shape::List(&Shape::View(&VOLUME))),
    ..plain(list)
};

fn list(call: Call) -> Answered {
    Box::pin(async move {
        let (node, caller) = (call.node.clone(), call.caller()?.clone());
        let volumes = call.blocking(move || {
            let mut volumes = node.volumes(&caller.account);
            volumes.retain(|volume| caller.grant.covers_app(&volume.app));
            volumes
        });
        json(&volumes.await?)
    })
}
