//! The door: which hosts this API answers for, and whose web pages may call it.
//!
//! A browser on the owner's machine reaches the API on loopback, so any web page could try to. Two checks keep pages out:
//! the host must be one of ours (a name of theirs that they point to our address is not), and where the browser says
//! which page asks, that page must be ours. Tenants' apps on `*.localhost` count as strangers although browsers call them
//! the same site. Both checks apply to unsigned routes too.

use std::collections::BTreeSet;
use std::fmt;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method};

use super::error::{SignatureError, quoted};
use super::limits::AUTHORITY_BYTES_MAX;

/// How the API is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP, for loopback.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Marks a request that another machine of the network passed on: it has checked host and page at its own door, and no
/// browser comes this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedOn;

/// The hosts and origins that are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    scheme: Scheme,
    authorities: BTreeSet<String>,
    origins: BTreeSet<String>,
}

impl Door {
    /// A door for these authorities (`host:port`; the scheme's own port may be left out) and for their own pages.
    /// Texts that are no authority are left out, so that they let nobody in.
    pub fn new<'a>(scheme: Scheme, authorities: impl IntoIterator<Item = &'a str>) -> Self {
        let authorities: BTreeSet<String> = authorities
            .into_iter()
            .filter_map(|text| normal(text, scheme))
            .collect();
        let origins = authorities
            .iter()
            .map(|authority| format!("{scheme}://{authority}"))
            .collect();
        Self {
            scheme,
            authorities,
            origins,
        }
    }

    /// Lets pages of one more origin in, such as `https://console.example`.
    #[must_use]
    pub fn with_origin(mut self, origin: &str) -> Self {
        self.origins
            .insert(origin.trim_end_matches('/').to_ascii_lowercase());
        self
    }

    /// How the API is reached.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the request may come in at all; signed or not.
    ///
    /// # Errors
    /// Where its host is not ours, or it comes from a page that is not ours.
    pub fn check(&self, parts: &Parts) -> Result<(), SignatureError> {
        if parts.extensions.get::<PassedOn>().is_some() {
            return Ok(());
        }
        let authority = authority_of(parts, self.scheme)?;
        if !self.authorities.contains(&authority) {
            return Err(SignatureError::HostNotAllowed {
                host: quoted(&authority),
            });
        }
        self.check_origin(parts)
    }

    fn check_origin(&self, parts: &Parts) -> Result<(), SignatureError> {
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        let refused = |origin: &str| {
            Err(SignatureError::OriginNotAllowed {
                origin: quoted(origin),
            })
        };
        match (origins.next(), origins.next()) {
            (None, _) => {}
            (Some(_), Some(_)) => return refused("several"),
            (Some(origin), None) => {
                let origin = origin.to_str().unwrap_or("?").to_ascii_lowercase();
                return if self.origins.contains(&origin) {
                    Ok(())
                } else {
                    refused(&origin)
                };
            }
        }
        // Browsers leave Origin out of plain GETs, and say here whose page asks. A click on a link is fine: it brings the
        // user to a page of ours and tells the other page nothing.
        match text(&parts.headers, "sec-fetch-site") {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_)
                if parts.method == Method::GET
                    && text(&parts.headers, "sec-fetch-mode") == Some("navigate")
                    && text(&parts.headers, "sec-fetch-dest") == Some("document") =>
            {
                Ok(())
            }
            Some(site) => refused(site),
        }
    }
}

/// The one authority of a request (RFC 9421 §2.2.3): lower-case, without the scheme's own port.
pub(super) fn authority_of(parts: &Parts, scheme: Scheme) -> Result<String, SignatureError> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => {
            let host = host.to_str().ok().and_then(|host| normal(host, scheme));
            Some(host.ok_or(SignatureError::HostMalformed)?)
        }
        (Some(_), Some(_)) => return Err(SignatureError::HostMalformed),
    };
    let target = match parts.uri.authority() {
        None => None,
        Some(authority) => {
            Some(normal(authority.as_str(), scheme).ok_or(SignatureError::HostMalformed)?)
        }
    };
    match (host, target) {
        (Some(host), Some(target)) if host != target => Err(SignatureError::HostMalformed),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(SignatureError::HostMalformed),
    }
}

fn normal(text: &str, scheme: Scheme) -> Option<String> {
    if text.len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    let rest = text.get(host.len()..)?;
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        // There is a user's name before the host.
        None => return None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse::<u16>().ok()?)
        }
        Some(_) => return None,
    };
    let host = host.to_ascii_lowercase();
    match port.filter(|port| *port != scheme.default_port()) {
        _ if host.is_empty() => None,
        None => Some(host),
        Some(port) => Some(format!("{host}:{port}")),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}
