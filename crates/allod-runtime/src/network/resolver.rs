//! The sockets of an app's name resolver: they live in the router and are handed to a process
//! that does not.

use std::io;
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::error::NetworkError;
use super::limits::RESOLVER_BACKLOG;
use super::{AppTag, Network, inside};

const PORT: u16 = 53;

/// Sockets on port 53 of an app's gateway, which only that app's workloads reach.
#[derive(Debug)]
pub struct ResolverSockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For connections.
    pub tcp: TcpListener,
    /// The address both are bound to.
    pub address: SocketAddrV4,
}

impl Network {
    /// Opens the resolver's sockets of an app that has at least one workload attached. They are
    /// bound to the app's bridge: they fall silent when it goes, and never hear another app that
    /// gets the same subnet later. While older ones are open, the address is in use.
    pub fn resolver_sockets(&self, app: &AppTag) -> Result<ResolverSockets, NetworkError> {
        let _lock = self.lock()?;
        let block = self.durable()?.block;
        let allocations = self.allocations()?;
        let subnet = allocations.subnets(block).find(|(tag, _)| tag == app);
        let (_, subnet) = subnet.ok_or_else(|| NetworkError::UnknownApp {
            app: app.to_string(),
        })?;
        let address = SocketAddrV4::new(subnet.gateway(), PORT);
        let bridge = app.bridge();
        let open = |kind| {
            let failed = NetworkError::kernel(format!("open the resolver's socket on {address}"));
            bound_socket(kind, &bridge, address).map_err(failed)
        };
        inside(&self.router()?, "the router", || {
            let udp = open(SocketType::DGRAM)?.into();
            let tcp = open(SocketType::STREAM)?;
            listen(&tcp, RESOLVER_BACKLOG).map_err(|error| {
                NetworkError::kernel(format!("listen on {address}"))(error.into())
            })?;
            Ok(ResolverSockets {
                udp,
                tcp: tcp.into(),
                address,
            })
        })
    }
}

fn bound_socket(kind: SocketType, link: &str, address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind_to_link(&socket, link)?;
    bind(&socket, &address)?;
    Ok(socket)
}

#[expect(unsafe_code, reason = "rustix does not offer SO_BINDTODEVICE")]
fn bind_to_link(socket: &OwnedFd, link: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(link.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `link`, which outlives the call; the descriptor
    // is open and stays owned by the caller.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            link.as_ptr().cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
