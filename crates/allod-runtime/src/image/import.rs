//! Taking images from a file instead of a registry: `docker save`, `podman save`, OCI layouts.
//!
//! The file is read once, front to back, also when it is compressed; every member is hashed on
//! the way into a private directory and gets a place in the store only when an image needs it.
//! The archive obeys the same reader as a layer does: what is refused there is refused here.
//!
//! *Synthetic manifests.* A `docker save` archive names a configuration and layers, but has no
//! manifest. One is written for it, so that an image is always named by the digest of a manifest
//! that is in the store: the OCI manifest with the fields `schemaVersion`, `mediaType`, `config`
//! and `layers`, in that order, without white space; each descriptor is `mediaType`, `digest`,
//! `size`; the configuration's type is OCI's, a layer's type follows from its first bytes. The
//! same archive contents therefore have the same digest everywhere, whatever the order of the
//! members. It differs from the digest a registry has for that image, whose layers are compressed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::digest::{Digest, Hasher};
use super::limits::{DOCUMENT_BYTES_MAX, IMPORT_ENTRIES_MAX, LAYERS_MAX, Limits};
use super::manifest::{
    Descriptor, Document, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Platform,
};
use super::record::{ImageRecord, RecordError};
use super::room::{NoRoom, Room};
use super::store::{BlobStore, StoreError};
use super::unpack::decompress::Unpacked;
use super::unpack::tar::{Archive, Kind, ReadError};
use super::unpack::{Refusal, shown};

/// How many links are followed from one member to another.
const LINKS_MAX: usize = 8;

/// An image that was in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The names the file gives it: `busybox:latest`. May be empty.
    pub names: Vec<String>,
    /// The image.
    pub record: ImageRecord,
}

