//! An app of one service without a file, as `allod run nginx:alpine --port 80` asks for it.

use std::collections::BTreeMap;

use allod_node::manifest::{
    Hidden, Image, ImageSource, Ingress, Manifest, Port, Protocol, Service, Volume,
};
use allod_state::app::{Constraints, RestartPolicy, Update};
use allod_state::limits::REPLICAS_PER_SERVICE_MAX;
use allod_state::node::{Isolation, Resources};

use super::demand::ServiceDemand;
use super::diagnostic::{Diagnostic, Severity};
use super::node::split_next;
use super::{Lowered, defaults, deploy, extension, mounts, name, ports, probe, quantity, service};

/// What the flags of `allod run` say, as text.
#[derive(Clone, Debug, Default)]
pub struct Single {
    /// The image's reference, or the name of its archive.
    pub image: String,
    /// The digest of an image archive that the node already holds; `None` for a registry's image.
    pub archive_digest: Option<String>,
    /// The app's name, which is also its service's; after the image where it is not given.
    pub name: Option<String>,
    /// Ports as compose writes them: `80`, `8080:80`, `53/udp`.
    pub ports: Vec<String>,
    /// Variables as `NAME=value`.
    pub env: Vec<String>,
    /// Volumes as `name:/path`.
    pub volumes: Vec<String>,
    /// Replaces the image's command, where it is not empty.
    pub command: Vec<String>,
    /// How many replicas.
    pub replicas: Option<u32>,
    /// Whether two of it never run at once.
    pub is_exclusive: bool,
    /// CPUs of each, as `0.5`.
    pub cpus: Option<String>,
    /// Memory of each, as `512m`.
    pub memory: Option<String>,
    /// Scratch space of each, as `2g`.
    pub storage: Option<String>,
}

/// Lowers what the flags say, or says everything that is wrong with them.
pub fn single(asked: &Single) -> Result<Lowered, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let image = image(asked, &mut problems);
    let wanted = asked.name.clone().or_else(|| name::of_image(&asked.image));
    let app = wanted.as_deref().and_then(name::dns_label);
    if app.is_none() {
        let help = "use lower-case letters, digits and dashes: --name web";
        problems.push("--name", "the app has no usable name".into(), Some(help));
    }
    let app = app.unwrap_or_default();
    let mut service = defaults::service(image);
    service.command = (!asked.command.is_empty()).then(|| asked.command.clone());
    for text in &asked.ports {
        service.ports.extend(
            problems
                .read("--port", text, ports::short)
                .unwrap_or_default(),
        );
    }
    for text in &asked.env {
        if let Some((name, value)) = problems.read("--env", text, pair) {
            service.env.insert(name, Hidden(value));
        }
    }
    let mut volumes = BTreeMap::new();
    for text in &asked.volumes {
        if let Some(mount) = problems.read("--volume", text, mount) {
            volumes.insert(mount.volume.clone(), defaults::VOLUME_BYTES);
            service.mounts.push(mount);
        }
    }
    let is_reachable = |port: &&Port| port.protocol == Protocol::Tcp;
    let first = service
        .ports
        .iter()
        .find(is_reachable)
        .map(|port| port.container);
    let host = format!("{app}.{}", defaults::ZONE);
    service.ingress = first
        .map(|port| Ingress {
            host,
            port,
            path: "/".into(),
        })
        .into_iter()
        .collect();
    service.readiness = probe::listening(&service.ports);
    let demand = demand(asked, &service, volumes.clone(), &mut problems);
    if !problems.found.is_empty() {
        return Err(problems.found);
    }
    let volume = |bytes| Volume {
        bytes,
        labels: BTreeMap::new(),
    };
    Ok(Lowered {
        manifest: Manifest {
            app: app.clone(),
            services: BTreeMap::from([(app.clone(), service)]),
            volumes: volumes
                .into_iter()
                .map(|(name, bytes)| (name, volume(bytes)))
                .collect(),
        },
        demands: BTreeMap::from([(app, demand)]),
        warnings: Vec::new(),
    })
}

