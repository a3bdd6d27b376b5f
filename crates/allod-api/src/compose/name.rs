//! Names: of apps, services and hosts.

/// The longest DNS label.
const LABEL_CHARS_MAX: usize = 63;

/// The text as a DNS label: lower-case letters, digits and inner dashes. `None` where nothing of it
/// can stay.
pub(crate) fn dns_label(text: &str) -> Option<String> {
    let mut label = String::new();
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9') => label.push(kept),
            _ if !label.ends_with('-') => label.push('-'),
            _ => {}
        }
    }
    let trimmed = label.trim_matches('-');
    let cut: String = trimmed.chars().take(LABEL_CHARS_MAX).collect();
    let label = cut.trim_end_matches('-').to_string();
    (!label.is_empty()).then_some(label)
}

/// Is this a name that compose allows for a service, volume, secret or config?
pub(crate) fn is_plain(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts_well && text.len() <= LABEL_CHARS_MAX && text.chars().all(is_part)
}

/// Is this a host name, in lower case, as an ingress can match it?
pub(crate) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| dns_label(label).as_deref() == Some(label);
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The name an image suggests: `docker.io/library/nginx:alpine` is `nginx`.
pub(crate) fn of_image(reference: &str) -> Option<String> {
    let without_digest = reference.split('@').next().unwrap_or_default();
    let last = without_digest.rsplit('/').next().unwrap_or_default();
    dns_label(last.split(':').next().unwrap_or_default())
}

/// Checks an image reference, and returns the digest where it is pinned to one.
pub(crate) fn image_digest(reference: &str) -> Result<Option<String>, String> {
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if hex.len() != 64 || !hex.chars().all(is_hex) {
            return Err(format!(
                "`{digest}` is not a digest: write it as sha256: and 64 hex digits"
            ));
        }
    }
    let (folder, last) = named.rsplit_once('/').unwrap_or(("", named));
    let (base, tag) = match last.split_once(':') {
        Some((base, tag)) => (base, Some(tag)),
        None => (last, None),
    };
    let is_tag_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.chars().all(is_tag_part)) {
        return Err(format!(
            "`{reference}` has no sound tag after its colon: write it as nginx:alpine"
        ));
    }
    let (host, path) = split_host(folder);
    let is_part = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-');
    let is_component = |part: &str| !part.is_empty() && part.chars().all(is_part);
    let is_host_part =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let is_sound = is_component(base)
        && path
            .split('/')
            .filter(|_| !path.is_empty())
            .all(is_component)
        && host.chars().all(is_host_part)
        && reference.len() <= 512;
    if !is_sound {
        return Err(format!(
            "`{reference}` is not an image reference: write it in lower case, as nginx:alpine or \
             registry.example.org/team/app:1.2"
        ));
    }
    Ok(digest.map(str::to_string))
}

/// The registry's host, if the first part of the path is one, and the rest.
fn split_host(folder: &str) -> (&str, &str) {
    let (first, rest) = folder.split_once('/').unwrap_or((folder, ""));
    if first.contains(['.', ':']) || first == "localhost" {
        (first, rest)
    } else {
        ("", folder)
    }
}

#[cfg(test)]
mod tests;
