//! The resolver: names for the private network of each app.
//!
//! Rules:
//! - An app sees its own services, by the addresses of their ready replicas, and no other app's.
//! - A name is intent and stays; a service that is ready nowhere has no addresses for a while.
//! - Names of one label and of private places are answered here, never asked of the world.
//! - All other names are asked of the machine's own resolvers, at a bounded rate per client.

mod forward;
mod names;
mod question;
mod serve;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use names::{Names, upstreams_of};

use crate::limits::ResolverLimits;
use crate::resolver::serve::Desk;

/// The resolvers of this machine's apps. Dropping it ends them.
#[derive(Debug)]
pub struct Resolver {
    apps: BTreeMap<String, JoinSet<()>>,
    names: watch::Receiver<Arc<Names>>,
    limits: Arc<ResolverLimits>,
}

impl Resolver {
    /// No app yet; names as they come.
    pub fn new(names: watch::Receiver<Arc<Names>>, limits: ResolverLimits) -> Self {
        Self {
            apps: BTreeMap::new(),
            names,
            limits: Arc::new(limits),
        }
    }

    /// Answers for an app on sockets that were bound in its network, in place of those it had.
    ///
    /// Must be called within a tokio runtime. Questions to the world leave by this process's own
    /// network, not by the app's.
    pub fn open(
        &mut self,
        app: &str,
        udp: std::net::UdpSocket,
        tcp: std::net::TcpListener,
    ) -> io::Result<()> {
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let udp = tokio::net::UdpSocket::from_std(udp)?;
        let tcp = tokio::net::TcpListener::from_std(tcp)?;
        let desk = Arc::new(Desk::new(app, self.names.clone(), Arc::clone(&self.limits)));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve::datagrams(udp, Arc::clone(&desk)));
        tasks.spawn(serve::connections(tcp, desk));
        self.apps.insert(app.to_owned(), tasks);
        Ok(())
    }

    /// Ends an app's resolver and closes its sockets.
    pub async fn close(&mut self, app: &str) {
        if let Some(mut tasks) = self.apps.remove(app) {
            tasks.shutdown().await;
        }
    }

    /// The apps that are answered.
    pub fn apps(&self) -> impl Iterator<Item = &str> {
        self.apps.keys().map(String::as_str)
    }
}
