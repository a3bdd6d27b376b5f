//! The signature base of RFC 9421 §2.5: the text that is signed.

use http::HeaderMap;
use http::request::Parts;

use super::door::{Scheme, authority_of};

/// The value of one component (§2.1, §2.2), or nothing where the request lacks it or it is not ASCII.
pub(super) fn component(parts: &Parts, scheme: Scheme, name: &str) -> Option<String> {
    match name {
        "@method" => Some(parts.method.as_str().to_owned()),
        "@authority" => authority_of(parts, scheme).ok(),
        "@path" => Some(match parts.uri.path() {
            "" => "/".to_owned(),
            path => path.to_owned(),
        }),
        // An absent query counts as an empty one.
        "@query" => Some(format!("?{}", parts.uri.query().unwrap_or(""))),
        name if name.starts_with('@') => None,
        name => header(&parts.headers, name),
    }
}

/// The combined value of a header: its lines trimmed and joined by commas.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let lines: Option<Vec<&str>> = lines
        .map(|line| line.to_str().ok().map(str::trim))
        .collect();
    Some(lines?.join(", "))
}

/// How many bytes the lines of a header have together.
pub(super) fn header_bytes(headers: &HeaderMap, name: &str) -> usize {
    headers
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes().len() + 2)
        .sum()
}

/// One line per component, then the parameters.
pub(super) fn signature_base<'a>(
    components: impl IntoIterator<Item = (&'a str, String)>,
    parameters: &str,
) -> String {
    let mut base = String::new();
    for (name, value) in components {
        base.push_str(&format!("\"{name}\": {value}\n"));
    }
    base.push_str(&format!("\"@signature-params\": {parameters}"));
    base
}
