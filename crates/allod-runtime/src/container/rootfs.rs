//! The root file system of a workload, built in the shim's own mount namespace.
//!
//! A file system in memory at [`SHIM_MOUNT_DIR`] holds everything that is private to the shim:
//! the views of the layers, the root file system, secrets and the runtime's own state. It is
//! seen by nobody else, is never written to disk and vanishes with the shim.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::mount::{self, Missing};
use super::seed;
use super::user::{self, Slot, User};
use crate::layout::{Layout, SHIM_MOUNT_DIR};
use crate::limits::FILES_BYTES_MAX;
use crate::record::Place;
use crate::sys::{self, MountFlags};
use crate::workload::{EndCause, FileMount, StartFault, TmpfsMount, VolumeMount, WorkloadSpec};

/// Directories of the root that the kernel's own file systems are mounted on.
pub(crate) const KERNEL_PLACES: [&str; 3] = ["dev", "proc", "sys"];

/// The root file system of a workload, with everything mounted but what needs its namespaces.
pub(crate) struct Rootfs {
    root: OwnedFd,
    slot: Slot,
    namespace: OwnedFd,
}

/// Where in the shim's private file system things are.
pub(crate) fn private(name: &str) -> PathBuf {
    Path::new(SHIM_MOUNT_DIR).join(name)
}

fn host(step: &'static str) -> impl FnOnce(io::Error) -> EndCause {
    move |error| EndCause::StartFailed {
        fault: StartFault::Host {
            step: step.to_owned(),
            why: error.to_string(),
        },
    }
}

fn refused(target: &str) -> impl FnOnce(io::Error) -> EndCause {
    let target = target.to_owned();
    move |error| EndCause::StartFailed {
        fault: StartFault::Mount {
            target,
            why: error.to_string(),
        },
    }
}

impl Rootfs {
    /// Leaves the host's mount namespace and mounts the image.
    pub(crate) fn mount(
        layout: &Layout,
        place: &Place,
        spec: &WorkloadSpec,
        slot: Slot,
    ) -> Result<Self, EndCause> {
        enter_private_namespace().map_err(host("make a private mount namespace"))?;
        let namespace = user::namespace(slot).map_err(host("make a user namespace"))?;
        let mut lower = Vec::new();
        for (number, layer) in spec.image.layers.iter().enumerate() {
            let tree = layout.layer_tree(layer);
            if !layout.is_unpacked(layer) {
                return Err(EndCause::ImageMissing { layer: *layer });
            }
            let view = private(&format!("layers/{number}"));
            attach_view(&tree, &view, namespace.as_fd()).map_err(host("mount a layer"))?;
            lower.push(view.display().to_string());
        }
        // overlayfs wants the uppermost first.
        lower.reverse();
        let root = overlay(place, slot, &lower.join(":")).map_err(host("mount the image"))?;
        let rootfs = Self {
            root,
            slot,
            namespace,
        };
        rootfs.ensure_kernel_places()?;
        Ok(rootfs)
    }

    /// Sees to it that the kernel's places are directories of this root. The container library
    /// walks to what it makes in them by plain paths: an image with a link there would have it
    /// make that on the host. Nobody changes the root from here on.
    fn ensure_kernel_places(&self) -> Result<(), EndCause> {
        for name in KERNEL_PLACES {
            let target = format!("/{name}");
            mount::ensure_directory(self.root(), name, self.slot.base()).map_err(|error| {
                let text = "in the image, it is not a directory";
                refused(&target)(match error.kind() {
                    io::ErrorKind::NotADirectory => io::Error::new(error.kind(), text),
                    _ => error,
                })
            })?;
        }
        Ok(())
    }

