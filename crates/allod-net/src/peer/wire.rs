//! The connection to one relay, kept for as long as somebody wants it.
//!
//! Whether a relay still carries anything is asked of itself, twice a second, since nothing else tells in time: a machine
//! whose cable was pulled ends no connection, and TCP takes minutes to. What a relay has not been heard for is told by
//! [`Pulse`]; who sends chooses another one meanwhile. A packet that finds no room is dropped: QUIC says it again, and a
//! relay that is gone must not hold up the others.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use iroh::EndpointId;
use iroh_relay::client::{Client, ClientSink, ClientStream, ConnectError};
use iroh_relay::protos::handshake;
use iroh_relay::protos::relay::{ClientToRelayMsg, Datagrams, RelayToClientMsg};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info};

use super::outgoing::Pause;
use super::relayed::Relays;
use super::roster::relay_url;
use super::{PeerKey, chain, lock};
use crate::limits::{
    RELAY_BATCH_MAX, RELAY_CALL_TIME_MAX, RELAY_DEAD_AFTER, RELAY_PAUSE_MAX, RELAY_PAUSE_MIN,
    RELAY_PING_PERIOD, RELAY_QUESTIONS_MAX, RELAY_QUEUE_MAX, RELAY_SILENCE_END, RELAY_SILENCE_MAX,
};

/// The near end of a connection to a relay. Dropping it ends the connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) pulse: Arc<Pulse>,
    packets: mpsc::Sender<ClientToRelayMsg>,
    begun: Instant,
    /// When somebody wanted it last.
    pub(crate) wanted: Instant,
}

/// What is known of a relay's life.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Beat>);

#[derive(Debug, Default)]
struct Beat {
    /// When it was heard last on the open connection; none where no connection is open.
    heard: Option<Instant>,
    /// When it was heard last at all.
    heard_ever: Option<Instant>,
    round_trip: Duration,
    /// The newest questions, oldest first, and when each was asked: a far relay's answer comes after the next question.
    asked: VecDeque<(u64, Instant)>,
    questions: u64,
    turns_away: bool,
}

impl Pulse {
    /// Whether the relay was heard lately.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        let beat = lock(&self.0);
        let patience = RELAY_SILENCE_MAX + beat.round_trip * 2;
        beat.heard
            .is_some_and(|heard| now.duration_since(heard) <= patience)
    }

    /// Whether the relay said last that this machine is none of its guests.
    pub(crate) fn turns_away(&self) -> bool {
        lock(&self.0).turns_away
    }

    /// The time for there and back.
    pub(crate) fn round_trip(&self) -> Duration {
        lock(&self.0).round_trip
    }

    /// It says something.
    pub(crate) fn hear(&self) {
        let mut beat = lock(&self.0);
        beat.heard = Some(Instant::now());
        beat.heard_ever = beat.heard;
    }

    /// It answers a question.
    fn answered(&self, question: [u8; 8]) {
        let mut beat = lock(&self.0);
        let number = u64::from_be_bytes(question);
        let asked = beat.asked.iter().find(|(asked, _)| *asked == number);
        if let Some(took) = asked.map(|(_, at)| at.elapsed()) {
            beat.round_trip = took.min(RELAY_SILENCE_MAX);
            beat.asked.retain(|(asked, _)| *asked > number);
        }
    }

    /// Another question.
    fn ask(&self) -> ClientToRelayMsg {
        let mut beat = lock(&self.0);
        beat.questions = beat.questions.wrapping_add(1);
        let question = beat.questions;
        beat.asked.push_back((question, Instant::now()));
        if beat.asked.len() > RELAY_QUESTIONS_MAX {
            beat.asked.pop_front();
        }
        ClientToRelayMsg::Ping(question.to_be_bytes())
    }

    /// The connection has ended.
    pub(crate) fn lose(&self) {
        let mut beat = lock(&self.0);
        beat.heard = None;
        beat.asked.clear();
    }

    /// For how long nothing has been heard on the open connection.
    fn silence(&self) -> Duration {
        let heard = lock(&self.0).heard;
        heard.map_or(Duration::ZERO, |heard| heard.elapsed())
    }
}

impl Wire {
    /// Starts to call the relay, again and again until this is dropped.
    pub(crate) fn start(relays: &Arc<Relays>, relay: SocketAddr) -> Self {
        let (packets, queue) = mpsc::channel(RELAY_QUEUE_MAX);
        let pulse = Arc::new(Pulse::default());
        let keeping = keep(Arc::clone(relays), relay, Arc::clone(&pulse), queue);
        relays.tasks.start(keeping);
        Self {
            pulse,
            packets,
            begun: Instant::now(),
            wanted: Instant::now(),
        }
    }

    /// One that leads nowhere, to a relay that was just heard.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        let pulse = Arc::new(Pulse::default());
        pulse.hear();
        Self {
            pulse,
            packets: mpsc::channel(1).0,
            begun: Instant::now(),
            wanted: Instant::now(),
        }
    }

    /// Whether the relay has not lived for so long that another one is to be tried in its place.
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        let heard = lock(&self.pulse.0).heard_ever;
        let lived = heard.map_or(self.begun, |heard| heard.max(self.begun));
        !self.pulse.is_alive(now) && now.duration_since(lived) > RELAY_DEAD_AFTER
    }

    /// Sends a packet, or drops it.
    pub(crate) fn send(&self, to: EndpointId, datagrams: Datagrams) {
        let packet = ClientToRelayMsg::Datagrams {
            dst_endpoint_id: to,
            datagrams,
        };
        let _ = self.packets.try_send(packet);
    }
}

