//! One request: find its route, take a ready backend, pass it on, answer honestly when that fails.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::backend::{BackendId, Loads, Pick, Ticket};
use crate::ingress::body::{AnswerBody, Passing, RequestBody};
use crate::ingress::counters::{Meter, Meters};
use crate::ingress::headers::{self, Origin};
use crate::ingress::page::{self, Problem};
use crate::ingress::refusal;
use crate::ingress::routes::{HostName, Route, Routes};
use crate::ingress::tunnel;
use crate::ingress::upstream::{Lease, Patience, Pools, SendError, Unsent};
use crate::limits::{ATTEMPTS_MAX, IngressLimits};
use crate::places::{Busy, Place};
use crate::pump::Activity;
use crate::tasks::Tasks;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) routes: watch::Receiver<Arc<Routes>>,
    pub(crate) loads: Arc<Loads>,
    pub(crate) pools: Pools,
    pub(crate) meters: Meters,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) held: Semaphore,
    pub(crate) limits: Arc<IngressLimits>,
}

/// The connection a request came on.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Whose.
    pub(crate) address: IpAddr,
    /// Set once the connection's protocol has changed.
    pub(crate) is_tunnel: Arc<AtomicBool>,
    /// Its place.
    pub(crate) place: Arc<Place>,
}

/// What looking for a backend came to.
enum Found {
    Backend(Arc<Route>, Ticket),
    Busy(Arc<Route>),
    NoneReady(Arc<Route>),
    NoRoute,
    NoTable,
}

impl Found {
    /// Whether something better may be found in a moment.
    fn is_starting(&self) -> bool {
        match self {
            Self::NoneReady(route) => route.outage.is_starting,
            Self::NoTable => true,
            Self::Backend(..) | Self::Busy(_) | Self::NoRoute => false,
        }
    }
}

/// A request on its way, after its head was read.
struct Errand<'a> {
    client: &'a Client,
    host: HostName,
    /// The headers that decide the form of a page of ours.
    asked: http::HeaderMap,
    upgrade: Option<(HeaderValue, hyper::upgrade::OnUpgrade)>,
    activity: Activity,
    /// The connection stays open until the answer has passed, or the tunnel that comes of it has ended.
    busy: Busy,
}

impl Proxy {
    /// Answers a request.
    pub(crate) async fn answer(
        &self,
        client: &Client,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let began = Instant::now();
        let busy = client.place.busy();
        let host = match admit(&request) {
            Ok(host) => host,
            Err(problem) => return problem.answer(request.headers()),
        };
        match self.find(&host, None).await {
            Found::NoRoute => refusal::unknown_host(&host).answer(request.headers()),
            Found::NoTable => refusal::starting().answer(request.headers()),
            Found::Backend(route, ticket) => {
                let meter = self.meters.of(&route.key);
                let answered = self
                    .pass((client, busy), host, request, &meter, (route, ticket))
                    .await;
                meter.answered(answered.status(), began.elapsed());
                answered
            }
            Found::NoneReady(route) => self.refuse(
                &route,
                began,
                refusal::not_ready(&route).await,
                request.headers(),
            ),
            Found::Busy(route) => {
                self.refuse(&route, began, refusal::busy(&route), request.headers())
            }
        }
    }

    fn refuse(
        &self,
        route: &Route,
        began: Instant,
        problem: Problem,
        asked: &http::HeaderMap,
    ) -> Response<AnswerBody> {
        let meter = self.meters.of(&route.key);
        meter.refused();
        meter.answered(problem.status, began.elapsed());
        problem.answer(asked)
    }

    /// Looks for a backend; a request to a service, or a node, that is starting waits a little for one.
    async fn find(&self, host: &HostName, except: Option<&BackendId>) -> Found {
        let mut routes = self.routes.clone();
        let mut found = self.look(&mut routes, host, except);
        let place = found
            .is_starting()
            .then(|| self.held.try_acquire().ok())
            .flatten();
        if place.is_none() {
            return found;
        }
        let deadline = Instant::now() + self.limits.starting_hold;
        while found.is_starting() {
            match timeout_at(deadline, routes.changed()).await {
                Ok(Ok(())) => found = self.look(&mut routes, host, except),
                Ok(Err(_)) | Err(_) => return found,
            }
        }
        found
    }

