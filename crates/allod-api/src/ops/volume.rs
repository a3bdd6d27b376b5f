//! Volumes: where data are kept, taken along and put back.

use std::os::fd::OwnedFd;

use allod_node::VolumeError;
use allod_state::account::grant::Verb;
use allod_state::{Label, Rejection};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use super::{Access, Answer, Answered, Input, Method, Operation, WORKERS, plain};
use crate::limits::{OUTPUT_BYTES, VOLUME_BYTES_MAX, VOLUME_TIMEOUT};
use crate::server::answer::{json, nothing};
use crate::server::call::Call;
use crate::server::onward;
use crate::server::problem::Problem;
use crate::shape::{Shape, VOLUME};

pub(super) static LIST: Operation = Operation {
    name: "volume.list",
    path: "/v1/volumes",
    summary: "The volumes of the signer's account that its grant covers, those of deleted apps included.",
    access: Access::Granted(WORKERS),
    answer: Answer::Json(Shape::List(&Shape::View(&VOLUME))),
    ..plain(list)
};

pub(super) static DATA: Operation = Operation {
    name: "volume.data",
    path: "/v1/volumes/{label}/{volume}/data",
    summary: "The data of a volume, by the labels of its app and its own, as a tar that gzip has compressed. Whoever uses it \
              goes on meanwhile: it is a copy of one moment only where nothing does. An answer that breaks off is no whole \
              archive.",
    // Whoever decides what an app runs reads all that it has; whoever merely reads does not.
    access: Access::Granted(&[Verb::Deploy]),
    answer: Answer::Bytes("a tar, compressed by gzip"),
    is_passed_on: true,
    ..plain(data)
};

pub(super) static FILL: Operation = Operation {
    name: "volume.fill",
    method: Method::Put,
    path: "/v1/volumes/{label}/{volume}/data",
    summary: "Fills a volume on this machine, for an app of the signer's account that is deployed here afterwards. It is filled \
              as a whole or not at all, and never over data that are there.",
    access: Access::Operator(&[Verb::Deploy]),
    input: Input::File {
        what: "a tar, compressed by gzip",
        bytes_max: VOLUME_BYTES_MAX,
    },
    answer: Answer::Nothing,
    timeout: VOLUME_TIMEOUT,
    ..plain(fill)
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

fn data(call: Call) -> Answered {
    Box::pin(async move {
        let (app, volume) = labels(&call)?;
        let account = call.caller()?.account;
        let at = call.node.volume_at(&account, &app, &volume);
        let at = at.ok_or_else(|| unmade(VolumeError::NotHere))?;
        if at != call.node.id() && !call.asked.is_passed_on {
            return onward::whole(&call, at).await;
        }
        let place = call.shared.exec_place(call.standing)?;
        let unpiped = |error| Problem::internal(format!("there is no pipe: {error}"));
        let (read, write) = std::io::pipe().map_err(unpiped)?;
        let read = Receiver::from_owned_fd(OwnedFd::from(read)).map_err(unpiped)?;
        let node = call.node.clone();
        // It ends once nobody reads what it writes.
        let packing = tokio::task::spawn_blocking(move || {
            let _place = place;
            node.pack_volume(&account, (&app, &volume), write.into())
        });
        let mut packed = Packed {
            read,
            packing: Some(packing),
        };
        // What cannot even begin is refused in so many words.
        let first = packed.next().await.map_err(unmade)?;
        let body = stream::once(async move { Ok(first.unwrap_or_default()) });
        let rest = stream::unfold(packed, |mut packed| async move {
            Some((packed.next().await.transpose()?, packed))
        });
        let body = Body::from_stream(futures_util::StreamExt::chain(body, rest));
        let mut response = Response::new(body);
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    })
}

/// An archive in the making.
struct Packed {
    read: Receiver,
    packing: Option<JoinHandle<Result<(), VolumeError>>>,
}

impl Packed {
    /// The next bytes; nothing at the end of a whole archive.
    async fn next(&mut self) -> Result<Option<Bytes>, VolumeError> {
        let Some(packing) = &mut self.packing else {
            return Ok(None);
        };
        let mut bytes = vec![0; OUTPUT_BYTES];
        let read = self.read.read(&mut bytes).await.unwrap_or(0);
        if read > 0 {
            bytes.truncate(read);
            return Ok(Some(bytes.into()));
        }
        let packed = packing.await;
        self.packing = None;
        packed.unwrap_or(Err(VolumeError::NotHere))?;
        Ok(None)
    }
}

fn fill(mut call: Call) -> Answered {
    Box::pin(async move {
        let (app, volume) = labels(&call)?;
        let account = call.caller()?.account;
        let archive = call.take_file()?;
        let place = call.shared.exec_place(call.standing)?;
        let node = call.node.clone();
        let filled = tokio::task::spawn_blocking(move || {
            let _place = place;
            std::io::Seek::rewind(&mut &archive).map_err(|error| {
                Problem::internal(format!("the archive cannot be read again: {error}"))
            })?;
            let filled = node.fill_volume(&account, (&app, &volume), &archive);
            filled.map_err(unmade)
        });
        let filled = filled.await;
        filled.map_err(|_| Problem::internal("the operation broke off"))??;
        nothing()
    })
}

/// The app's label and the volume's, where the grant covers that app.
fn labels(call: &Call) -> Result<(Label, Label), Problem> {
    let label = |part: &str| -> Result<Label, Problem> {
        let unread = |_| Problem::malformed(format!("`{part}` is no label"));
        call.part(part)?.parse().map_err(unread)
    };
    let app = label("label")?;
    if !call.caller()?.grant.covers_app(&app) {
        return Err(Problem::resource_not_granted());
    }
    Ok((app, label("volume")?))
}

fn unmade(error: VolumeError) -> Problem {
    let detail = error.to_string();
    let (status, code, next) = match error {
        VolumeError::NotHere => (
            StatusCode::NOT_FOUND,
            "unknown-volume",
            Rejection::UnknownVolume.next_step(),
        ),
        VolumeError::Busy(_) => (
            StatusCode::CONFLICT,
            "volume-busy",
            "give it up first, or leave the app out: allod volume list",
        ),
        VolumeError::BadArchive(_) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad-archive",
            "take the export again where it was made",
        ),
        VolumeError::Runtime(_) => (
            StatusCode::BAD_GATEWAY,
            "runtime",
            "read the node's log: allod config path",
        ),
    };
    Problem::new(status, code, detail, next)
}
