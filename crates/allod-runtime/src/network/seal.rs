//! Finding out cheaply that nothing has changed.
//!
//! Writing all rules takes the kernel tens of milliseconds, and a workload should start in that
//! time. So what was written is sealed: a hash over everything on the host that could make it
//! wrong, the generation of the host's nf_tables among it, which moves with every change that
//! anybody makes. While the hash is the same, nothing need be written. The router's own rules change
//! with every workload; the generation that each change of ours leads to is noted, so that any
//! other change is seen.

use std::fs;
use std::io;
use std::path::PathBuf;

use data_encoding::HEXLOWER;

use super::allocation::Durable;
use super::error::NetworkError;
use super::host::{FORWARDING, Neighbours};
use super::namespace::Namespace;
use super::netlink::{Message, Socket, attributes};
use super::rules::{self, Facts};
use super::{Network, forward, inside, sysctl};

const GET_GENERATION: u16 = (10 << 8) | 16;
const GENERATION_ID: u16 = 1;
const HEADER_BYTES: usize = 4;

/// The generation of the nf_tables of the current namespace.
pub(super) fn generation() -> Result<u32, NetworkError> {
    let failed = || NetworkError::kernel("ask for the generation of nf_tables");
    let request = Message::question(GET_GENERATION).raw(&[0; HEADER_BYTES]);
    let answer = Socket::netfilter()
        .and_then(|mut socket| socket.ask(request))
        .map_err(failed())?;
    attributes(&answer, HEADER_BYTES)
        .into_iter()
        .find(|(kind, _)| *kind == GENERATION_ID)
        .and_then(|(_, value)| value.try_into().ok().map(u32::from_be_bytes))
        .ok_or_else(|| failed()(io::Error::from(io::ErrorKind::InvalidData)))
}

impl Network {
    fn seal_path(&self) -> PathBuf {
        self.directories.run.join("seal")
    }

    /// Whether everything is as it was when it was sealed.
    pub(super) fn is_as_left(&self, neighbours: &Neighbours) -> Result<bool, NetworkError> {
        let sealed = match fs::read_to_string(self.seal_path()) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => {
                let path = self.seal_path();
                return Err(NetworkError::StateFile { path, source });
            }
        };
        Ok(self.hash(neighbours, generation()?)? == Some(sealed))
    }

    /// Seals what was just written, on the grounds of `before`, as the host's `generation` after
    /// the one given; not when anything moved meanwhile.
    pub(super) fn seal(&self, before: &Neighbours, generation: u32) -> Result<(), NetworkError> {
        let (after, now) = (self.neighbours()?, self::generation()?);
        let is_still = after.addresses == before.addresses && after.taken == before.taken;
        if !is_still || now != generation.wrapping_add(1) {
            return Ok(());
        }
        let Some(hash) = self.hash(&after, now)? else {
            return Ok(());
        };
        let path = self.seal_path();
        fs::write(&path, hash).map_err(|source| NetworkError::StateFile { path, source })
    }

    /// Whether the next look will be cheap.
    pub(super) fn is_sealed(&self) -> bool {
        self.seal_path().exists()
    }

    fn router_note_path(&self) -> PathBuf {
        self.directories.run.join("router-seal")
    }

    /// Whether the router's rules were changed by nobody but us.
    pub(super) fn is_router_as_left(&self) -> Result<bool, NetworkError> {
        let router = match self.router() {
            Err(NetworkError::RouterMissing) => return Ok(false),
            other => other?,
        };
        let now = note(&router, self.router_generation(&router)?)?;
        Ok(self.router_note()? == Some(now))
    }

    fn router_note(&self) -> Result<Option<String>, NetworkError> {
        let path = self.router_note_path();
        match fs::read_to_string(&path) {
            Ok(noted) => Ok(Some(noted)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(NetworkError::StateFile { path, source }),
        }
    }

    /// The generation of the router's rules.
    pub(super) fn router_generation(&self, router: &Namespace) -> Result<u32, NetworkError> {
        inside(router, "the router", generation)
    }

    /// Notes the generation of rules that were just written as a whole, unless somebody else wrote meanwhile.
    pub(super) fn note_router(&self, router: &Namespace, before: u32) -> Result<(), NetworkError> {
        let now = self.router_generation(router)?;
        if now == before.wrapping_add(1) {
            self.write_router_note(&note(router, now)?)?;
        }
        Ok(())
    }

    /// Changes the router's rules by one transaction. Called inside the router. What somebody else has changed before
    /// or meanwhile stays to be seen.
    pub(super) fn change_router_rules(
        &self,
        change: impl FnOnce() -> Result<(), NetworkError>,
    ) -> Result<(), NetworkError> {
        let router = self.router()?;
        let before = generation()?;
        let noted = self.router_note()?;
        change()?;
        let now = generation()?;
        let is_ours = now == before || now == before.wrapping_add(1);
        if is_ours && noted == Some(note(&router, before)?) {
            self.write_router_note(&note(&router, now)?)?;
        }
        Ok(())
    }

    fn write_router_note(&self, text: &str) -> Result<(), NetworkError> {
        let path = self.router_note_path();
        fs::write(&path, text).map_err(|source| NetworkError::StateFile { path, source })
    }

    /// Nothing is known of the router's rules any more.
    pub(super) fn forget_router(&self) -> Result<(), NetworkError> {
        forget(self.router_note_path())
    }

    /// Nothing is sealed from here on.
    pub(super) fn forget_seal(&self) -> Result<(), NetworkError> {
        forget(self.seal_path())
    }

    /// What the rules were written for and depend on; `None` where that cannot be told.
    fn hash(
        &self,
        neighbours: &Neighbours,
        generation: u32,
    ) -> Result<Option<String>, NetworkError> {
        let router = match self.router() {
            Err(NetworkError::RouterMissing) => return Ok(None),
            other => other?,
        };
        let Some(durable) = Durable::load(&self.durable_path())? else {
            return Ok(None);
        };
        if forward::has_legacy_filter() {
            // The older tables have no generation.
            return Ok(None);
        }
        let facts = Facts {
            block: durable.block,
            host_link: &self.host_link(),
            host_addresses: &neighbours.addresses,
            elements: &[],
        };
        let mut hasher = blake3::Hasher::new_derive_key("allod runtime network seal 1");
        let parts = [
            facts.router_ruleset(),
            facts.host_ruleset(&rules::host_table(self.installation)),
            format!("{neighbours:?} {durable:?} {generation}"),
            format!(
                "{:?}",
                router
                    .identity()
                    .map_err(NetworkError::kernel("identify the router"))?
            ),
            format!("{:?}", sysctl::read(FORWARDING)?),
        ];
        for part in parts {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Ok(Some(HEXLOWER.encode(hasher.finalize().as_bytes())))
    }
}

fn note(router: &Namespace, generation: u32) -> Result<String, NetworkError> {
    let identity = router
        .identity()
        .map_err(NetworkError::kernel("identify the router"))?;
    Ok(format!("{identity:?} {generation}"))
}

fn forget(path: PathBuf) -> Result<(), NetworkError> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(NetworkError::StateFile { path, source })
        }
        _ => Ok(()),
    }
}
