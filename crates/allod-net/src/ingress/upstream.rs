//! Connections to backends: opened with a timeout, kept idle for a moment, used again.
//!
//! A request is sent twice only when the first backend cannot have acted on it: it was never
//! written, or it is a safe one without a body and the kept connection closed before any answer
//! (RFC 9112 §9.3.1 permits that). The same holds where the backend's machine has fallen silent and there is another backend:
//! what was not written goes there, and so does a safe request without a body; any other waits.
//!
//! A connection ends with whoever holds it. So one whose backend has answered and does not take the rest of the request
//! is kept for the moment that any is kept, in which the backend may still read on, and no longer.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::backend::{BackendId, Ticket};
use crate::ingress::body::RequestBody;
use crate::ingress::headers;
use crate::ingress::routes::Routes;
use crate::limits::{BUFFER_BYTES, IngressLimits};
use crate::location::{Dialer, Location};
use crate::pump::Activity;
use crate::tasks::Tasks;

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection could be opened, so nothing was sent.
    #[error("could not connect to {}", .0.location)]
    Connect(BackendId, #[source] io::Error),
    /// The connection broke before the answer.
    #[error("{} closed the connection or sent no valid HTTP", .0.location)]
    Broken(BackendId, #[source] hyper::Error),
    /// The answer did not begin in time.
    #[error("{} did not begin to answer within {:?}", .0.location, .1)]
    Late(BackendId, Duration),
}

impl SendError {
    /// Whether as many connections lead to the backend as may.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Connect(_, error) if error.kind() == io::ErrorKind::ResourceBusy)
    }

    /// Whether the backend is on another machine.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let (Self::Connect(id, _) | Self::Broken(id, _) | Self::Late(id, _)) = self;
        matches!(id.location, Location::There { .. })
    }
}

/// How long a backend on another machine is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until its machine has been silent for a moment: there is another backend.
    Short,
    /// As long as the limits say.
    Long,
}

/// What [`Pools::send`] could not send, when it can be tried elsewhere.
pub(crate) struct Unsent {
    /// Why.
    pub(crate) error: SendError,
    /// The request, when it was never written.
    pub(crate) request: Option<Request<RequestBody>>,
}

impl Unsent {
    /// The backend's machine says nothing; `request` is what another backend may be asked.
    fn silent(id: BackendId, request: Option<Request<RequestBody>>) -> Self {
        let error = io::Error::new(io::ErrorKind::TimedOut, "its machine says nothing");
        Self {
            error: SendError::Connect(id, error),
            request,
        }
    }
}

/// The kept connections of every backend.
#[derive(Debug)]
pub(crate) struct Pools {
    pools: Mutex<HashMap<BackendId, Arc<Pool>>>,
    tasks: Arc<Tasks>,
    dialer: Dialer,
    limits: Arc<IngressLimits>,
}

/// The kept connections of one backend.
#[derive(Debug)]
struct Pool {
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
    idle_time: Duration,
    is_retired: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection to a backend. Dropped, it is closed, also where hyper alone would wait for ever to hand over a body.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    _open: oneshot::Sender<Infallible>,
}

/// A connection in use by one request.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Connection,
    pool: Arc<Pool>,
    /// The request counts as open until this is dropped.
    ticket: Ticket,
}

impl Lease {
    /// The whole answer has passed: the connection may serve another request.
    pub(crate) fn give_back(self) {
        self.pool.keep(self.connection);
    }

    /// Whose.
    pub(crate) fn backend(&self) -> &BackendId {
        self.ticket.id()
    }
}

impl Pools {
    pub(crate) fn new(tasks: Arc<Tasks>, dialer: Dialer, limits: Arc<IngressLimits>) -> Self {
        Self {
            pools: Mutex::default(),
            tasks,
            dialer,
            limits,
        }
    }

