//! Why an image is not to be had, as the law, a program and a person are told: the cause of the lease's end, a stable
//! name, and what to do next.

use std::io;

use allod_runtime::image::{ImportError, PullError, RecordError, StoreError};
use allod_runtime::{ClientError, Refusal};
use allod_state::lease::EndCause;

use super::ImageError;

/// Every name that [`ImageError::code`] gives, what it means, and the next step that goes with it.
pub const IMAGE_REFUSALS: [(&str, &str, &str); 22] = [
    (
        "bad-reference",
        "the text is not an image reference",
        "write it as nginx:alpine or registry.example.org/team/app:1.2",
    ),
    (
        "bad-digest",
        "a digest is not sha256: and 64 hexadecimal digits",
        "copy the digest whole, as sha256:…",
    ),
    (
        "image-not-found",
        "the registry has no such image or tag",
        "check the name and the tag; a private image may need: allod registry login HOST",
    ),
    (
        "registry-login-needed",
        "the registry shows the image to nobody it does not know",
        "log in, then try again: allod registry login HOST",
    ),
    (
        "registry-login-refused",
        "the registry refuses the stored credentials",
        "log in again: allod registry login HOST",
    ),
    (
        "registry-forbidden",
        "the registry does not let this user read the image",
        "check the name, or log in as a user who may read it: allod registry login HOST",
    ),
    (
        "registry-rate-limited",
        "the registry limits how often images are pulled",
        "wait as long as it says, or log in for a higher limit: allod registry login HOST",
    ),
    (
        "registry-failed",
        "the registry answered with an error of its own",
        "try again later; the image and this machine are not at fault",
    ),
    (
        "registry-unreachable",
        "the registry cannot be reached",
        "check the registry's name and this machine's network: allod doctor",
    ),
    (
        "registry-timeout",
        "the registry did not answer in time",
        "try again; if it stays so, check the network between",
    ),
    (
        "registry-cut-off",
        "the registry breaks its answers off",
        "try again; what came is kept and not fetched twice",
    ),
    (
        "registry-redirect-refused",
        "the registry redirects to where images may not come from",
        "tell the registry's operator; the target is in the message",
    ),
    (
        "registry-address-refused",
        "the registry is at an address that images may not come from",
        "use a registry at a public name, or hand the image over: allod run --image-file TAR",
    ),
    (
        "digest-mismatch",
        "the bytes that came are not those that the digest names",
        "do not use this copy: push the image again, or pull it from another registry",
    ),
    (
        "size-mismatch",
        "the registry sends more or fewer bytes than the manifest says",
        "do not use this copy: push the image again, or pull it from another registry",
    ),
    (
        "image-too-large",
        "the image is larger than this machine takes",
        "use a smaller image",
    ),
    (
        "no-platform",
        "the image was not built for this machine's platform",
        "choose a tag that was built for it, or build one: docker buildx build --platform",
    ),
    (
        "unusable-image",
        "the documents do not make a Linux container image",
        "check that the name leads to an image, then push it again",
    ),
    (
        "bad-archive",
        "the file is not an image archive, or is damaged",
        "make it anew: docker save, podman save or skopeo copy … oci-archive:FILE",
    ),
    (
        "image-not-here",
        "the image was handed over as a file, and this node does not have it",
        "hand it over again: allod run --image-file TAR",
    ),
    (
        "no-space",
        "the disk of the node is full, or nearly so",
        "delete what is not needed there (allod delete APP --volumes) or add a machine (allod invite), then try again",
    ),
    (
        "image-store",
        "the node could not keep or unpack the image",
        "read the node's log; it says what happened",
    ),
];

