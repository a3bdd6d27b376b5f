//! Sealed manifests, kept on the node for the deployment that names them.

use allod_state::Digest;
use allod_state::account::grant::Verb;
use allod_state::limits::MANIFEST_BYTES_MAX;
use http::StatusCode;
use serde::Serialize;

use super::{Access, Answer, Answered, Input, Method, Operation, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::{RESOLVED, SEALED, Shape};

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

pub(super) static SHOW: Operation = Operation {
    name: "manifest.show",
    path: "/v1/manifests/{digest}",
    summary: "A sealed manifest that a kept revision of one of the signer's apps names.",
    access: Access::Granted(&[Verb::Read]),
    answer: Answer::Json(Shape::View(&SEALED)),
    ..plain(show)
};

#[derive(Serialize)]
struct Kept {
    digest: Digest,
}

fn show(call: Call) -> Answered {
    Box::pin(async move {
        let caller = call.caller()?;
        caller.must_cover_all()?;
        let text = call.part("digest")?;
        let digest = text.parse::<Digest>();
        let digest = digest
            .map_err(|_| Problem::malformed("`digest` is none; write it as revisions name it"))?;
        let (account, node) = (caller.account, call.node.clone());
        let sealed = call.blocking(move || node.sealed_manifest(&account, &digest));
        json(&sealed.await?.ok_or_else(|| {
            let detail =
                "no kept revision of the account's apps names this manifest, or it is not here";
            let next = "ask a node that runs the app, or the one that it was deployed through";
            Problem::new(StatusCode::NOT_FOUND, "unknown-manifest", detail, next)
        })?)
    })
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
