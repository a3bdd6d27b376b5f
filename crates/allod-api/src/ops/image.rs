//! Images: from references to digests, from archives into the node's store.

use std::io::Seek;

use allod_node::ImageError;
use allod_state::account::grant::Verb;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Access, Answer, Answered, Input, Method, Operation, plain};
use crate::limits::{ARCHIVE_BYTES_MAX, IMPORT_TIMEOUT, REGISTRY_TIMEOUT};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::{IMAGE, REFERENCE, RESOLVED, Shape};

pub(super) static IMPORT: Operation = Operation {
    name: "image.import",
    method: Method::Post,
    path: "/v1/images",
    summary: "Takes the images of a docker-save or OCI archive (tar) in: their digests, and what each was called.",
    access: Access::Operator(&[Verb::Deploy]),
    input: Input::File {
        what: "an image archive, as tar",
        bytes_max: ARCHIVE_BYTES_MAX,
    },
    answer: Answer::Json(Shape::Map(&Shape::List(&Shape::Text))),
    timeout: IMPORT_TIMEOUT,
    ..plain(import)
};

pub(super) static RESOLVE: Operation = Operation {
    name: "image.resolve",
    method: Method::Post,
    path: "/v1/images/resolve",
    summary: "The digest that an image reference means now, as the registry says; for a pinned one, whether it has it.",
    access: Access::Granted(&[Verb::Deploy]),
    input: Input::Json(Shape::View(&REFERENCE)),
    answer: Answer::Json(Shape::View(&RESOLVED)),
    timeout: REGISTRY_TIMEOUT,
    ..plain(resolve)
};

pub(super) static SHOW: Operation = Operation {
    name: "image.show",
    path: "/v1/images/{digest}",
    summary: "What an image that is on this node says about itself.",
    access: Access::Granted(&[Verb::Deploy, Verb::Read]),
    answer: Answer::Json(Shape::View(&IMAGE)),
    ..plain(show)
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    reference: String,
}

#[derive(Serialize)]
struct Resolved {
    digest: String,
}

fn import(mut call: Call) -> Answered {
    Box::pin(async move {
        let mut file = call.take_file()?;
        let kept = |error| Problem::internal(format!("the archive could not be kept: {error}"));
        file.rewind().map_err(kept)?;
        json(&call.node.import_images(file).await.map_err(unready)?)
    })
}

fn resolve(call: Call) -> Answered {
    Box::pin(async move {
        let wanted: Wanted = call.json()?;
        let digest = call.node.resolve_image(&wanted.reference).await;
        json(&Resolved {
            digest: digest.map_err(unready)?,
        })
    })
}

fn show(call: Call) -> Answered {
    Box::pin(async move {
        let digest = call.part("digest")?.to_owned();
        let node = call.node.clone();
        let image = call.blocking(move || node.image(&digest)).await?;
        json(&image.ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "unknown-image",
                "this node does not have the image",
                "resolve and deploy it, or hand it over: allod run --image-file",
            )
        })?)
    })
}

/// Why an image is not to be had, as callers read it.
fn unready(error: ImageError) -> Problem {
    let code = error.code();
    let status = status_of_image(code);
    let problem = Problem::new(status, code, chain(&error), error.next_step());
    match error.retry_after_s() {
        Some(seconds) => problem.retry_after(seconds),
        None => problem,
    }
}

/// The status that goes with the name of each refusal of an image: what the caller wrote, what the registry did, and
/// what this node cannot do are kept apart.
pub(crate) fn status_of_image(code: &str) -> StatusCode {
    match code {
        "image-not-found" | "image-not-here" => StatusCode::NOT_FOUND,
        "bad-reference"
        | "bad-digest"
        | "bad-archive"
        | "image-too-large"
        | "no-platform"
        | "unusable-image"
        | "registry-address-refused" => StatusCode::UNPROCESSABLE_ENTITY,
        "registry-rate-limited" => StatusCode::SERVICE_UNAVAILABLE,
        "registry-timeout" => StatusCode::GATEWAY_TIMEOUT,
        "no-space" => StatusCode::INSUFFICIENT_STORAGE,
        "image-store" => StatusCode::INTERNAL_SERVER_ERROR,
        "stopping" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let cause = inner.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = inner.source();
    }
    text
}