impl ImageError {
    /// The stable name of what is wrong: one of [`IMAGE_REFUSALS`], or `stopping` while the node shuts down.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reference(_) => "bad-reference",
            Self::Digest(_) => "bad-digest",
            Self::Pull(error) => of_pull(error),
            Self::Import(ImportError::Write { source, .. }) => of_io(source),
            Self::Import(ImportError::Store(error)) | Self::Store(error) => of_store(error),
            Self::Import(ImportError::NoRoom(_)) => "no-space",
            Self::Import(ImportError::Unusable(error)) => of_record(error),
            Self::Import(_) => "bad-archive",
            Self::NotHere { .. } | Self::Unresolved { .. } => "image-not-here",
            Self::TooLarge { .. }
            | Self::Unpack(ClientError::Refused(Refusal::TooLarge { .. })) => "image-too-large",
            Self::Unpack(ClientError::Refused(Refusal::NoRoom { .. })) => "no-space",
            Self::Unpack(_) => "image-store",
            Self::Stopping => "stopping",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        let code = self.code();
        let found = IMAGE_REFUSALS.iter().find(|(name, ..)| *name == code);
        let next = found.map_or("send it again in a moment", |(_, _, next)| *next);
        match self.host() {
            Some(host) => next.replace("HOST", host),
            None => next.to_owned(),
        }
    }

    /// How long the registry asks to wait, where it does.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Pull(PullError::RateLimited { retry_after, .. }) => {
                Some(retry_after.map_or(60, |wait| wait.as_secs()))
            }
            _ => None,
        }
    }

    fn host(&self) -> Option<&str> {
        match self {
            Self::Pull(
                PullError::NotFound { host, .. }
                | PullError::Unauthorized { host, .. }
                | PullError::Forbidden { host, .. }
                | PullError::RateLimited { host, .. },
            ) => Some(host),
            _ => None,
        }
    }

    /// What the law is told.
    pub(crate) fn cause(&self) -> EndCause {
        match self.code() {
            "registry-login-needed"
            | "registry-login-refused"
            | "registry-forbidden"
            | "registry-redirect-refused"
            | "registry-address-refused" => EndCause::PullDenied,
            "image-not-found" | "image-not-here" => EndCause::ImageNotFound,
            "digest-mismatch" | "size-mismatch" => EndCause::BadDigest,
            "registry-rate-limited"
            | "registry-failed"
            | "registry-unreachable"
            | "registry-timeout"
            | "registry-cut-off"
            | "stopping" => EndCause::RegistryUnreachable,
            // The image is here, or could be, and nothing can be started from it.
            _ => EndCause::StartFailed,
        }
    }
}

fn of_pull(error: &PullError) -> &'static str {
    match error {
        PullError::Reference(_) => "bad-reference",
        PullError::NotFound { .. } => "image-not-found",
        PullError::Unauthorized {
            had_credentials: false,
            ..
        } => "registry-login-needed",
        PullError::Unauthorized { .. } => "registry-login-refused",
        PullError::Forbidden { .. } => "registry-forbidden",
        PullError::RateLimited { .. } => "registry-rate-limited",
        PullError::Unreachable { .. } | PullError::NoAuthorities { .. } => "registry-unreachable",
        PullError::CutOff { .. } => "registry-cut-off",
        PullError::Timeout { .. } => "registry-timeout",
        PullError::BadDigest { .. } => "digest-mismatch",
        PullError::WrongSize { .. } => "size-mismatch",
        PullError::TooLarge { .. } => "image-too-large",
        PullError::Unusable { source, .. } => of_record(source),
        PullError::RedirectRefused { .. } => "registry-redirect-refused",
        PullError::AddressRefused { .. } => "registry-address-refused",
        PullError::Status { .. } => "registry-failed",
        PullError::Store(error) => of_store(error),
        PullError::Write { source, .. } => of_io(source),
        PullError::NoRoom { .. } => "no-space",
    }
}

fn of_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Io { source, .. } => of_io(source),
        StoreError::BadDigest { .. } => "digest-mismatch",
        StoreError::Record(error) => of_record(error),
        StoreError::Missing { .. } | StoreError::Busy { .. } => "image-store",
    }
}

