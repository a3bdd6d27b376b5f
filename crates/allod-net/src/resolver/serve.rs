//! One app's resolver at work: its datagrams and its connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::limits::{ACCEPT_PAUSE, CLIENTS_MAX, QUESTION_BYTES_MAX, ResolverLimits};
use crate::resolver::forward::{forward, read_framed, write_framed};
use crate::resolver::names::Names;
use crate::resolver::question::{Carrier, Question, Verdict, judge};

/// What the two sides of one app's resolver share.
#[derive(Debug)]
pub(crate) struct Desk {
    app: String,
    names: watch::Receiver<Arc<Names>>,
    limits: Arc<ResolverLimits>,
    forwards: Arc<Semaphore>,
    rates: Mutex<HashMap<IpAddr, Instant>>,
}

/// What to do after a message was judged.
enum Next {
    Nothing,
    Answer(Vec<u8>),
    /// Ask the world; the permit is the question's place among those that wait.
    Forward(Question, OwnedSemaphorePermit),
}

impl Desk {
    pub(crate) fn new(
        app: &str,
        names: watch::Receiver<Arc<Names>>,
        limits: Arc<ResolverLimits>,
    ) -> Self {
        let forwards = Arc::new(Semaphore::new(limits.forwards_max));
        Self {
            app: app.to_owned(),
            names,
            limits,
            forwards,
            rates: Mutex::default(),
        }
    }

    fn judge(&self, packet: &[u8], carrier: Carrier, client: SocketAddr) -> Next {
        let seed = getrandom::u64().unwrap_or(1);
        let verdict = judge(packet, carrier, &self.app, &self.names.borrow(), seed);
        match verdict {
            Verdict::Ignore => Next::Nothing,
            Verdict::Answer(packet) => Next::Answer(packet),
            Verdict::Forward(question) if !self.may_forward(client.ip()) => {
                Next::Answer(question.failure(ResponseCode::Refused))
            }
            Verdict::Forward(question) => match Arc::clone(&self.forwards).try_acquire_owned() {
                Ok(place) => Next::Forward(question, place),
                Err(_) => Next::Answer(question.failure(ResponseCode::ServFail)),
            },
        }
    }

    async fn forward(&self, question: &Question) -> Vec<u8> {
        let names = Arc::clone(&self.names.borrow());
        forward(question, names.upstreams(), &self.limits).await
    }

    /// A leaky bucket: each question moves the client's due time on by its share of a second, and
    /// the due time may run ahead of the clock by one burst.
    fn may_forward(&self, client: IpAddr) -> bool {
        let share = Duration::from_secs(1) / self.limits.forwards_per_second.max(1);
        let ahead_max = share * self.limits.forwards_burst;
        let now = Instant::now();
        let mut rates = self.rates();
        if rates.len() >= CLIENTS_MAX && !rates.contains_key(&client) {
            rates.retain(|_, due| *due > now);
            if rates.len() >= CLIENTS_MAX {
                return false;
            }
        }
        let due = rates.entry(client).or_insert(now);
        *due = (*due).max(now);
        let is_allowed = *due < now + ahead_max;
        if is_allowed {
            *due += share;
        }
        is_allowed
    }

    fn rates(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers datagrams for as long as it is polled.
pub(crate) async fn datagrams(socket: UdpSocket, desk: Arc<Desk>) {
    let socket = Arc::new(socket);
    let mut forwards = JoinSet::new();
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        while forwards.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "a question could not be received");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match desk.judge(&buffer[..length], Carrier::Udp, client) {
            Next::Nothing => {}
            Next::Answer(packet) => {
                let _ = socket.send_to(&packet, client).await;
            }
            Next::Forward(question, place) => {
                let (desk, socket) = (Arc::clone(&desk), Arc::clone(&socket));
                forwards.spawn(async move {
                    let packet = desk.forward(&question).await;
                    let _ = socket.send_to(&packet, client).await;
                    drop(place);
                });
            }
        }
    }
}

/// Answers on connections for as long as it is polled.
pub(crate) async fn connections(listener: TcpListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(desk.limits.connections_max));
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, client)) => {
                open.spawn(converse(stream, client, Arc::clone(&desk), place));
            }
            Err(error) => {
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    mut stream: TcpStream,
    client: SocketAddr,
    desk: Arc<Desk>,
    place: OwnedSemaphorePermit,
) {
    let idle = desk.limits.connection_idle;
    while let Ok(Ok(message)) = timeout(idle, read_framed(&mut stream)).await {
        let packet = match desk.judge(&message, Carrier::Tcp, client) {
            Next::Nothing => break,
            Next::Answer(packet) => packet,
            Next::Forward(question, _place) => desk.forward(&question).await,
        };
        if !matches!(
            timeout(idle, write_framed(&mut stream, &packet)).await,
            Ok(Ok(()))
        ) {
            break;
        }
    }
    drop(place);
}
