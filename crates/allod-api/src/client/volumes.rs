//! The data of volumes in an export: fetched into files beside it, named in it by what they hold, and put back from there.

use std::collections::BTreeSet;
use std::path::Path;

use allod_node::{view, volume_label};
use allod_state::Label;
use allod_state::volume::Standing;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;

use super::Result;
use super::connection::{Client, timed_out};
use super::error::Error;
use super::limits::DATA_SILENCE_MAX;
use super::payload::Summed;
use super::proven::Check;

/// A volume of an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeCopy {
    /// Its name, as `app/volume`, as far as whoever made the export could read it.
    pub name: String,
    /// The label of its app.
    pub app: Label,
    /// Its own.
    pub volume: Label,
    /// Its data; nothing where they could not be had.
    pub data: Option<VolumeData>,
    /// Why they could not.
    pub missing: Option<String>,
}

/// The data of a volume, in a file beside the export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeData {
    /// The file's name: a tar, compressed by gzip.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of it.
    pub blake3: String,
    /// Whether a replica had the volume while it was read, so that its files may be of different moments.
    pub was_in_use: bool,
}

impl Client {
    /// Fetches the data of all own volumes into files in `dir`, wherever they are. What cannot be had is named with the
    /// reason.
    ///
    /// # Errors
    /// Where the API refuses, or a file cannot be written.
    pub async fn copy_volumes(&self, dir: &Path) -> Result<Vec<VolumeCopy>> {
        let volumes = self.volumes().await?.into_iter();
        let wanted = volumes.filter(|volume| volume.standing != Standing::Dropped);
        let (mut copies, mut files) = (Vec::new(), BTreeSet::new());
        for volume in wanted {
            let mut file = file_name(&volume);
            if !files.insert(file.clone()) {
                file = format!("{}.tar.gz", volume.volume);
            }
            let fetched = self.copy_volume(&volume, dir, file).await;
            let (data, missing) = match fetched {
                Ok(data) => (Some(data), None),
                Err(error @ Error::File { .. }) => return Err(error),
                Err(error) => (None, Some(error.to_string())),
            };
            copies.push(VolumeCopy {
                name: volume.name,
                app: volume.app,
                volume: volume.volume,
                data,
                missing,
            });
        }
        Ok(copies)
    }

    async fn copy_volume(
        &self,
        volume: &view::Volume,
        dir: &Path,
        file: String,
    ) -> Result<VolumeData> {
        let path = dir.join(&file);
        let before = self.is_in_use(&volume.app).await?;
        let fetched = self.fetch(volume, &path).await;
        let (bytes, blake3) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                // A part of it would be mistaken for the whole.
                let _ = tokio::fs::remove_file(&path).await;
                return Err(error);
            }
        };
        let after = self.is_in_use(&volume.app).await?;
        Ok(VolumeData {
            file,
            bytes,
            blake3: blake3.to_string(),
            was_in_use: before || after,
        })
    }

    async fn is_in_use(&self, app: &Label) -> Result<bool> {
        let apps = self.apps().await?;
        // What the machine that is asked cannot read is called after its label.
        let of_it = |it: &&view::App| {
            it.name == app.short() || Label::of(self.account().as_bytes(), &it.name) == *app
        };
        let mut services = apps.iter().filter(of_it).flat_map(|app| &app.services);
        Ok(services.any(|service| service.replicas.iter().any(|it| it.lease.is_some())))
    }

    async fn fetch(&self, volume: &view::Volume, path: &Path) -> Result<(u64, blake3::Hash)> {
        let unwritten = |source| Error::File {
            attempted: format!("write {}", path.display()),
            source,
        };
        let mut body = self
            .volume_data(&volume.app, &volume.volume)
            .await?
            .into_body();
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = opened.await.map_err(unwritten)?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0_u64);
        loop {
            let frame = tokio::time::timeout(DATA_SILENCE_MAX, body.frame()).await;
            let attempted = || format!("fetching the data of {}", volume.name);
            let frame = frame.map_err(|_| timed_out(attempted(), DATA_SILENCE_MAX))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| self.unreachable(&error))?;
            if let Ok(piece) = frame.into_data() {
                hasher.update(&piece);
                bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                file.write_all(&piece).await.map_err(unwritten)?;
            }
        }
        file.sync_all().await.map_err(unwritten)?;
        Ok((bytes, hasher.finalize()))
    }

    /// Puts the data of a volume on the node, as the volume `name` of an app of the own account that is deployed there
    /// afterwards.
    ///
    /// # Errors
    /// Where the file is not the one of the export, or the node refuses it.
    pub async fn put_back(
        &self,
        copy: &VolumeCopy,
        dir: &Path,
        (app, name): (&str, &str),
    ) -> Result<()> {
        let app = Label::of(self.account().as_bytes(), app);
        let summed = copy.summed(dir).await.map_err(|cause| Error::Failed {
            message: format!("the data of {}: {cause}", copy.name),
            help: "bring the files beside the export as they were written".into(),
        })?;
        self.fill_volume(&app, &volume_label(&app, name), summed)
            .await
    }
}

impl VolumeCopy {
    /// Whether the file in `dir` is what the export says.
    pub async fn check(&self, dir: &Path) -> Check {
        let found = self.summed(dir).await.map(|summed| {
            let in_use = self.data.as_ref().is_some_and(|data| data.was_in_use);
            let when = if in_use {
                ", read while a replica had it"
            } else {
                ""
            };
            format!("{} bytes{when}", summed.bytes)
        });
        Check::new(format!("the data of {}", self.name), found)
    }

    async fn summed(&self, dir: &Path) -> Result<Summed, String> {
        let missing = || self.missing.clone().unwrap_or_default();
        let data = self.data.as_ref().ok_or_else(missing)?;
        if Path::new(&data.file)
            .file_name()
            .is_none_or(|name| name != data.file.as_str())
        {
            return Err(format!("{} is no name of a file beside it", data.file));
        }
        let path = dir.join(&data.file);
        let summed = Summed::of(&path).await;
        let summed = summed.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if summed.bytes != data.bytes || summed.blake3.to_string() != data.blake3 {
            return Err(format!(
                "{} is not what was exported: it was changed",
                path.display()
            ));
        }
        Ok(summed)
    }
}

/// A name for the file that people read, where the volume has one that is fit for it.
fn file_name(volume: &view::Volume) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = volume.name.replacen('/', ".", 1);
    if name.chars().all(is_plain) && !name.starts_with('.') && name.len() < 200 {
        format!("{name}.tar.gz")
    } else {
        format!("{}.tar.gz", volume.volume)
    }
}

#[cfg(test)]
mod tests;