    /// Looks once. The backend is counted as busy before the table can be replaced, see
    /// [`crate::backend`].
    fn look(
        &self,
        routes: &mut watch::Receiver<Arc<Routes>>,
        host: &HostName,
        except: Option<&BackendId>,
    ) -> Found {
        let table = routes.borrow_and_update();
        let route = match table.get(host) {
            Some(route) => Arc::clone(route),
            None if table.is_awaited() => return Found::NoTable,
            None => return Found::NoRoute,
        };
        let open_max = self.limits.requests_per_backend_max;
        let all_max = self.limits.requests_per_service_max;
        match self
            .loads
            .pick(&route.backends, except, (open_max, all_max))
        {
            Pick::Taken(ticket) => Found::Backend(route, ticket),
            Pick::Busy => Found::Busy(route),
            Pick::NoneReady => Found::NoneReady(route),
        }
    }

    async fn pass(
        &self,
        (client, busy): (&Client, Busy),
        host: HostName,
        mut request: Request<Incoming>,
        meter: &Arc<Meter>,
        (route, ticket): (Arc<Route>, Ticket),
    ) -> Response<AnswerBody> {
        let asked = page::asked(request.headers());
        let upgrade = headers::upgrade_asked(request.headers(), request.version())
            .map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
        let activity = Activity::new();
        let errand = Errand {
            client,
            host,
            asked,
            upgrade,
            activity,
            busy,
        };
        let onward = self.onward(&errand, request, meter);
        match self.send(&errand, &route, ticket, onward, meter).await {
            Ok((response, lease)) => self.hand_back(errand, &route, response, lease, meter),
            Err(problem) => {
                meter.refused();
                problem.answer(&errand.asked)
            }
        }
    }

    /// The request as the backend shall see it.
    fn onward(
        &self,
        errand: &Errand<'_>,
        request: Request<Incoming>,
        meter: &Arc<Meter>,
    ) -> Request<RequestBody> {
        let (mut parts, body) = request.into_parts();
        let host = parts
            .uri
            .authority()
            .map(|authority| authority.as_str().to_owned());
        let host = host.unwrap_or_else(|| header_host(&parts.headers).unwrap_or("").to_owned());
        let origin = Origin {
            client: errand.client.address,
            host: &host,
        };
        let upgrade = errand
            .upgrade
            .as_ref()
            .map(|(protocol, _)| protocol.clone());
        headers::for_backend(&mut parts.headers, &origin, upgrade);
        if let Ok(host) = HeaderValue::from_str(&host) {
            parts.headers.insert(HOST, host);
        }
        parts.uri = origin_form(&parts.uri);
        let body = if body.is_end_stream() {
            RequestBody::Empty
        } else {
            let (meter, activity) = (Arc::clone(meter), errand.activity.clone());
            RequestBody::Passing(Box::new(Passing::up(
                body,
                meter,
                activity,
                self.limits.body_idle,
            )))
        };
        let mut onward = Request::new(body);
        *onward.method_mut() = parts.method;
        *onward.uri_mut() = parts.uri;
        *onward.headers_mut() = parts.headers;
        onward
    }

    /// Sends it, and once more to another backend when the first could not be connected to, or its machine is silent.
    async fn send(
        &self,
        errand: &Errand<'_>,
        route: &Arc<Route>,
        ticket: Ticket,
        request: Request<RequestBody>,
        meter: &Meter,
    ) -> Result<(Response<Incoming>, Lease), Problem> {
        let (mut ticket, mut request) = (ticket, request);
        for attempt in 1..=ATTEMPTS_MAX {
            let id = ticket.id().clone();
            let patience = if attempt < ATTEMPTS_MAX && has_other(route, &id) {
                Patience::Short
            } else {
                Patience::Long
            };
            let sending = self.pools.send(ticket, request, &errand.activity, patience);
            let unsent = match sending.await {
                Ok(answered) => return Ok(answered),
                Err(unsent) => unsent,
            };
            debug!(backend = %id.location, replica = %id.replica, error = %unsent.error,
                "a backend gave no answer");
            let Unsent {
                error: error @ SendError::Connect(..),
                request: Some(again),
            } = unsent
            else {
                return Err(refusal::no_answer(route, &unsent.error).await);
            };
            if attempt == ATTEMPTS_MAX {
                return Err(refusal::no_answer(route, &error).await);
            }
            meter.retried();
            match self.find(&errand.host, Some(&id)).await {
                Found::Backend(_, another) => (ticket, request) = (another, again),
                Found::NoneReady(now) if !has_ready(&now) => {
                    return Err(refusal::not_ready(&now).await);
                }
                _ => return Err(refusal::no_answer(route, &error).await),
            }
        }
        Err(Problem::new(
            StatusCode::BAD_GATEWAY,
            "backend_failed",
            "No attempt was made",
        ))
    }

