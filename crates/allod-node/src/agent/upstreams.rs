//! Whom the host asks for names of the world: its `resolv.conf`, which may be written after the node has started, and changes
//! with the network that a laptop is in.

use std::net::SocketAddr;
use std::path::PathBuf;

use allod_net::resolver::upstreams_of;

/// The host's resolvers, as they were read last.
pub(crate) struct Upstreams {
    file: PathBuf,
    known: Vec<SocketAddr>,
}

impl Upstreams {
    /// Those that a `resolv.conf` names now.
    pub(crate) fn of(file: PathBuf) -> Self {
        let mut upstreams = Self {
            file,
            known: Vec::new(),
        };
        upstreams.read_again();
        upstreams
    }

    /// Says whether they are others than before. A file that cannot be read changes nothing: it may be about to be replaced.
    pub(super) fn read_again(&mut self) -> bool {
        let Ok(text) = std::fs::read_to_string(&self.file) else {
            return false;
        };
        let now = upstreams_of(&text);
        let is_new = now != self.known;
        self.known = now;
        is_new
    }

    pub(super) fn known(&self) -> &[SocketAddr] {
        &self.known
    }
}
