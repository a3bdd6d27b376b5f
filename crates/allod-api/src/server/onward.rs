//! Onward: what only another machine can answer is asked of it, as it was asked here.
//!
//! Rules:
//! - The request goes as it came, with its signature: that machine decides by its own gate, and believes nobody's word for
//!   whose request it is. It cannot be told another request than the one that was signed.
//! - A request that came from another machine goes no further, and only what is marked so may come in that way
//!   ([`crate::ops::Operation::is_passed_on`]).
//! - This machine reads what it passes on. Whoever trusts the machine whose API is asked no further than that asks another.

use std::collections::BTreeSet;
use std::future::pending;

use allod_state::NodeId;
use axum::body::Body;
use futures_util::future::join_all;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::call::Call;
use super::merge::{Kind, Merge};
use super::problem::Problem;
use super::stream::told;
use crate::limits::ONWARD_TIMEOUT;

/// Which machines could not be asked for their part of an answer, by their ids and commas.
pub(crate) const MISSING: &str = "allod-missing";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// Whether another machine passed it on.
    pub(crate) is_passed_on: bool,
}

/// The lines of this machine and of others, as one answer. Where nothing of it `is_here` and nobody else answers, that is
/// the answer.
pub(crate) async fn lines(
    call: &Call,
    own: Response<Body>,
    is_here: bool,
    others: BTreeSet<NodeId>,
    kind: Kind,
) -> Result<Response<Body>, Problem> {
    let asked = others.iter().map(|node| async move {
        let answer = ask(call, *node).await;
        (*node, answer)
    });
    let (head, own) = own.into_parts();
    let (mut bodies, mut missing, mut why) = (vec![own], Vec::new(), None);
    for (node, answer) in join_all(asked).await {
        match answer {
            Ok(answer) if answer.status().is_success() => {
                bodies.push(Body::new(answer.into_body()))
            }
            // Its own words say most where nobody else has any.
            Ok(answer) if others.len() == 1 && !is_here => return Ok(answer.map(Body::new)),
            Ok(_) => missing.push(node.to_string()),
            Err(problem) => {
                missing.push(node.to_string());
                why.get_or_insert(problem);
            }
        }
    }
    if let Some(why) = why.filter(|_| bodies.len() == 1 && !is_here) {
        return Err(why);
    }
    let mut response = Response::from_parts(head, Merge::of(bodies, kind));
    if !missing.is_empty()
        && let Ok(missing) = missing.join(",").parse()
    {
        response.headers_mut().insert(MISSING, missing);
    }
    Ok(response)
}

/// The whole answer of another machine.
pub(crate) async fn whole(call: &Call, node: NodeId) -> Result<Response<Body>, Problem> {
    Ok(ask(call, node).await?.map(Body::new))
}

/// Asks another machine, and connects both ends where the answer is another protocol.
pub(crate) async fn socket(
    call: &mut Call,
    node: NodeId,
    place: OwnedSemaphorePermit,
) -> Result<Response<Body>, Problem> {
    let here = call.extensions.remove::<OnUpgrade>();
    let mut answer = ask(call, node).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(Body::new));
    }
    let here = here.ok_or_else(|| Problem::internal("there is nothing to connect"))?;
    let there = hyper::upgrade::on(&mut answer);
    let mut stopping = call.shared.stopping.clone();
    call.shared.own(async move {
        let joined = async {
            if let (Ok(here), Ok(there)) = (here.await, there.await) {
                join(TokioIo::new(here), TokioIo::new(there)).await;
            }
        };
        tokio::select! {
            () = joined => {}
            () = told(&mut stopping) => {}
        }
        drop(place);
    });
    Ok(answer.map(|_| Body::empty()))
}

/// Carries bytes both ways until the other machine has said everything. It may have stopped listening long before: the
/// input of a process that has ended is in vain, and its last words are not.
async fn join(here: impl AsyncRead + AsyncWrite, there: impl AsyncRead + AsyncWrite) {
    let (mut from_here, mut to_here) = split(here);
    let (mut from_there, mut to_there) = split(there);
    let forth = async {
        let _ = copy(&mut from_here, &mut to_there).await;
        let _ = to_there.shutdown().await;
        pending::<()>().await;
    };
    let back = async {
        let _ = copy(&mut from_there, &mut to_here).await;
        let _ = to_here.shutdown().await;
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
    }
}

/// Asks another machine what was asked here.
async fn ask(call: &Call, node: NodeId) -> Result<Response<Incoming>, Problem> {
    let asking = async {
        let stream = call
            .node
            .call(&node)
            .await
            .map_err(|error| error.to_string())?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(|error| error.to_string())?;
        call.shared.own(async move {
            // How it ended, the answer tells.
            let _ = connection.with_upgrades().await;
        });
        let sent = sender.send_request(request(call)).await;
        sent.map_err(|error| error.to_string())
    };
    let answer = timeout(ONWARD_TIMEOUT, asking).await;
    let answer = answer.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
    let mut answer = answer.map_err(|why| unreached(&node, &why))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        for name in [CONNECTION, TRANSFER_ENCODING] {
            answer.headers_mut().remove(name);
        }
    }
    Ok(answer)
}

fn request(call: &Call) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = call.asked.method.clone();
    *request.uri_mut() = call.asked.uri.clone();
    let mut headers: HeaderMap = call.headers.clone();
    if !headers.contains_key(http::header::UPGRADE) {
        headers.remove(CONNECTION);
    }
    *request.headers_mut() = headers;
    request
}

fn unreached(node: &NodeId, why: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "machine-unreached",
        format!("it runs on {node}, which cannot be asked: {why}"),
        "see who is reached, and how: allod network peers",
    )
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncReadExt, DuplexStream, ReadBuf, duplex};
    use tokio::task::JoinSet;

    use super::*;
    use crate::ops::{Access, OPERATIONS};

    #[tokio::test]
    async fn what_the_other_side_says_last_arrives_though_it_has_stopped_listening() {
        let (mut client, here) = duplex(64);
        let (there, far) = duplex(64);
        let mut joined = JoinSet::new();
        joined.spawn(join(here, Deaf(there)));
        client.write_all(b"input in vain").await.unwrap();
        let mut far = far;
        for _ in 0..100 {
            far.write_all(b"last words").await.unwrap();
        }
        drop(far);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard.len(), 1_000);
        joined.join_next().await.unwrap().unwrap();
    }

    /// Takes no input, and goes on speaking.
    struct Deaf(DuplexStream);

    impl AsyncRead for Deaf {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
    }

    #[test]
    fn what_comes_in_through_other_machines_is_about_replicas_and_signed() {
        let passed_on = OPERATIONS.iter().filter(|operation| operation.is_passed_on);
        let mut names: Vec<&str> = passed_on
            .inspect(|operation| assert_ne!(operation.access, Access::Public))
            .map(|operation| operation.name)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["exec.run", "log.read", "volume.data"]);
    }
}
