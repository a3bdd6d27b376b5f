//! Tunnels: streams of bytes both ways between two machines, each to one target that the machine at its far end knows.
//!
//! Rules:
//! - Members alone open tunnels. What a target means, and who may reach it, is for the owner of the far end's [`Peers`]
//!   to say; it accepts or refuses each.
//! - Whoever opens one says the network's id and the target, each as a frame; one byte comes back once it is accepted.
//! - Nobody who does not read takes room from others: each stream has a window far smaller than the connection's.
//! - A peer has so many tunnels at once, and all together so many. However many lead to one target, others have room.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{
    ConnectOptions, Connection, IdleTimeout, QuicTransportConfig, RecvStream, SendStream, VarInt,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Join, ReadBuf, join};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::frame;
use super::incoming::{Closing, Next, next_streams};
use super::line::{Line, LineError, closing_of};
use super::protocol::Purpose;
use super::share::Share;
use super::{PeerKey, Shared, chain};
use crate::limits::{PeerLimits, TUNNEL_TARGET_BYTES_MAX};
use crate::pump::{self, Moved};

/// Comes back once a tunnel is accepted.
const ACCEPTED: u8 = 1;
/// With this a stream ends that leads nowhere.
const REFUSED: u8 = 1;

/// A tunnel that a peer wants to open. Dropped, it is refused.
#[derive(Debug)]
pub struct Tunnel {
    /// Who opens it; proven.
    pub from: PeerKey,
    /// Where it is to lead.
    pub target: Bytes,
    ends: Option<(SendStream, RecvStream, Option<OwnedSemaphorePermit>)>,
}

/// An open tunnel.
#[derive(Debug)]
pub struct TunnelStream {
    ends: Join<RecvStream, SendStream>,
    /// Its place among the tunnels of all peers, where it was opened by one.
    _place: Option<OwnedSemaphorePermit>,
    /// Its place among those to the peer, where it was opened here.
    _share: Option<Share>,
}

impl Tunnel {
    /// Whether there was room for one more.
    fn has_place(&self) -> bool {
        matches!(self.ends, Some((.., Some(_))))
    }

    /// Joins it with a connection to that address, until both directions have ended or nothing moves for `idle`.
    ///
    /// # Errors
    /// Where nobody answers at the address, which refuses the tunnel, or one of the ends breaks off.
    pub async fn carry(self, to: SocketAddr, idle: Duration) -> io::Result<()> {
        let inner = TcpStream::connect(to).await?;
        inner.set_nodelay(true)?;
        let outer = self.accept().await?;
        let (forth, back) = (AtomicU64::new(0), AtomicU64::new(0));
        pump::join(outer, inner, idle, &Moved::to(&forth, &back)).await
    }

    /// Opens it.
    ///
    /// # Errors
    /// Where the peer has gone meanwhile.
    pub async fn accept(mut self) -> io::Result<TunnelStream> {
        let ends = self.ends.take();
        let (mut send, recv, place) = ends.ok_or(io::ErrorKind::NotConnected)?;
        send.write_all(&[ACCEPTED]).await?;
        Ok(TunnelStream {
            ends: join(recv, send),
            _place: place,
            _share: None,
        })
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if let Some((mut send, mut recv, _)) = self.ends.take() {
            // Errors say that the peer has gone meanwhile.
            let _ = send.reset(REFUSED.into());
            let _ = recv.stop(REFUSED.into());
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ends).poll_read(context, buffer)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.ends).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ends).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.ends).poll_shutdown(context)
    }
}

/// Where tunnels come out, and how many there are.
#[derive(Debug)]
pub(crate) struct Tunnelling {
    /// Set once somebody takes tunnels.
    tunnels: OnceLock<mpsc::Sender<Tunnel>>,
    places: Arc<Semaphore>,
    places_max: usize,
}

impl Tunnelling {
    pub(crate) fn new(limits: &PeerLimits) -> Self {
        let places_max = limits.tunnels.all_max;
        Self {
            tunnels: OnceLock::new(),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
        }
    }

    /// Where tunnels come from now on; for the first who asks.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<Tunnel>> {
        // Every tunnel in it holds a place, so that it is never full.
        let (sender, receiver) = mpsc::channel(self.places_max.max(1));
        self.tunnels.set(sender).is_ok().then_some(receiver)
    }
}

