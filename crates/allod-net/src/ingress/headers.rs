//! Header hygiene (RFC 9110 §7.6): what belongs to one hop stays on it, and what a request says
//! about its own origin is ours to say.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::{Method, Version};

use crate::limits::VIA_MAX;

/// How we name ourselves in `Via`.
const VIA_NAME: &str = "allod";

/// Headers of one hop, which are never passed on. `Connection` may name more.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
];

/// What only we may say about where a request came from. `proxy` is here because CGI programs
/// would read it as `HTTP_PROXY`.
const ORIGIN: [&str; 5] = [
    "client-ip",
    "forwarded",
    "proxy",
    "true-client-ip",
    "x-real-ip",
];

/// The client side of a request, as it is told to the backend.
pub(crate) struct Origin<'a> {
    /// The client's address.
    pub(crate) client: IpAddr,
    /// The host as the client wrote it.
    pub(crate) host: &'a str,
}

/// The protocol that a request asks to change to, if we pass such requests.
///
/// A change to HTTP/2 would let later requests through unseen, so it is ignored, as every server
/// may.
pub(crate) fn upgrade_asked(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !has_token(headers, &CONNECTION, "upgrade") {
        return None;
    }
    let mut values = headers.get_all(UPGRADE).iter();
    let (Some(asked), None) = (values.next(), values.next()) else {
        return None;
    };
    let name = asked.to_str().ok()?.trim().to_ascii_lowercase();
    let is_single = !name.is_empty() && !name.contains(',');
    let is_http = name.starts_with("h2") || name.starts_with("http");
    (is_single && !is_http).then(|| asked.clone())
}

/// Makes a client's headers fit for the backend.
pub(crate) fn for_backend(
    headers: &mut HeaderMap,
    origin: &Origin<'_>,
    upgrade: Option<HeaderValue>,
) {
    let wants_trailers = has_token(headers, &TE, "trailers");
    strip_hop_by_hop(headers);
    // Our own server has answered `Expect: 100-continue` by the time the body flows.
    headers.remove(EXPECT);
    strip_origin(headers);
    for (name, value) in origin_headers(origin) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers.append(VIA, HeaderValue::from_static("1.1 allod"));
    match upgrade {
        Some(protocol) => set_upgrade(headers, protocol),
        None if wants_trailers => {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        None => {}
    }
}

/// Makes a backend's headers fit for the client.
pub(crate) fn for_client(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

/// Makes the headers of an accepted upgrade fit for the client.
pub(crate) fn for_upgraded_client(headers: &mut HeaderMap) {
    let protocol = headers.get(UPGRADE).cloned();
    strip_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        set_upgrade(headers, protocol);
    }
}

/// Whether the request came through us so often that it must be going in a circle.
pub(crate) fn is_loop(headers: &HeaderMap) -> bool {
    let ours = headers
        .get_all(VIA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|hop| hop.split_whitespace().nth(1) == Some(VIA_NAME))
        .count();
    ours >= VIA_MAX
}

/// Whether a request of this method may be sent twice (RFC 9110 §9.2.1).
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        // A client must not make us drop what the next hop relies on.
        .filter(|name| !matches!(name.as_str(), "host" | "content-length" | "via"))
        .collect();
    for name in named {
        headers.remove(name);
    }
    // A length beside a coding of one hop says nothing true (RFC 9112 §6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(UPGRADE);
}

/// Removes what clients say about their origin, also where it is spelled with `_`, which CGI-like
/// servers cannot tell from `-`.
fn strip_origin(headers: &mut HeaderMap) {
    let theirs: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let plain = name.as_str().replace('_', "-");
            plain.starts_with("x-forwarded-") || ORIGIN.contains(&plain.as_str())
        })
        .cloned()
        .collect();
    for name in theirs {
        headers.remove(name);
    }
}

fn origin_headers(origin: &Origin<'_>) -> [(&'static str, String); 4] {
    let client = origin.client.to_canonical();
    let forwarded_for = match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    [
        (
            "forwarded",
            format!("for={forwarded_for};host=\"{}\";proto=http", origin.host),
        ),
        ("x-forwarded-for", client.to_string()),
        ("x-forwarded-host", origin.host.to_owned()),
        ("x-forwarded-proto", "http".to_owned()),
    ]
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