async fn keep(
    relays: Arc<Relays>,
    relay: SocketAddr,
    pulse: Arc<Pulse>,
    mut queue: mpsc::Receiver<ClientToRelayMsg>,
) {
    let mut pause = Pause::new(RELAY_PAUSE_MIN, RELAY_PAUSE_MAX);
    let mut was_open = true;
    let Some(url) = relay_url(relay) else {
        return;
    };
    while !queue.is_closed() {
        let why = match timeout(RELAY_CALL_TIME_MAX, relays.call(url.clone())).await {
            Ok(Ok(client)) => {
                pause = Pause::new(RELAY_PAUSE_MIN, RELAY_PAUSE_MAX);
                was_open = true;
                lock(&pulse.0).turns_away = false;
                info!(%relay, "connected to a relay");
                let said = carry(&relays, relay, &pulse, client, &mut queue).await;
                pulse.lose();
                relays.changed.notify_one();
                said
            }
            Ok(Err(error)) => {
                let turns_away = is_denial(&error);
                lock(&pulse.0).turns_away = turns_away;
                chain(&error)
            }
            Err(_) => "it did not answer in time".into(),
        };
        if was_open && !queue.is_closed() {
            info!(%relay, %why, "a relay is not reached");
        }
        was_open = false;
        pause.wait().await;
    }
}

/// Whether the relay has answered, and will not have this machine.
fn is_denial(error: &ConnectError) -> bool {
    let ConnectError::Handshake { source, .. } = error else {
        return false;
    };
    matches!(source, handshake::Error::ServerDeniedAuth { .. })
}

/// Carries packets both ways until the connection ends; the reason is returned.
async fn carry(
    relays: &Relays,
    relay: SocketAddr,
    pulse: &Pulse,
    client: Client,
    queue: &mut mpsc::Receiver<ClientToRelayMsg>,
) -> String {
    let (stream, sink) = client.split();
    pulse.hear();
    relays.changed.notify_one();
    let (pongs, answers) = mpsc::channel(1);
    let silent = async {
        let mut look = interval(RELAY_PING_PERIOD);
        while pulse.silence() < RELAY_SILENCE_END {
            look.tick().await;
        }
    };
    tokio::select! {
        why = write(sink, pulse, queue, answers) => why,
        why = read(relays, relay, pulse, stream, pongs) => why,
        () = silent => "it says nothing any more".into(),
    }
}

async fn write(
    mut sink: ClientSink,
    pulse: &Pulse,
    queue: &mut mpsc::Receiver<ClientToRelayMsg>,
    mut answers: mpsc::Receiver<ClientToRelayMsg>,
) -> String {
    let mut ping = interval(RELAY_PING_PERIOD);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            biased;
            _ = ping.tick() => Some(pulse.ask()),
            Some(answer) = answers.recv() => Some(answer),
            packet = queue.recv() => packet,
        };
        let Some(next) = next else {
            return "nobody wants it any more".into();
        };
        let sending = async {
            sink.feed(next).await?;
            for _ in 0..RELAY_BATCH_MAX {
                let Ok(more) = queue.try_recv() else { break };
                sink.feed(more).await?;
            }
            sink.flush().await
        };
        if let Err(error) = sending.await {
            return chain(&error);
        }
    }
}

async fn read(
    relays: &Relays,
    relay: SocketAddr,
    pulse: &Pulse,
    mut stream: ClientStream,
    pongs: mpsc::Sender<ClientToRelayMsg>,
) -> String {
    while let Some(message) = stream.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => return chain(&error),
        };
        pulse.hear();
        match message {
            RelayToClientMsg::Datagrams {
                remote_endpoint_id,
                datagrams,
            } => relays.receive(PeerKey(*remote_endpoint_id.as_bytes()), relay, datagrams),
            RelayToClientMsg::Ping(question) => {
                let _ = pongs.try_send(ClientToRelayMsg::Pong(question));
            }
            RelayToClientMsg::Pong(question) => pulse.answered(question),
            other => debug!(%relay, ?other, "a relay says something else"),
        }
    }
    io::Error::from(io::ErrorKind::UnexpectedEof).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_relay_lives_for_as_long_as_it_answers_and_a_far_one_has_longer() {
        let pulse = Pulse::default();
        assert!(!pulse.is_alive(Instant::now()), "it was never heard");
        pulse.hear();
        assert!(pulse.is_alive(Instant::now() + RELAY_SILENCE_MAX));
        let late = RELAY_SILENCE_MAX + Duration::from_millis(1);
        assert!(!pulse.is_alive(Instant::now() + late));
        let ClientToRelayMsg::Ping(question) = pulse.ask() else {
            panic!("it asks nothing");
        };
        tokio::time::advance(Duration::from_millis(500)).await;
        pulse.ask();
        tokio::time::advance(Duration::from_millis(100)).await;
        pulse.answered([0xff; 8]);
        assert_eq!(pulse.round_trip(), Duration::ZERO, "another's answer");
        pulse.answered(question);
        pulse.hear();
        assert_eq!(pulse.round_trip(), Duration::from_millis(600));
        assert!(pulse.is_alive(Instant::now() + RELAY_SILENCE_MAX * 2));
        pulse.lose();
        assert!(!pulse.is_alive(Instant::now()));
    }
}