/// What a connection for tunnels is opened with.
pub(crate) fn options(limits: &PeerLimits) -> Result<ConnectOptions, String> {
    let idle = IdleTimeout::try_from(limits.idle_max).map_err(|never| never.to_string())?;
    let transport = QuicTransportConfig::builder()
        .max_concurrent_uni_streams(0u8.into())
        .max_concurrent_bidi_streams(0u8.into())
        .receive_window(limits.tunnels.window_bytes.into())
        .stream_receive_window(limits.tunnels.stream_window_bytes.into())
        .send_window(limits.tunnels.window_bytes.into())
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(limits.keep_alive)
        .max_idle_timeout(Some(idle))
        .build();
    Ok(ConnectOptions::new().with_transport_config(transport))
}

/// Opens a tunnel to a member.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    peer: PeerKey,
    target: Bytes,
) -> io::Result<TunnelStream> {
    let time_max = shared.limits.tunnels.open_time_max;
    let opening = async {
        let line = Line::to(shared, peer, Purpose::Tunnels).map_err(|error| told(peer, error))?;
        let share = line.share(&target).ok_or(io::ErrorKind::ResourceBusy)?;
        let connection = line.connection(shared).await;
        let connection = connection.map_err(|error| told(peer, error))?;
        let opened = say(shared, &connection, &target).await;
        let (send, recv) = opened.map_err(|error| match closing_of(&connection) {
            (_, Some(closed)) => io::Error::other(format!("{peer}: {closed}")),
            (_, None) => error,
        })?;
        Ok(TunnelStream {
            ends: join(recv, send),
            _place: None,
            _share: Some(share),
        })
    };
    timeout(time_max, opening)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn told(peer: PeerKey, error: LineError) -> io::Error {
    io::Error::other(match error {
        LineError::NotAMember => format!("{peer} is no other member of the network"),
        LineError::Unreachable(reason) => format!("{peer}: {reason}"),
    })
}

/// Says where a new stream is to lead, and waits until it is accepted.
async fn say(
    shared: &Shared,
    connection: &Connection,
    target: &Bytes,
) -> io::Result<(SendStream, RecvStream)> {
    let time_max = shared.limits.tunnels.open_time_max;
    let opened = connection.open_bi().await;
    let (mut send, mut recv) = opened.map_err(|error| io::Error::other(chain(&error)))?;
    for part in [&shared.hello.network, target.as_ref()] {
        frame::write(&mut send, part, time_max).await?;
    }
    match recv.read_u8().await? {
        ACCEPTED => Ok((send, recv)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Takes the tunnels of a connection until it ends; the reason is returned.
pub(crate) async fn hear(
    shared: &Arc<Shared>,
    from: PeerKey,
    connection: &Connection,
) -> Result<String, Closing> {
    let limits = &shared.limits.tunnels;
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(limits.per_peer_max));
    connection.set_receive_window(limits.window_bytes.into());
    let mut opening = JoinSet::new();
    loop {
        match next_streams(connection, &mut opening).await? {
            Next::Streams(send, recv) => {
                opening.spawn(attend(Arc::clone(shared), from, send, recv));
            }
            Next::Ended(why) => return Ok(why),
        }
    }
}

/// Hears where a tunnel is to lead, and hands it over.
async fn attend(
    shared: Arc<Shared>,
    from: PeerKey,
    send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Closing> {
    let time_max = shared.limits.tunnels.open_time_max;
    let heard = async {
        let network = frame::read(&mut recv, shared.hello.network.len(), time_max).await;
        match network.map_err(|_| Closing::Offence)? {
            Some(network) if *network == shared.hello.network => {}
            Some(_) => return Err(Closing::OtherNetwork),
            None => return Ok(None),
        }
        let target = frame::read(&mut recv, TUNNEL_TARGET_BYTES_MAX, time_max).await;
        target.map_err(|_| Closing::Offence)
    };
    let target = timeout(time_max, heard).await;
    let Some(target) = target.map_err(|_| Closing::Offence)?? else {
        return Ok(());
    };
    let place = Arc::clone(&shared.tunnelling.places).try_acquire_owned();
    let tunnel = Tunnel {
        from,
        target,
        ends: Some((send, recv, place.ok())),
    };
    // What is not taken is dropped, and so refused.
    if let Some(tunnels) = shared
        .tunnelling
        .tunnels
        .get()
        .filter(|_| tunnel.has_place())
    {
        let _ = tunnels.try_send(tunnel);
    }
    Ok(())
}
