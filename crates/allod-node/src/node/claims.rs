//! What an app wants of this machine for itself alone, and who has it already: ports and host names.
//!
//! The law does not see them, since they stand in the sealed half. They are looked at before anything is signed, so
//! that a deployment whose door is taken costs nothing.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::node::Node;

/// Something that one app alone can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A port for connections.
    Tcp(SocketAddr),
    /// A port for datagrams.
    Udp(SocketAddr),
    /// A host name at the ingress.
    Host(String),
}

/// Why an app cannot have what it claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// Another app has published the port.
    #[error("port {port} of this machine is published by the app {app}")]
    PortOfApp {
        /// Address and number.
        port: SocketAddr,
        /// The app.
        app: String,
    },
    /// A program that is no app of this node has the port.
    #[error("port {port} of this machine is taken by another program")]
    PortOfProgram {
        /// Address and number.
        port: SocketAddr,
    },
    /// The system does not let this node have the port.
    #[error("port {port} of this machine cannot be opened: {reason}")]
    PortRefused {
        /// Address and number.
        port: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// Another app answers for the host name.
    #[error("the host name {host} leads to the app {app} already")]
    Host {
        /// The name.
        host: String,
        /// The app.
        app: String,
    },
}

impl Node {
    /// The first of an app's claims that it cannot have on this machine, and why.
    #[must_use]
    pub fn taken(&self, app: &str, claims: &[Claim]) -> Option<Taken> {
        claims.iter().find_map(|claim| match claim {
            Claim::Tcp(port) => self.port_taken(app, *port, false),
            Claim::Udp(port) => self.port_taken(app, *port, true),
            Claim::Host(host) => self.host_taken(app, host),
        })
    }

    fn port_taken(&self, app: &str, port: SocketAddr, is_udp: bool) -> Option<Taken> {
        for status in self.inner.doors.statuses.borrow().iter() {
            let is_of_its_kind =
                (status.port.protocol == allod_net::published::Protocol::Udp) == is_udp;
            let (Ok(held), true) = (&status.state, is_of_its_kind) else {
                continue;
            };
            let overlaps =
                held.ip() == port.ip() || held.ip().is_unspecified() || port.ip().is_unspecified();
            if held.port() == port.port() && overlaps {
                let holder = &status.port.key.app;
                let is_own = holder == app;
                return (!is_own).then(|| Taken::PortOfApp {
                    port,
                    app: holder.clone(),
                });
            }
        }
        let tried = match is_udp {
            false => TcpListener::bind(port).map(drop),
            true => UdpSocket::bind(port).map(drop),
        };
        let error = tried.err()?;
        Some(match error.kind() {
            std::io::ErrorKind::AddrInUse => Taken::PortOfProgram { port },
            _ => Taken::PortRefused {
                port,
                reason: error.to_string(),
            },
        })
    }

    fn host_taken(&self, app: &str, host: &str) -> Option<Taken> {
        let sight = self.seen.borrow();
        let others = sight.apps.values().filter(|manifest| manifest.app != app);
        let answers = |manifest: &&std::sync::Arc<crate::manifest::Manifest>| {
            let mut ingress = manifest
                .services
                .values()
                .flat_map(|service| &service.ingress);
            ingress.any(|ingress| ingress.host == host)
        };
        let holder = others.into_iter().find(answers)?;
        Some(Taken::Host {
            host: host.to_owned(),
            app: holder.app.clone(),
        })
    }
}