fn of_record(error: &RecordError) -> &'static str {
    match error {
        RecordError::NoPlatform { .. } => "no-platform",
        RecordError::TooLarge { .. } | RecordError::TooMany { .. } => "image-too-large",
        _ => "unusable-image",
    }
}

fn of_io(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "no-space"
        }
        _ => "image-store",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use allod_runtime::image::Digest;

    use super::*;

    #[rustfmt::skip]
    fn faults() -> Vec<(PullError, &'static str, EndCause)> {
        let (host, reference) = (|| "r.example".to_owned(), || "r.example/a:1".to_owned());
        let digest = Digest::of(b"");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let denied = |had_credentials| PullError::Unauthorized {
            host: host(),
            reference: reference(),
            had_credentials,
        };
        vec![
            (PullError::NotFound { host: host(), reference: reference() }, "image-not-found", EndCause::ImageNotFound),
            (denied(false), "registry-login-needed", EndCause::PullDenied),
            (denied(true), "registry-login-refused", EndCause::PullDenied),
            (PullError::Forbidden { host: host(), reference: reference(), had_credentials: false }, "registry-forbidden", EndCause::PullDenied),
            (PullError::RateLimited { host: host(), retry_after: None }, "registry-rate-limited", EndCause::RegistryUnreachable),
            (PullError::Unreachable { host: host(), why: String::new() }, "registry-unreachable", EndCause::RegistryUnreachable),
            (PullError::CutOff { host: host(), why: String::new() }, "registry-cut-off", EndCause::RegistryUnreachable),
            (PullError::Timeout { host: host(), action: "answer", after: Duration::ZERO }, "registry-timeout", EndCause::RegistryUnreachable),
            (PullError::Status { host: host(), reference: reference(), status: 500, message: String::new() }, "registry-failed", EndCause::RegistryUnreachable),
            (PullError::BadDigest { host: host(), what: "layer", expected: digest, actual: digest }, "digest-mismatch", EndCause::BadDigest),
            (PullError::WrongSize { host: host(), what: "layer", digest, expected: 1, actual: 2 }, "size-mismatch", EndCause::BadDigest),
            (PullError::TooLarge { reference: reference(), what: "a layer", bytes: 2, limit: 1 }, "image-too-large", EndCause::StartFailed),
            (PullError::Unusable { reference: reference(), source: RecordError::NoPlatform { wanted: String::new(), offered: String::new() } }, "no-platform", EndCause::StartFailed),
            (PullError::Unusable { reference: reference(), source: RecordError::Ambiguous }, "unusable-image", EndCause::StartFailed),
            (PullError::RedirectRefused { host: host(), target: String::new(), reason: "" }, "registry-redirect-refused", EndCause::PullDenied),
            (PullError::AddressRefused { host: host(), reason: "" }, "registry-address-refused", EndCause::PullDenied),
            (PullError::Write { digest, source: full() }, "no-space", EndCause::StartFailed),
            (PullError::Store(StoreError::Io { action: "write", path: "x".into(), source: full() }), "no-space", EndCause::StartFailed),
        ]
    }

    #[test]
    fn every_fault_of_a_registry_has_its_name_its_cause_and_its_next_step() {
        let mut seen = BTreeSet::new();
        for (fault, code, cause) in faults() {
            let shown = fault.to_string();
            let error = ImageError::from(fault);
            assert_eq!((error.code(), error.cause()), (code, cause), "{shown}");
            assert!(
                !error.next_step().contains("HOST"),
                "{code}: {}",
                error.next_step()
            );
            assert!(
                IMAGE_REFUSALS.iter().any(|(name, ..)| *name == code),
                "{code}"
            );
            seen.insert(code);
        }
        // All but those of archives, texts and the store itself come from a registry.
        assert_eq!(seen.len(), 17, "{seen:?}");
    }

    #[test]
    fn the_names_are_distinct() {
        let names: BTreeSet<&str> = IMAGE_REFUSALS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), IMAGE_REFUSALS.len());
    }
}