    /// The root, as a place.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Mounts volumes, files and memory, outer paths before inner ones.
    pub(crate) fn furnish(
        &self,
        layout: &Layout,
        spec: &WorkloadSpec,
        user: &User,
    ) -> Result<(), EndCause> {
        let mut todo: Vec<(&str, Furniture<'_>)> = Vec::new();
        todo.extend(
            spec.volumes
                .iter()
                .map(|it| (it.target.as_str(), Furniture::Volume(it))),
        );
        todo.extend(
            spec.tmpfs
                .iter()
                .map(|it| (it.target.as_str(), Furniture::Tmpfs(it))),
        );
        todo.extend(
            spec.files
                .iter()
                .map(|it| (it.target.as_str(), Furniture::File(it))),
        );
        for (target, name) in [
            ("/etc/hosts", "hosts"),
            ("/etc/resolv.conf", "resolv"),
            ("/etc/hostname", "name"),
        ] {
            if !todo.iter().any(|(taken, _)| *taken == target) {
                todo.push((target, Furniture::Own(name)));
            }
        }
        todo.sort_by_key(|(target, _)| target.matches('/').count());
        for (number, (target, furniture)) in todo.iter().enumerate() {
            let result = match furniture {
                Furniture::Volume(volume) => self.mount_volume(layout, volume),
                Furniture::Tmpfs(tmpfs) => self.mount_tmpfs(tmpfs),
                Furniture::File(file) => self.mount_file(file, number, user),
                Furniture::Own(name) => self.mount_own(target, name),
            };
            result.map_err(refused(target))?;
        }
        Ok(())
    }

    /// Makes the working directory if the image lacks it.
    pub(crate) fn ensure_working_dir(&self, path: &str) -> Result<(), EndCause> {
        let base = self.slot.base();
        mount::ensure_inside(self.root(), path, Missing::Directory, base)
            .and_then(|place| {
                let inner = inner_path(place.as_fd())?;
                if is_of_the_kernel(&inner) {
                    return Err(misplaced(&inner));
                }
                Ok(())
            })
            .map_err(|error| EndCause::StartFailed {
                fault: StartFault::WorkingDirectory {
                    path: path.to_owned(),
                    why: error.to_string(),
                },
            })
    }

    /// Opens a mount point that the specification names, and makes it if it is missing. Links of
    /// the image may lead to any place but the root itself, and those of the kernel.
    fn mount_point(&self, target: &str, missing: Missing) -> io::Result<OwnedFd> {
        let place = mount::ensure_inside(self.root(), target, missing, self.slot.base())?;
        let inner = inner_path(place.as_fd())?;
        if inner.as_os_str().is_empty() || is_of_the_kernel(&inner) {
            return Err(misplaced(&inner));
        }
        Ok(place)
    }

    /// Finds the command as the first process would, so that its absence has a name.
    pub(crate) fn check_command(
        &self,
        command: &str,
        path_variable: &str,
        working_dir: &str,
    ) -> Result<(), EndCause> {
        let candidates: Vec<String> = if command.starts_with('/') {
            vec![command.to_owned()]
        } else if command.contains('/') {
            vec![format!("{working_dir}/{command}")]
        } else {
            path_variable
                .split(':')
                .map(|directory| format!("{directory}/{command}"))
                .collect()
        };
        let mut found = None;
        for candidate in candidates {
            let Ok(place) = mount::open_inside(self.root(), &candidate) else {
                continue;
            };
            let stat = rustix::fs::fstat(&place)
                .map_err(|error| host("look at the command")(error.into()))?;
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            if kind == rustix::fs::FileType::RegularFile && stat.st_mode & 0o111 != 0 {
                return Ok(());
            }
            let is_directory = kind == rustix::fs::FileType::Directory;
            found = Some(if is_directory {
                "it is a directory"
            } else {
                "permission denied"
            });
        }
        let command = command.to_owned();
        let fault = match found {
            Some(why) => StartFault::CommandNotExecutable {
                command,
                why: why.to_owned(),
            },
            None => StartFault::CommandNotFound { command },
        };
        Err(EndCause::StartFailed { fault })
    }

    fn mount_volume(&self, layout: &Layout, volume: &VolumeMount) -> io::Result<()> {
        let source = layout.volume(&volume.name);
        if !source.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the volume was not made",
            ));
        }
        seed::mark_used(&source)?;
        let base = self.slot.base();
        let target = self.mount_point(&volume.target, Missing::Directory)?;
        if !volume.read_only {
            seed::seed(&source, target.as_fd(), base)?;
        }
        let flags = MountFlags {
            read_only: volume.read_only,
            no_exec: false,
        };
        let tree = mount::clone_tree(&source, flags, Some(self.namespace.as_fd()))?;
        mount::attach(tree.as_fd(), target.as_fd())
    }

    fn mount_tmpfs(&self, tmpfs: &TmpfsMount) -> io::Result<()> {
        let base = self.slot.base();
        let target = self.mount_point(&tmpfs.target, Missing::Directory)?;
        let owner = base.to_string();
        let options = [
            ("size", tmpfs.bytes_max.to_string()),
            ("mode", format!("{:o}", tmpfs.mode)),
            ("uid", owner.clone()),
            ("gid", owner),
        ];
        let options: Vec<_> = options
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let tree = mount::new_file_system("tmpfs", &options, attributes)?;
        mount::attach(tree.as_fd(), target.as_fd())
    }

    fn mount_file(&self, file: &FileMount, number: usize, user: &User) -> io::Result<()> {
        let path = private(&format!("files/{number}"));
        let base = self.slot.base();
        let (uid, gid) = file.owner.unwrap_or((user.uid, user.gid));
        write_private(&path, file.contents.expose(), file.mode)?;
        std::os::unix::fs::chown(&path, Some(base + uid), Some(base + gid))?;
        self.bind_file(&path, &file.target)
    }

    /// One of the three files that every container has; what it says is known later.
    fn mount_own(&self, target: &str, name: &str) -> io::Result<()> {
        let path = private(&format!("files/{name}"));
        write_private(&path, b"", 0o644)?;
        std::os::unix::fs::chown(&path, Some(self.slot.base()), Some(self.slot.base()))?;
        self.bind_file(&path, target)
    }

    fn bind_file(&self, source: &Path, target: &str) -> io::Result<()> {
        let place = self.mount_point(target, Missing::File)?;
        let flags = MountFlags {
            read_only: true,
            no_exec: false,
        };
        let tree = mount::clone_tree(source, flags, None)?;
        mount::attach(tree.as_fd(), place.as_fd())
    }
}

