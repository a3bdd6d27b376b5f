//! Image references, read the way Docker reads them.
//!
//! `[host[:port]/]path[:tag][@sha256:…]`. The first part is a host only if it has a dot or a
//! colon or is `localhost`; else the image lives on Docker Hub, below `library/` when the name
//! has one part. A digest, where given, decides; the tag beside it is then only a comment.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::digest::Digest;
use super::limits::{QUOTED_CHARS_MAX, REFERENCE_BYTES_MAX};

const HUB: &str = "docker.io";
const HUB_API: &str = "registry-1.docker.io";

/// Where an image is to be had, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image reference {text:?}: {reason}; write it like nginx:alpine or ghcr.io/owner/name:tag")]
pub struct ReferenceError {
    /// The refused text, cut to a printable length.
    pub text: String,
    /// The rule it breaks.
    pub reason: &'static str,
}

impl Reference {
    /// The registry as people write it: `docker.io`, `ghcr.io`, `127.0.0.1:5000`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository on that registry: `library/nginx`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` where neither a tag nor a digest was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where the reference pins one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository, pinned to exactly this manifest.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// What stands after `/manifests/`: the digest if there is one, else the tag.
    pub(super) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Whether the registry is named as this very machine, which may speak plain HTTP.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let name = host_without_port(&self.host);
        name == "localhost"
            || name
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }

    /// The base of the registry's HTTP interface.
    pub(super) fn base_url(&self) -> String {
        let scheme = if self.is_loopback() { "http" } else { "https" };
        let host = if self.host == HUB {
            HUB_API
        } else {
            &self.host
        };
        format!("{scheme}://{host}/v2/{}", self.repository)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError {
            text: text.chars().take(QUOTED_CHARS_MAX).collect(),
            reason,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > REFERENCE_BYTES_MAX {
        return Err("it is too long");
    }
    if text.contains("://") {
        return Err("it must not begin with a scheme");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| "the digest must be sha256 with 64 hex digits")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    let (host, rest) = split_host(rest)?;
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(checked_tag(tag)?)),
        None => (rest, None),
    };
    check_path(path)?;
    let repository = if host == HUB && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    let tag = match (tag, digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference {
        host,
        repository,
        tag,
        digest,
    })
}

fn split_host(rest: &str) -> Result<(String, &str), &'static str> {
    let hub = |rest| Ok((HUB.to_owned(), rest));
    let Some((first, path)) = rest.split_once('/') else {
        return hub(rest);
    };
    if !(first.contains(['.', ':', '[']) || first == "localhost") {
        return hub(rest);
    }
    let host = first.to_ascii_lowercase();
    check_host(&host)?;
    match host.as_str() {
        "index.docker.io" | HUB_API => hub(path),
        _ => Ok((host, path)),
    }
}

fn host_without_port(host: &str) -> &str {
    if let Some(end) = host.find(']') {
        return &host[..=end];
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let name = host_without_port(host);
    let port = &host[name.len()..];
    if !port.is_empty() {
        let number = port
            .strip_prefix(':')
            .and_then(|port| port.parse::<u16>().ok());
        if number.is_none_or(|number| number == 0) || port.starts_with(":+") {
            return Err("the registry's port must be a number from 1 to 65535");
        }
    }
    if let Some(inner) = name.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or_default();
        let ip = inner.parse::<std::net::Ipv6Addr>();
        return ip
            .map(|_| ())
            .map_err(|_| "the registry's host is not an IPv6 address");
    }
    let label_is_good = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    if name.len() > 253 || !name.split('.').all(label_is_good) {
        return Err("the registry's host is not a host name");
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<std::net::Ipv4Addr>().is_err()
    {
        return Err("the registry's host is not an IPv4 address");
    }
    Ok(())
}

fn checked_tag(tag: &str) -> Result<&str, &'static str> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first_is_good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if tag.len() > 128
        || !tag.bytes().all(good)
        || !tag.as_bytes().first().is_some_and(first_is_good)
    {
        return Err("the tag must be up to 128 letters, digits, '_', '.' or '-'");
    }
    Ok(tag)
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("the repository name is missing");
    }
    if path.len() > 255 {
        return Err("the repository name is too long");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the repository name must be lower case");
    }
    if !path.split('/').all(component_is_good) {
        return Err("the repository name has a part that is empty or has a forbidden character");
    }
    Ok(())
}

/// `[a-z0-9]+` joined by one `.`, one or two `_`, or any number of `-`.
fn component_is_good(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests;
