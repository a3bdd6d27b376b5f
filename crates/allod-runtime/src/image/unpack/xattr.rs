//! Which extended attributes of an archive reach the disk.
//!
//! * `user.*` is kept, but for `user.overlay.*`.
//! * `security.capability` is kept in its second version, which names no user: on an idmapped
//!   layer it counts for the root of the container's own user namespace and for nobody else
//!   (overlayfs shows it there as version three with that root's id; seen on Linux 6.18). On the
//!   host it would count for everybody, which is why nobody else can reach the file: see the
//!   store. The third version carries a user id of the
//!   machine that built the image: id 0 means the same as version two and is kept as that; any
//!   other id means nothing here, and the attribute is dropped, as is the obsolete first version.
//! * What overlayfs itself obeys (`trusted.*`, `user.overlay.*`) is refused: a layer that carries
//!   it wants to redirect lookups out of the image.
//! * Everything else (SELinux labels, IMA, POSIX ACLs) belongs to the machine that built the
//!   image; it is dropped, and counted.

use super::error::Refusal;

/// What to do with one attribute.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep(Vec<u8>),
    Drop,
}

const CAPABILITY_BYTES: usize = 20;
const CAPABILITY_WITH_ROOT_BYTES: usize = 24;

pub(super) fn judge(name: &[u8], value: &[u8]) -> Result<Verdict, Refusal> {
    if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
        return Err(Refusal::ForgedXattr);
    }
    if name == b"security.capability" {
        return capability(value);
    }
    if name.starts_with(b"user.") {
        return Ok(Verdict::Keep(value.to_vec()));
    }
    Ok(Verdict::Drop)
}

fn capability(value: &[u8]) -> Result<Verdict, Refusal> {
    let Some((magic, _)) = value.split_first_chunk::<4>() else {
        return Err(Refusal::BadCapability);
    };
    let magic = u32::from_le_bytes(*magic);
    // The lowest bit says "effective"; no other is defined.
    if magic & 0x00ff_fffe != 0 {
        return Err(Refusal::BadCapability);
    }
    match (magic >> 24, value.len()) {
        (1, 12) => Ok(Verdict::Drop),
        (2, CAPABILITY_BYTES) => Ok(Verdict::Keep(value.to_vec())),
        (3, CAPABILITY_WITH_ROOT_BYTES) if value[CAPABILITY_BYTES..] == [0; 4] => {
            let second = (2 << 24) | (magic & 1);
            let mut kept = value[..CAPABILITY_BYTES].to_vec();
            kept[..4].copy_from_slice(&u32::to_le_bytes(second));
            Ok(Verdict::Keep(kept))
        }
        (3, CAPABILITY_WITH_ROOT_BYTES) => Ok(Verdict::Drop),
        _ => Err(Refusal::BadCapability),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(revision: u32, effective: u32, len: usize) -> Vec<u8> {
        let mut value = vec![0; len];
        value[..4].copy_from_slice(&((revision << 24) | effective).to_le_bytes());
        value[4] = 0x20;
        value
    }

    #[test]
    fn capabilities_never_name_a_foreign_user() {
        let judged = |value: Vec<u8>| judge(b"security.capability", &value);
        assert_eq!(judged(value(2, 1, 20)), Ok(Verdict::Keep(value(2, 1, 20))));
        assert_eq!(judged(value(3, 1, 24)), Ok(Verdict::Keep(value(2, 1, 20))));
        let mut foreign = value(3, 0, 24);
        foreign[20] = 7;
        assert_eq!(judged(foreign), Ok(Verdict::Drop));
        assert_eq!(judged(value(1, 0, 12)), Ok(Verdict::Drop));
        for bad in [
            vec![],
            vec![2],
            value(2, 1, 24),
            value(3, 0, 20),
            value(4, 0, 20),
            value(2, 2, 20),
        ] {
            assert_eq!(judged(bad), Err(Refusal::BadCapability));
        }
    }

    #[test]
    fn what_overlayfs_obeys_is_refused_and_the_rest_is_dropped() {
        for forged in [
            "trusted.overlay.redirect",
            "trusted.x",
            "user.overlay.opaque",
        ] {
            assert_eq!(
                judge(forged.as_bytes(), b"y"),
                Err(Refusal::ForgedXattr),
                "{forged}"
            );
        }
        for dropped in [
            "security.selinux",
            "system.posix_acl_access",
            "security.ima",
            "odd",
        ] {
            assert_eq!(
                judge(dropped.as_bytes(), b"y"),
                Ok(Verdict::Drop),
                "{dropped}"
            );
        }
        assert_eq!(
            judge(b"user.pax.flags", b"m"),
            Ok(Verdict::Keep(b"m".to_vec()))
        );
    }
}