/// Where a place inside the root is, from the root on. What it says holds for the root's own
/// directories, which nobody else changes; inside a volume, it may be the past.
fn inner_path(place: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    let inner = path.strip_prefix(private("rootfs"));
    inner.map(Path::to_owned).map_err(|_| {
        let text = format!("it leads to {}", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

fn is_of_the_kernel(inner: &Path) -> bool {
    KERNEL_PLACES.iter().any(|name| inner.starts_with(name))
}

fn misplaced(inner: &Path) -> io::Error {
    let text = format!("in the image, it leads to /{}", inner.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

enum Furniture<'a> {
    Volume(&'a VolumeMount),
    Tmpfs(&'a TmpfsMount),
    File(&'a FileMount),
    Own(&'static str),
}

/// Writes the files that depend on the address. They are mounted already, and seen inside.
pub(crate) fn write_network_files(
    hostname: &str,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
) -> io::Result<()> {
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{hostname}\n"
    );
    let resolv = format!("nameserver {gateway}\noptions ndots:0\n");
    for (name, text) in [
        ("hosts", hosts),
        ("resolv", resolv),
        ("name", format!("{hostname}\n")),
    ] {
        let path = private(&format!("files/{name}"));
        // Absent where the specification has its own file at that place.
        if path.exists() {
            std::fs::write(path, text)?;
        }
    }
    Ok(())
}

/// A file in the shim's private file system. Written by root, whatever its mode says.
pub(crate) fn write_private(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    // The process's umask does not matter to what the specification says.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)
}

fn enter_private_namespace() -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWNS)?;
    // What the host unmounts goes away here too; nothing goes the other way.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave)?;
    let size = (FILES_BYTES_MAX * 8).to_string();
    let options = [("size", size.as_str()), ("mode", "711"), ("noswap", "")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    // Kernels before 6.4 cannot keep secrets out of the swap.
    let tree = mount::new_file_system("tmpfs", &options, attributes)
        .or_else(|_| mount::new_file_system("tmpfs", &options[..2], attributes))?;
    mount::attach(
        tree.as_fd(),
        mount::open_place(Path::new(SHIM_MOUNT_DIR))?.as_fd(),
    )?;
    for (name, mode) in [
        ("layers", 0o711),
        ("files", 0o711),
        ("bundle", 0o700),
        ("state", 0o700),
        ("rootfs", 0o755),
    ] {
        std::fs::DirBuilder::new()
            .mode(mode)
            .create(private(name))?;
        std::fs::set_permissions(private(name), std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn attach_view(tree: &Path, view: &Path, namespace: BorrowedFd<'_>) -> io::Result<()> {
    std::fs::create_dir(view)?;
    let flags = MountFlags {
        read_only: true,
        no_exec: false,
    };
    let clone = mount::clone_tree(tree, flags, Some(namespace))?;
    mount::attach(clone.as_fd(), mount::open_place(view)?.as_fd())
}

fn overlay(place: &Place, slot: Slot, lower: &str) -> io::Result<OwnedFd> {
    for directory in [place.upper(), place.work()] {
        std::fs::DirBuilder::new().mode(0o755).create(&directory)?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
        std::os::unix::fs::chown(&directory, Some(slot.base()), Some(slot.base()))?;
    }
    let (upper, work) = (place.upper(), place.work());
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path is not UTF-8"))
    };
    let options = [
        ("lowerdir", lower.to_owned()),
        ("upperdir", text(&upper)?),
        ("workdir", text(&work)?),
        ("index", "off".to_owned()),
        ("xino", "off".to_owned()),
        ("metacopy", "off".to_owned()),
        // Layers come from strangers: a redirection in them is not followed.
        ("redirect_dir", "nofollow".to_owned()),
        // The writable layer does not outlive a crash of the machine, so it need not be synced.
        ("volatile", String::new()),
    ];
    let options: Vec<_> = options
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let tree = mount::new_file_system("overlay", &options, MountAttrFlags::MOUNT_ATTR_NODEV)?;
    mount::attach(tree.as_fd(), mount::open_place(&private("rootfs"))?.as_fd())?;
    mount::open_place(&private("rootfs"))
}