    /// The response as the client shall see it.
    fn hand_back(
        &self,
        errand: Errand<'_>,
        route: &Arc<Route>,
        mut response: Response<Incoming>,
        lease: Lease,
        meter: &Arc<Meter>,
    ) -> Response<AnswerBody> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some((_, of_client)) = errand.upgrade else {
                meter.refused();
                return refusal::unasked_upgrade(route).answer(&errand.asked);
            };
            let of_backend = hyper::upgrade::on(&mut response);
            headers::for_upgraded_client(response.headers_mut());
            let tunnel = tunnel::Tunnel {
                of_client,
                of_backend,
                idle: self.limits.tunnel_idle,
                meter: Arc::clone(meter),
                _busy: errand.busy,
                lease,
            };
            errand.client.is_tunnel.store(true, Ordering::Release);
            self.tasks.start(tunnel.carry());
            return response.map(|_| AnswerBody::empty());
        }
        headers::for_client(response.headers_mut());
        let (meter, idle) = (Arc::clone(meter), self.limits.body_idle);
        let busy = errand.busy;
        response.map(|body| {
            AnswerBody::Passing(Box::new(Passing::down(body, meter, (lease, busy), idle)))
        })
    }
}

/// Refuses what a reverse proxy cannot or must not pass on; else says which host is meant.
fn admit(request: &Request<Incoming>) -> Result<HostName, Box<Problem>> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        let title = "This method is not passed on";
        return Err(Box::new(Problem {
            next_step: "Use GET, POST or another ordinary method.".into(),
            is_closing: true,
            ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title)
        }));
    }
    if headers::is_loop(request.headers()) {
        return Err(Box::new(Problem {
            cause: "The request has come through here several times already.".into(),
            next_step: "A replica must not answer by asking this ingress for itself.".into(),
            ..Problem::new(
                StatusCode::LOOP_DETECTED,
                "loop",
                "The request goes in a circle",
            )
        }));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let named = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => first.and_then(|host| host.to_str().ok()),
    };
    let is_single = second.is_none() && !named.is_some_and(|host| host.contains('@'));
    named
        .filter(|_| is_single)
        .and_then(|host| HostName::parse(host).ok())
        .ok_or_else(|| {
            Box::new(Problem {
                cause: "The request names no host, more than one, or none that can exist.".into(),
                next_step: "Send one Host header, such as `Host: web.shop.localhost`.".into(),
                is_closing: true,
                ..Problem::new(StatusCode::BAD_REQUEST, "bad_host", "Which host is meant?")
            })
        })
}

fn header_host(headers: &http::HeaderMap) -> Option<&str> {
    headers.get(HOST).and_then(|host| host.to_str().ok())
}

/// The request target without scheme and authority, as servers expect it.
fn origin_form(uri: &Uri) -> Uri {
    let root = PathAndQuery::from_static("/");
    Uri::from(uri.path_and_query().cloned().unwrap_or(root))
}

fn has_other(route: &Route, than: &BackendId) -> bool {
    let mut ready = route
        .backends
        .iter()
        .filter(|backend| backend.readiness == crate::Readiness::Ready);
    ready.any(|backend| backend.id != *than)
}

fn has_ready(route: &Route) -> bool {
    route
        .backends
        .iter()
        .any(|backend| backend.readiness == crate::Readiness::Ready)
}
