//! Sealed manifests, kept on the node for the deployment that names them.

use allod_state::Digest;
use allod_state::account::grant::Verb;
use allod_state::limits::MANIFEST_BYTES_MAX;
use serde::Serialize;

use super::{Access, Answer, Answered, Input, Method, Operation, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::shape::{RESOLVED, Shape};

pub(super) static KEEP: Operation = Operation {
    name: "manifest.keep",
    method: Method::Put,
    path: "/v1/manifests",
    summary: "Keeps a sealed manifest under its hash, to be named by a deployment.",
    access: Access::Granted(&[Verb::Deploy]),
    input: Input::Bytes {
        what: "a manifest's ciphertext",
        bytes_max: MANIFEST_BYTES_MAX,
    },
    answer: Answer::Json(Shape::View(&RESOLVED)),
    ..plain(keep)
};

#[derive(Serialize)]
struct Kept {
    digest: Digest,
}

fn keep(call: Call) -> Answered {
    Box::pin(async move {
        let (node, ciphertext) = (call.node.clone(), call.bytes()?);
        let kept = call.blocking(move || node.keep_manifest(&ciphertext));
        json(&Kept {
            digest: kept.await??,
        })
    })
}