    /// Sends a request to the ticket's backend and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        ticket: Ticket,
        request: Request<RequestBody>,
        activity: &Activity,
        patience: Patience,
    ) -> Result<(Response<Incoming>, Lease), Unsent> {
        let id = ticket.id().clone();
        if self.silent(&id, patience).now_or_never().is_some() {
            return Err(Unsent::silent(id, Some(request)));
        }
        let pool = self.pool(&id);
        let mut request = request;
        while let Some(connection) = pool.take() {
            let spare = spare_of(&request);
            match self
                .exchange(&id, connection, request, activity, patience)
                .await
            {
                Ok((response, connection)) => {
                    return Ok((
                        response,
                        Lease {
                            connection,
                            pool,
                            ticket,
                        },
                    ));
                }
                Err(Unsent {
                    request: Some(unsent),
                    ..
                }) => request = unsent,
                Err(unsent) => match (unsent.error, spare) {
                    (SendError::Broken(..), Some(spare)) => {
                        request = spare;
                        break;
                    }
                    (error, _) => {
                        return Err(Unsent {
                            error,
                            request: None,
                        });
                    }
                },
            }
        }
        let opened = tokio::select! {
            opened = self.open(&id) => opened,
            () = self.silent(&id, patience) => return Err(Unsent::silent(id, Some(request))),
        };
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => {
                let error = SendError::Connect(id, error);
                return Err(Unsent {
                    error,
                    request: Some(request),
                });
            }
        };
        let (response, connection) = self
            .exchange(&id, connection, request, activity, patience)
            .await?;
        Ok((
            response,
            Lease {
                connection,
                pool,
                ticket,
            },
        ))
    }

    /// Closes what is kept for backends that are no longer listed, and what was kept too long.
    pub(crate) fn prune(&self, routes: &Routes) {
        let listed: HashSet<&BackendId> = routes
            .iter()
            .flat_map(|route| &route.backends)
            .map(|backend| &backend.id)
            .collect();
        self.lock().retain(|id, pool| {
            let is_listed = listed.contains(id);
            pool.expire(is_listed);
            is_listed
        });
    }

    /// Closes what was kept too long.
    pub(crate) fn expire(&self) {
        for pool in self.lock().values() {
            pool.expire(true);
        }
    }

    fn pool(&self, id: &BackendId) -> Arc<Pool> {
        let mut pools = self.lock();
        if let Some(pool) = pools.get(id) {
            return Arc::clone(pool);
        }
        let pool = Arc::new(Pool {
            idle: Mutex::default(),
            idle_max: self.limits.idle_per_backend_max,
            idle_time: self.limits.idle_backend,
            is_retired: AtomicBool::new(false),
        });
        pools.insert(id.clone(), Arc::clone(&pool));
        pool
    }

    async fn open(&self, id: &BackendId) -> io::Result<Connection> {
        let opening = self.dialer.dial(&id.location);
        let stream = match timeout(self.limits.connect_timeout, opening).await {
            Ok(connected) => connected?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let (sender, connection) = http1::Builder::new()
            .max_headers(self.limits.headers_max)
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let location = id.location.clone();
        let (open, is_open) = oneshot::channel();
        self.tasks.start(async move {
            tokio::select! {
                // First, so that one with nothing under way is closed in order.
                biased;
                ended = connection.with_upgrades() => if let Err(error) = ended {
                    debug!(%location, %error, "a connection to a backend ended with an error");
                },
                _ = is_open => {}
            }
        });
        Ok(Connection {
            sender,
            _open: open,
        })
    }

    async fn exchange(
        &self,
        id: &BackendId,
        mut connection: Connection,
        request: Request<RequestBody>,
        activity: &Activity,
        patience: Patience,
    ) -> Result<(Response<Incoming>, Connection), Unsent> {
        activity.touch();
        let head_timeout = self.limits.response_head_timeout;
        let spare = spare_of(&request);
        let can_go_elsewhere = spare.is_some();
        let answer = tokio::select! {
            () = self.silent(id, patience), if can_go_elsewhere => {
                return Err(Unsent::silent(id.clone(), spare));
            }
            answer = connection.sender.try_send_request(request) => answer,
            () = activity.quiet_for(head_timeout) => {
                let error = SendError::Late(id.clone(), head_timeout);
                return Err(Unsent { error, request: None });
            }
        };
        match answer {
            Ok(response) => Ok((response, connection)),
            Err(mut failed) => {
                let request = failed.take_message();
                let error = SendError::Broken(id.clone(), failed.into_error());
                Err(Unsent { error, request })
            }
        }
    }

    /// Returns once a backend's machine is silent, where that is reason enough to ask another.
    async fn silent(&self, id: &BackendId, patience: Patience) {
        match patience {
            Patience::Short => self.dialer.silent(&id.location).await,
            Patience::Long => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BackendId, Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A kept connection that is ready for a request.
    fn take(&self) -> Option<Connection> {
        let mut idle = self.lock();
        idle.retain(|kept| kept.is_usable(self.idle_time));
        let is_ready = |kept: &Idle| kept.connection.sender.is_ready();
        let ready = idle.iter().rposition(is_ready)?;
        Some(idle.swap_remove(ready).connection)
    }

    fn keep(&self, connection: Connection) {
        if self.is_retired.load(Ordering::Acquire) || connection.sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < self.idle_max {
            idle.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
    }

    fn expire(&self, is_listed: bool) {
        if !is_listed {
            self.is_retired.store(true, Ordering::Release);
        }
        self.lock()
            .retain(|kept| is_listed && kept.is_usable(self.idle_time));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_usable(&self, idle_time: Duration) -> bool {
        !self.connection.sender.is_closed() && self.since.elapsed() < idle_time
    }
}

/// The same request once more, when sending it twice does no harm.
fn spare_of(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !headers::is_safe(request.method()) || !request.body().is_end_stream() {
        return None;
    }
    let mut spare = Request::new(RequestBody::Empty);
    *spare.method_mut() = request.method().clone();
    *spare.uri_mut() = request.uri().clone();
    *spare.headers_mut() = request.headers().clone();
    Some(spare)
}
