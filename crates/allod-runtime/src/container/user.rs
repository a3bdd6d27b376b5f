//! Who a workload is: its range of identities on the host, and its user inside the image.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;

use crate::layout::USER_CLAIMS_DIR;
use crate::limits::{PASSWD_BYTES_MAX, USER_RANGE, USER_SLOT_END, USER_SLOT_FIRST};
use crate::sys::{self, Fork};
use crate::workload::{InstallationId, WorkloadId};

/// A range of identities that only one workload on this host has, whichever installation it
/// belongs to: a symbolic link named after the slot claims it, and says for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    /// The host's identity for user 0 of the range.
    pub(crate) fn base(self) -> u32 {
        self.0 * USER_RANGE
    }

    /// Claims a free slot. The search starts where the identity of the workload says, so that
    /// slots are reused as late as possible.
    pub(crate) fn claim(installation: InstallationId, id: &WorkloadId) -> io::Result<Self> {
        let owner = owner(installation, id);
        let hash = blake3::hash(owner.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        let count = USER_SLOT_END - USER_SLOT_FIRST;
        let start = u32::from_le_bytes([a, b, c, d]) % count;
        for step in 0..count {
            let slot = Self(USER_SLOT_FIRST + (start + step) % count);
            match std::os::unix::fs::symlink(&owner, slot.path()) {
                Ok(()) => return Ok(slot),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            "all ranges of user identities are taken",
        ))
    }

    fn path(self) -> std::path::PathBuf {
        Path::new(USER_CLAIMS_DIR).join(self.0.to_string())
    }
}