/// Why a file is not an image, or could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive breaks a rule.
    #[error("the image file is refused: {refusal} (entry {number}: {entry:?})")]
    Refused {
        /// The entry's number, from 1.
        number: u64,
        /// Its name.
        entry: String,
        /// The rule.
        refusal: Refusal,
    },
    /// The file does not decompress, or cannot be read.
    #[error("the image file cannot be read to its end")]
    Damaged(#[source] io::Error),
    /// A tar file of something else.
    #[error(
        "the file has neither manifest.json nor index.json at its top; \
             make it with `docker save`, `podman save` or `skopeo copy … oci-archive:FILE`"
    )]
    NotAnImage,
    /// A part that the file names but does not have.
    #[error("the image file names {what} but does not contain it")]
    Missing {
        /// The part.
        what: String,
    },
    /// A part that is not what its name says.
    #[error("{expected} in the image file hashes to {actual}; the file is damaged")]
    BadDigest {
        /// The name.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// The parts do not make an image for this machine.
    #[error("the image file cannot be used")]
    Unusable(#[from] RecordError),
    /// The disk has no room for it.
    #[error("no room to take the image file in")]
    NoRoom(#[source] NoRoom),
    /// The store refused.
    #[error("the image file cannot be kept")]
    Store(#[from] StoreError),
    /// Writing a part failed.
    #[error("cannot write {path} while importing; is the disk full?")]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Takes every image for this machine's platform from an archive into the store.
///
/// Synchronous: an async caller gives it a blocking thread.
pub fn archive(
    file: File,
    store: &BlobStore,
    limits: &Limits,
) -> Result<Vec<Imported>, ImportError> {
    let _in_use = store.in_use()?;
    let members = Members::read(file, store, limits)?;
    let images = if members.find("index.json").is_some() {
        members.oci_images()?
    } else if members.find("manifest.json").is_some() {
        members.saved_images()?
    } else {
        return Err(ImportError::NotAnImage);
    };
    let mut imported = Vec::new();
    for image in images {
        members.keep_blobs(&image.manifest, store)?;
        store.put(&image.document)?;
        let record = store.verified_record(Digest::of(&image.document))?;
        store.save_record(&record)?;
        imported.push(Imported {
            names: image.names,
            record,
        });
    }
    Ok(imported)
}

/// An image found in the file, not in the store yet.
struct Found {
    names: Vec<String>,
    document: Vec<u8>,
    manifest: Manifest,
}

/// One file of the archive, parked on disk.
#[derive(Debug, Clone)]
struct Member {
    path: PathBuf,
    digest: Digest,
    size: u64,
    start: [u8; 4],
}

/// Everything in the archive; the directory it is parked in goes when this does.
struct Members {
    directory: PathBuf,
    files: BTreeMap<String, Member>,
    by_digest: BTreeMap<Digest, Member>,
    links: BTreeMap<String, String>,
}

impl Drop for Members {
    fn drop(&mut self) {
        // What cannot be removed now is swept up by a collection.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Members {
    fn read(file: File, store: &BlobStore, limits: &Limits) -> Result<Self, ImportError> {
        let mut members = Self {
            directory: store.partial_subdirectory("import")?,
            files: BTreeMap::new(),
            by_digest: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let stream = Unpacked::new(file, limits).map_err(ImportError::Damaged)?;
        let mut archive = Archive::new(stream);
        loop {
            let taken = members.take_entry(&mut archive, limits);
            match taken {
                Ok(true) => {}
                Ok(false) => return Ok(members),
                Err(Stop::Read(ReadError::Stream(source))) => {
                    return Err(ImportError::Damaged(source));
                }
                Err(Stop::Read(ReadError::Refused(refusal))) => {
                    let (name, number) = archive.place();
                    return Err(ImportError::Refused {
                        number,
                        entry: shown(name),
                        refusal,
                    });
                }
                Err(Stop::Import(error)) => return Err(error),
            }
        }
    }

    /// Takes the next entry; false at the end.
    fn take_entry<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        limits: &Limits,
    ) -> Result<bool, Stop> {
        let Some(entry) = archive.next()? else {
            return Ok(false);
        };
        if archive.place().1 > IMPORT_ENTRIES_MAX {
            return Err(Refusal::TooManyEntries.into());
        }
        let name = String::from_utf8_lossy(entry.path.as_bytes()).into_owned();
        match entry.kind {
            Kind::Directory => {}
            Kind::Fifo => return Err(Refusal::UnknownType.into()),
            Kind::Symlink(target) => {
                let target = String::from_utf8_lossy(&target).into_owned();
                let beside = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                let target = resolve(beside, &target).ok_or(Refusal::BadSymlink)?;
                self.links.insert(name, target);
            }
            Kind::HardLink(target) => {
                let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
                self.links.insert(name, target);
            }
            Kind::File => {
                if entry.size > limits.unpacked_bytes_max {
                    return Err(Refusal::TooManyBytes.into());
                }
                // Two members of one name: readers disagree on which one counts.
                if self.files.contains_key(&name) || self.links.contains_key(&name) {
                    return Err(Refusal::ContradictoryRecords.into());
                }
                let room = Room::on_disk_of(&self.directory, limits);
                let member = self.park(archive, room, entry.size)?;
                self.by_digest.insert(member.digest, member.clone());
                self.files.insert(name, member);
            }
        }
        Ok(true)
    }

    fn park<R: Read>(
        &self,
        archive: &mut Archive<R>,
        mut room: Room,
        size: u64,
    ) -> Result<Member, Stop> {
        let path = self.directory.join(self.files.len().to_string());
        let write_error = |source| {
            Stop::Import(ImportError::Write {
                path: path.clone(),
                source,
            })
        };
        let full = |error| Stop::Import(ImportError::NoRoom(error));
        room.fits(0).map_err(full)?;
        let mut file = File::create_new(&path).map_err(write_error)?;
        let mut hasher = Hasher::default();
        let mut start = [0; 4];
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = archive.read_contents(&mut buffer)?;
            if count == 0 {
                break;
            }
            room.take(count as u64, size.saturating_sub(hasher.bytes()))
                .map_err(full)?;
            if let Ok(at @ 0..4) = usize::try_from(hasher.bytes()) {
                let wanted = count.min(4 - at);
                start[at..at + wanted].copy_from_slice(&buffer[..wanted]);
            }
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(write_error)?;
        }
        file.sync_data().map_err(write_error)?;
        let size = hasher.bytes();
        Ok(Member {
            digest: hasher.finish(),
            size,
            start,
            path,
        })
    }

    /// The file of this name, through the links the archive itself makes.
    fn find(&self, name: &str) -> Option<&Member> {
        let mut name = resolve("", name)?;
        for _ in 0..LINKS_MAX {
            if let Some(member) = self.files.get(&name) {
                return Some(member);
            }
            name.clone_from(self.links.get(&name)?);
        }
        None
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        let missing = || ImportError::Missing {
            what: name.chars().take(200).collect(),
        };
        read_document(self.find(name).ok_or_else(missing)?)
    }

    /// The member an OCI descriptor points to, whose bytes were hashed when it was parked.
    fn blob(&self, digest: Digest) -> Result<&Member, ImportError> {
        let name = format!("blobs/sha256/{}", digest.hex());
        let member = self.find(&name).ok_or_else(|| ImportError::Missing {
            what: digest.to_string(),
        })?;
        if member.digest != digest {
            return Err(ImportError::BadDigest {
                expected: digest,
                actual: member.digest,
            });
        }
        Ok(member)
    }

    fn oci_images(&self) -> Result<Vec<Found>, ImportError> {
        let host = Platform::host();
        let Document::Index(entries) = Document::parse(&self.document("index.json")?)? else {
            return Err(ImportError::NotAnImage);
        };
        let fits = |entry: &&Descriptor| {
            entry
                .platform
                .as_ref()
                .is_none_or(|platform| platform.fits(&host))
        };
        let fitting: Vec<&Descriptor> = entries.iter().filter(fits).collect();
        if fitting.is_empty() {
            // Says what there is instead.
            super::manifest::choose(&entries, &host)?;
        }
        fitting
            .into_iter()
            .map(|entry| self.oci_image(entry, &host))
            .collect()
    }

    fn oci_image(&self, entry: &Descriptor, host: &Platform) -> Result<Found, ImportError> {
        const NAMES: [&str; 2] = [
            "io.containerd.image.name",
            "org.opencontainers.image.ref.name",
        ];
        let name = NAMES
            .iter()
            .find_map(|key| entry.annotations.get(*key))
            .cloned();
        let names = name.into_iter().collect();
        let mut document = read_document(self.blob(entry.digest)?)?;
        let mut parsed = Document::parse(&document)?;
        if let Document::Index(nested) = &parsed {
            let chosen = super::manifest::choose(nested, host)?.digest;
            document = read_document(self.blob(chosen)?)?;
            parsed = Document::parse(&document)?;
        }
        match parsed {
            Document::Image(manifest) => Ok(Found {
                names,
                document,
                manifest,
            }),
            Document::Index(_) => Err(ImportError::Unusable(RecordError::Malformed {
                what: "manifest",
                why: "indexes are nested too deeply".to_owned(),
            })),
        }
    }

    /// The images of a `docker save` archive, each with a manifest written for it.
    fn saved_images(&self) -> Result<Vec<Found>, ImportError> {
        #[derive(Deserialize)]
        struct Saved {
            #[serde(rename = "Config")]
            config: String,
            #[serde(rename = "RepoTags", default)]
            names: Option<Vec<String>>,
            #[serde(rename = "Layers")]
            layers: Vec<String>,
        }
        let saved: Vec<Saved> =
            serde_json::from_slice(&self.document("manifest.json")?).map_err(|why| {
                RecordError::Malformed {
                    what: "manifest.json",
                    why: why.to_string(),
                }
            })?;
        let describe = |name: &str, media_type: Option<&str>| {
            let missing = || ImportError::Missing {
                what: name.chars().take(200).collect(),
            };
            let member = self.find(name).ok_or_else(missing)?;
            Ok::<_, ImportError>(Descriptor {
                media_type: media_type.map_or_else(|| layer_type(member), str::to_owned),
                digest: member.digest,
                size: member.size,
                platform: None,
                annotations: BTreeMap::new(),
            })
        };
        let mut found = Vec::new();
        for image in saved {
            if image.layers.len() > LAYERS_MAX {
                let (what, count) = ("layers", image.layers.len());
                return Err(RecordError::TooMany {
                    what,
                    count,
                    limit: LAYERS_MAX,
                }
                .into());
            }
            let manifest = Manifest {
                schema_version: 2,
                media_type: Some(OCI_MANIFEST.to_owned()),
                config: describe(&image.config, Some(OCI_CONFIG))?,
                layers: image
                    .layers
                    .iter()
                    .map(|name| describe(name, None))
                    .collect::<Result<_, _>>()?,
            };
            let document = serde_json::to_vec(&manifest).expect("a manifest is plain data");
            found.push(Found {
                names: image.names.unwrap_or_default(),
                document,
                manifest,
            });
        }
        Ok(found)
    }

    /// Gives the parts of an image their places in the store.
    fn keep_blobs(&self, manifest: &Manifest, store: &BlobStore) -> Result<(), ImportError> {
        for blob in [&manifest.config].into_iter().chain(&manifest.layers) {
            let to = store.blob_path(blob.digest);
            if to.is_file() {
                continue;
            }
            let missing = || ImportError::Missing {
                what: blob.digest.to_string(),
            };
            let member = self.by_digest.get(&blob.digest).ok_or_else(missing)?;
            if member.size != blob.size {
                return Err(ImportError::Unusable(RecordError::Malformed {
                    what: "manifest",
                    why: format!(
                        "{} has {} bytes, not {}",
                        blob.digest, member.size, blob.size
                    ),
                }));
            }
            rename(&member.path, &to)?;
        }
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), ImportError> {
    fs::rename(from, to).map_err(|source| ImportError::Write {
        path: to.to_owned(),
        source,
    })
}

fn read_document(member: &Member) -> Result<Vec<u8>, ImportError> {
    if member.size > DOCUMENT_BYTES_MAX {
        return Err(ImportError::Unusable(RecordError::TooLarge {
            what: "document in the image file",
            bytes: member.size,
            limit: DOCUMENT_BYTES_MAX,
        }));
    }
    fs::read(&member.path).map_err(ImportError::Damaged)
}

fn layer_type(member: &Member) -> String {
    match member.start {
        [0x1f, 0x8b, ..] => format!("{OCI_LAYER}+gzip"),
        [0x28, 0xb5, 0x2f, 0xfd] => format!("{OCI_LAYER}+zstd"),
        _ => OCI_LAYER.to_owned(),
    }
}

/// Joins and tidies a name; none if it leaves the archive.
fn resolve(directory: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    if name.starts_with('/') {
        return None;
    }
    for part in directory.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

enum Stop {
    Read(ReadError),
    Import(ImportError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Read(ReadError::Refused(refusal))
    }
}
