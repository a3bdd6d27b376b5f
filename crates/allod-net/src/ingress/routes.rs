//! The routes table: which host name means which service, and what is known when it cannot answer.
//!
//! A route is intent and stays until its owner revokes it; readiness is state and comes and goes.
//! So a service without a ready replica keeps its route, and visitors are told why it is silent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::backend::Backend;
use crate::limits::HOST_CHARS_MAX;

/// Every route, by host name. A value: build a new one and send it.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    by_host: BTreeMap<HostName, Arc<Route>>,
    is_awaited: bool,
}

impl Routes {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands in for the first table until it comes: a name that is not here may be in that one.
    pub fn awaited() -> Self {
        Self {
            is_awaited: true,
            ..Self::default()
        }
    }

    /// Adds a route under a host name, in place of the one that was there.
    pub fn insert(&mut self, host: &str, route: Route) -> Result<(), BadHost> {
        self.by_host.insert(HostName::parse(host)?, Arc::new(route));
        Ok(())
    }

    /// The number of host names.
    pub fn len(&self) -> usize {
        self.by_host.len()
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.by_host.is_empty()
    }

    pub(crate) const fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    pub(crate) fn get(&self, host: &HostName) -> Option<&Arc<Route>> {
        self.by_host.get(host)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_host.values()
    }
}

/// One service that a host name leads to.
#[derive(Debug, Clone)]
pub struct Route {
    /// The app and the service.
    pub key: RouteKey,
    /// Its replicas, ready or not.
    pub backends: Vec<Backend>,
    /// What to say while none of them is ready.
    pub outage: Outage,
    /// Where the last log lines come from.
    pub log_tail: LogTail,
}

/// The app and service of a route; its counters go by this name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The app's name.
    pub app: String,
    /// The service's name.
    pub service: String,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.service)
    }
}

/// Why a service has no ready replica, in words for its visitor.
#[derive(Debug, Clone)]
pub struct Outage {
    /// The cause, as a sentence.
    pub cause: String,
    /// Since when.
    pub since: SystemTime,
    /// What to do next, as a sentence; mostly a command.
    pub next_step: String,
    /// Whether it is about to be ready, so that a request may wait a little.
    pub is_starting: bool,
}

impl Outage {
    /// The outage of a service that was just created.
    pub fn starting(cause: &str, since: SystemTime) -> Self {
        Self {
            cause: cause.into(),
            since,
            next_step: "Wait a moment and reload.".into(),
            is_starting: true,
        }
    }

    /// The outage of a service that needs someone to act.
    pub fn stopped(cause: &str, since: SystemTime, next_step: &str) -> Self {
        Self {
            cause: cause.into(),
            since,
            next_step: next_step.into(),
            is_starting: false,
        }
    }
}

/// Gives a service's last log lines, oldest first, when a page needs them.
///
/// It is called on a thread that may block, and is given half a second.
#[derive(Clone)]
pub struct LogTail(Arc<dyn Fn() -> Vec<String> + Send + Sync>);

impl LogTail {
    /// Lines from this function.
    pub fn new(lines: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lines))
    }

    /// No lines: for a service whose logs are not for its visitors.
    pub fn none() -> Self {
        Self::new(Vec::new)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        (self.0)()
    }
}

impl fmt::Debug for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogTail")
    }
}

/// A host name as it is looked up: lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostName(String);

impl HostName {
    /// Reads the value of a `Host` header, or a name written by a person.
    pub(crate) fn parse(host: &str) -> Result<Self, BadHost> {
        let name = without_port(host).ok_or_else(|| BadHost::new(host))?;
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_literal = name.starts_with('[');
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_')
                || (is_literal && matches!(byte, b'[' | b']' | b':'))
        };
        let is_sound = !name.is_empty()
            && name.len() <= HOST_CHARS_MAX
            && !name.starts_with('.')
            && !name.contains("..")
            && name.bytes().all(allowed);
        if !is_sound {
            return Err(BadHost::new(host));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// `host:port` without the port; `None` when what follows the colon is no port.
fn without_port(host: &str) -> Option<&str> {
    let after_literal = match host.strip_prefix('[') {
        Some(rest) => 1 + rest.find(']')? + 1,
        None => 0,
    };
    let Some(colon) = host[after_literal..].find(':') else {
        return Some(host);
    };
    let (name, port) = host.split_at(after_literal + colon);
    let port = &port[1..];
    let is_port = port.is_empty() || port.bytes().all(|b| b.is_ascii_digit()) && port.len() <= 5;
    is_port.then_some(name)
}

/// A host name that no request can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host name; use letters, digits, `-`, `_` and dots, such as web.shop.localhost"
)]
pub struct BadHost(String);

impl BadHost {
    fn new(host: &str) -> Self {
        Self(host.chars().take(HOST_CHARS_MAX).collect())
    }
}

#[cfg(test)]
mod tests;