/// Gives back every slot that is claimed for a workload.
pub(crate) fn release(installation: InstallationId, id: &WorkloadId) -> io::Result<()> {
    for (slot, holder) in claims(installation)? {
        if holder.as_ref() == Some(id) {
            match std::fs::remove_file(slot.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The slots that an installation has claimed, and for which workload.
pub(crate) fn claims(installation: InstallationId) -> io::Result<Vec<(Slot, Option<WorkloadId>)>> {
    let mut found = Vec::new();
    let prefix = format!("{installation}:");
    for entry in std::fs::read_dir(USER_CLAIMS_DIR)? {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // It may be gone since it was listed; then it is nobody's.
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue;
        };
        let holder = target
            .to_str()
            .and_then(|target| target.strip_prefix(&prefix));
        if let (Some(number), Some(holder)) = (number, holder) {
            found.push((Slot(number), holder.parse().ok()));
        }
    }
    Ok(found)
}

fn owner(installation: InstallationId, id: &WorkloadId) -> String {
    format!("{installation}:{id}")
}

/// A user namespace that maps a range from 0 on, for idmapped mounts. No process is in it.
pub(crate) fn namespace(slot: Slot) -> io::Result<OwnedFd> {
    let (ready, ready_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (release_reader, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let pid = match sys::fork()? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            drop(release);
            let _ = sys::die_with_parent();
            let is_made = sys::unshare(rustix::thread::UnshareFlags::NEWUSER).is_ok();
            let _ = rustix::io::write(&ready_writer, &[u8::from(is_made)]);
            let _ = rustix::io::read(&release_reader, &mut [0u8; 1]);
            sys::exit_now(0)
        }
    };
    drop((ready_writer, release_reader));
    let result = map_namespace(ready.as_fd(), pid, slot);
    drop(release);
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
    result
}

fn map_namespace(
    ready: BorrowedFd<'_>,
    pid: rustix::process::Pid,
    slot: Slot,
) -> io::Result<OwnedFd> {
    let mut answer = [0u8; 1];
    if rustix::io::read(ready, &mut answer)? != 1 || answer != [1] {
        return Err(io::Error::other(
            "the kernel refuses to make a user namespace",
        ));
    }
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    let map = format!("0 {} {USER_RANGE}\n", slot.base());
    std::fs::write(format!("{process}/uid_map"), &map)?;
    std::fs::write(format!("{process}/gid_map"), &map)?;
    Ok(std::fs::File::open(format!("{process}/ns/user"))?.into())
}

/// A user as the kernel wants it, inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Finds `name`, `uid`, `name:group` or `uid:gid` in an image's own files. `None`: no such user.
pub(crate) fn resolve(root: BorrowedFd<'_>, wanted: &str) -> io::Result<Option<User>> {
    let passwd = read_inside(root, "etc/passwd")?;
    let group = read_inside(root, "etc/group")?;
    Ok(resolve_in(&passwd, &group, wanted))
}

fn resolve_in(passwd: &str, group: &str, wanted: &str) -> Option<User> {
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name)),
        None => (wanted, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entries = || passwd.lines().filter_map(PasswdEntry::parse);
    let number = name.parse::<u32>().ok().filter(|uid| *uid < USER_RANGE);
    let entry = entries().find(|entry| entry.name == name || Some(entry.uid) == number);
    let mut user = match (&entry, number) {
        (Some(entry), _) => User {
            uid: entry.uid,
            gid: entry.gid,
            groups: groups_of(group, entry.name),
            home: entry.home.to_owned(),
        },
        (None, Some(uid)) => User {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: "/".to_owned(),
        },
        (None, None) => return None,
    };
    if let Some(group_name) = group_name.filter(|name| !name.is_empty()) {
        let lookup = || group_entries(group).find(|entry| entry.0 == group_name);
        user.gid = match lookup() {
            Some((_, gid, _)) => gid,
            None => group_name.parse().ok()?,
        };
        // As with Docker, a group that was named stands alone.
        user.groups = Vec::new();
    }
    (user.uid < USER_RANGE && user.gid < USER_RANGE).then_some(user)
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields
            .nth(1)
            .filter(|home| home.starts_with('/'))
            .unwrap_or("/");
        Some(Self {
            name,
            uid,
            gid,
            home,
        })
    }
}

fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn groups_of(group: &str, user: &str) -> Vec<u32> {
    let is_member = |members: &str| members.split(',').any(|member| member == user);
    let mut groups: Vec<u32> = group_entries(group)
        .filter(|(_, gid, members)| *gid < USER_RANGE && is_member(members))
        .map(|(_, gid, _)| gid)
        .take(64)
        .collect();
    groups.dedup();
    groups
}

/// Reads a file of an image; one that is absent, or no plain file, reads as empty.
fn read_inside(root: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let Ok(place) = super::mount::open_inside(root, path) else {
        return Ok(String::new());
    };
    // Seen before it is opened: opening alone does something to devices, pipes, and what the
    // kernel offers as files.
    let stat = rustix::fs::fstat(&place)?;
    let is_plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let kind = rustix::fs::fstatfs(&place)?.f_type;
    if !is_plain || kind == rustix::fs::PROC_SUPER_MAGIC || kind == SYSFS_MAGIC {
        return Ok(String::new());
    }
    let file = std::fs::File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    let mut bytes = Vec::new();
    file.take(PASSWD_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the kernel calls the file system at `/sys`.
const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/home/app:\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nextra:x:44:other,app\nhuge:x:99999999:app\n";

    fn user(wanted: &str) -> Option<(u32, u32, Vec<u32>)> {
        resolve_in(PASSWD, GROUP, wanted).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        assert_eq!(user(""), Some((0, 0, vec![])));
        assert_eq!(user("app"), Some((1000, 1001, vec![44])));
        assert_eq!(user("1000"), Some((1000, 1001, vec![44])));
        assert_eq!(user("app:extra"), Some((1000, 44, vec![])));
        assert_eq!(user("7"), Some((7, 0, vec![])));
        assert_eq!(user("7:8"), Some((7, 8, vec![])));
        assert_eq!(resolve_in(PASSWD, GROUP, "app").unwrap().home, "/home/app");
    }

    #[test]
    fn unknown_users_and_numbers_outside_the_range_are_refused() {
        for wanted in [
            "nobody-here",
            "app:nothing",
            "65536",
            "1:65536",
            "-1",
            "4294967295",
        ] {
            assert_eq!(user(wanted), None, "{wanted}");
        }
    }
}