fn image(asked: &Single, problems: &mut Problems) -> Image {
    let reference = asked.image.clone();
    if let Some(digest) = &asked.archive_digest {
        let digest = Some(digest.clone());
        return Image {
            reference,
            digest,
            source: ImageSource::Archive,
        };
    }
    let digest = problems
        .read("IMAGE", &asked.image, name::image_digest)
        .flatten();
    Image {
        reference,
        digest,
        source: ImageSource::Registry,
    }
}

fn demand(
    asked: &Single,
    service: &Service,
    volumes: BTreeMap<String, u64>,
    problems: &mut Problems,
) -> ServiceDemand {
    let mut size =
        |flag: &str, text: &Option<String>, read: fn(&str) -> Result<u64, String>, default| {
            let text = text.as_deref();
            text.and_then(|text| problems.read(flag, text, read))
                .unwrap_or(default)
        };
    let resources = Resources {
        cpu_milli: size(
            "--cpus",
            &asked.cpus,
            quantity::cpu_milli,
            defaults::CPU_MILLI,
        ),
        memory_bytes: size(
            "--memory",
            &asked.memory,
            deploy::memory,
            defaults::MEMORY_BYTES,
        ),
        storage_bytes: size(
            "--storage",
            &asked.storage,
            extension::storage,
            defaults::STORAGE_BYTES,
        ),
    };
    let replicas = asked.replicas.unwrap_or(defaults::REPLICAS);
    if replicas > REPLICAS_PER_SERVICE_MAX {
        let message = format!("{replicas} replicas are more than {REPLICAS_PER_SERVICE_MAX}");
        problems.push("--replicas", message, Some("run fewer, or several apps"));
    }
    if replicas > 1 && !volumes.is_empty() {
        let message = format!("{replicas} replicas would write to the same volume");
        problems.push(
            "--replicas",
            message,
            Some("a service with volumes runs one replica"),
        );
    } else if replicas > 1 && asked.is_exclusive {
        let (message, help) = service::too_many_exclusive(replicas, "--exclusive");
        problems.push("--replicas", message, Some(&help));
    }
    let update = if asked.is_exclusive {
        Update::Exclusive
    } else if volumes.is_empty() {
        Update::StartFirst
    } else {
        Update::StopFirst
    };
    ServiceDemand {
        replicas,
        resources,
        isolation: Isolation::Container,
        ports: service::public_ports(service),
        volumes,
        constraints: Constraints::default(),
        update,
        restart: RestartPolicy::Always,
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(format!(
            "`{text}` is not a variable: write it as NAME=value"
        )),
    }
}

fn mount(text: &str) -> Result<allod_node::manifest::Mount, String> {
    let wrong = || format!("`{text}` is not a volume: write it as name:/path");
    let (volume, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (target, read_only) = match rest.strip_suffix(":ro") {
        Some(target) => (target, true),
        None => (rest, false),
    };
    if volume.starts_with(['/', '.', '~']) {
        return Err(format!(
            "`{volume}` is a folder of the host, which is refused: name a volume instead"
        ));
    }
    if !name::is_plain(volume) || target.contains(':') {
        return Err(wrong());
    }
    let (volume, target) = (volume.to_string(), mounts::target(target)?);
    Ok(allod_node::manifest::Mount {
        volume,
        target,
        read_only,
    })
}

#[derive(Default)]
struct Problems {
    found: Vec<Diagnostic>,
}

impl Problems {
    fn push(&mut self, flag: &str, message: String, help: Option<&str>) {
        self.found.push(Diagnostic {
            severity: Severity::Error,
            file: "command line".into(),
            line: 0,
            column: 0,
            length: 0,
            key: flag.to_string(),
            message,
            help: help.map(str::to_string),
            source_line: String::new(),
        });
    }

    fn read<T>(
        &mut self,
        flag: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text)
            .map_err(|message| {
                let (wrong, next) = split_next(&message);
                self.push(flag, wrong.to_owned(), next);
            })
            .ok()
    }
}
