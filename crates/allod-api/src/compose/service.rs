//! One service of a deploy file, lowered into its sealed and its public half.

use std::collections::{BTreeMap, BTreeSet};

use allod_node::manifest::{Condition, Image, ImageSource, Ingress, Port, Protocol, Restart};
use allod_node::manifest::{Service, Volume};
use allod_state::app::{self, Constraints, Update};
use allod_state::limits::VOLUMES_PER_SERVICE_MAX;
use allod_state::node::{Isolation, Resources};

use super::content::Declared;
use super::defaults;
use super::demand::ServiceDemand;
use super::deploy::Deploy;
use super::diagnostic::Report;
use super::extension::{self, Extension};
use super::interpolate::Variables;
use super::node::{At, Fields, Value};
use super::{fit, mounts, name, network, probe, process, quantity, security};

/// What the services of one app share.
#[derive(Debug)]
pub(crate) struct App<'a> {
    pub(crate) name: String,
    pub(crate) variables: &'a Variables,
    pub(crate) constraints: Constraints,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) secrets: Declared<'a>,
    pub(crate) configs: Declared<'a>,
    /// The services that are part of the deployment.
    pub(crate) active: BTreeSet<String>,
    /// The services of which another one awaits the end.
    pub(crate) awaited: BTreeSet<String>,
    /// Further names that `links` give a service: the service, and the name.
    pub(crate) links: Vec<(String, String)>,
}

/// Lowers a service. `None` means that the report says why not.
pub(crate) fn lower(
    at: &At<'_>,
    app: &mut App<'_>,
    report: &mut Report,
) -> Option<(Service, ServiceDemand)> {
    let mut fields = at.fields(report);
    for done in ["profiles", "extends"] {
        fields.take(done);
    }
    let image = image(at, &mut fields, report);
    let deploy = Deploy::take(&mut fields, report);
    let own = fields.take("x-allod");
    let extension = extension::of_service(own.as_ref(), &app.constraints, report);
    security::refuse(&mut fields, report);

    let mut service = defaults::service(image.unwrap_or_else(|| Image {
        reference: String::new(),
        digest: None,
        source: ImageSource::Registry,
    }));
    process::take(&mut service, &mut fields, app.variables, report);
    isolation(&mut service, &mut fields, report);
    storage(&mut service, at, &mut fields, app, report);
    network::take(&mut service, at, &mut fields, report);
    service.depends_on = depends_on(&mut fields, app, report);
    links(&mut service, &mut fields, app, report);
    health(&mut service, &extension, &mut fields, report);
    service.pids_max = deploy.pids_max;
    service.restart = deploy
        .restart
        .unwrap_or(match app.awaited.contains(&at.name) {
            // Whoever waits for its end would wait forever if it were started again.
            true => Restart::OnFailure { retries_max: None },
            false => Restart::Always,
        });
    let storage_opt = fields.take("storage_opt").and_then(|at| {
        let mut fields = at.fields(report);
        fields
            .take("size")
            .and_then(|at| at.read(report, extension::storage))
    });
    fields.warn_rest(report);
    ingress(&mut service, at, app, &extension);
    check_replicas(at, &service, &deploy, extension.is_exclusive, report);
    fit::check(at, &service, report);
    let storage_bytes = extension.storage_bytes.or(storage_opt);
    let demand = demand(&service, &deploy, extension, storage_bytes, app);
    Some((service, demand))
}

fn image(at: &At<'_>, fields: &mut Fields<'_>, report: &mut Report) -> Option<Image> {
    let (image, build) = (fields.take("image"), fields.take("build"));
    if let Some(build) = build {
        let problem = match image {
            None => build.key_error("Allod does not build images"),
            Some(_) => build.key_warning("`build` is left out: the image must be in its registry"),
        };
        let help =
            "build and push it first (`docker compose build --push`), then name it in `image:`";
        report.push(problem.help(help));
        image.as_ref()?;
    }
    let Some(image) = image else {
        let message = format!("the service `{}` has no `image`", at.name);
        report.push(
            at.key_error(message)
                .help("name the image to run, such as nginx:alpine"),
        );
        return None;
    };
    image.read(report, |reference| {
        let digest = name::image_digest(reference)?;
        Ok(Image {
            reference: reference.to_string(),
            digest,
            source: ImageSource::Registry,
        })
    })
}

fn isolation(service: &mut Service, fields: &mut Fields<'_>, report: &mut Report) {
    let added = fields.take("cap_add");
    let added = added.map(|at| security::added(&at, report));
    let dropped = fields.take("cap_drop");
    let dropped = dropped.map(|at| security::dropped(&at, report));
    (service.cap_add, service.cap_drop) =
        security::capabilities(&added.unwrap_or_default(), &dropped.unwrap_or_default());
    service.read_only = fields
        .take("read_only")
        .and_then(|at| at.truth(report))
        .unwrap_or(false);
    service.shm_bytes = fields
        .take("shm_size")
        .and_then(|at| at.read(report, quantity::bytes));
}

fn storage(
    service: &mut Service,
    at: &At<'_>,
    fields: &mut Fields<'_>,
    app: &mut App<'_>,
    report: &mut Report,
) {
    if let Some(volumes) = fields.take("volumes") {
        let declared = |name: &str| app.volumes.contains_key(name);
        let found = mounts::volumes(&volumes, &at.name, &declared, report);
        for name in found.unnamed {
            let volume = Volume {
                bytes: defaults::VOLUME_BYTES,
                labels: BTreeMap::new(),
            };
            app.volumes.insert(name, volume);
        }
        service.files.extend(found.files);
        service.mounts = found.mounts;
        service.tmpfs = found.tmpfs;
        let names: BTreeSet<&str> = service
            .mounts
            .iter()
            .map(|mount| mount.volume.as_str())
            .collect();
        if names.len() > VOLUMES_PER_SERVICE_MAX {
            let message = format!("a service has at most {VOLUMES_PER_SERVICE_MAX} volumes");
            report.push(
                volumes
                    .key_error(message)
                    .help("put folders together in fewer volumes"),
            );
        }
    }
    if let Some(at) = fields.take("tmpfs") {
        service.tmpfs.extend(mounts::tmpfs(&at, report));
    }
    if let Some(at) = fields.take("secrets") {
        service
            .files
            .extend(app.secrets.taken(&at, app.variables, report));
    }
    if let Some(at) = fields.take("configs") {
        service
            .files
            .extend(app.configs.taken(&at, app.variables, report));
    }
}

fn depends_on(
    fields: &mut Fields<'_>,
    app: &App<'_>,
    report: &mut Report,
) -> BTreeMap<String, Condition> {
    let mut depends_on = BTreeMap::new();
    let Some(at) = fields.take("depends_on") else {
        return depends_on;
    };
    for dependency in dependencies(&at, report) {
        let Dependency {
            name,
            condition,
            is_required,
            at,
        } = dependency;
        if app.active.contains(&name) {
            depends_on.insert(name, condition);
        } else if is_required {
            let message = format!("it depends on `{name}`, which is not part of this deployment");
            let help = "check the name; if it has `profiles`, activate one with --profile";
            report.push(at.error(message).help(help));
        }
    }
    depends_on
}

/// `links`: the other service is started first, and may get another name.
fn links(service: &mut Service, fields: &mut Fields<'_>, app: &mut App<'_>, report: &mut Report) {
    let Some(at) = fields.take("links") else {
        return;
    };
    for item in at.items(report) {
        let Some(text) = item.text(report) else {
            continue;
        };
        let (name, alias) = match text.split_once(':') {
            Some((name, alias)) => (name, Some(alias)),
            None => (text, None),
        };
        if !app.active.contains(name) {
            let message = format!("it links to `{name}`, which is not part of this deployment");
            let help = "check the name; if it has `profiles`, activate one with --profile";
            report.push(item.error(message).help(help));
            continue;
        }
        let alias = alias.map(|alias| network::host(alias).map_err(|wrong| item.refused(&wrong)));
        match alias {
            Some(Ok(alias)) => app.links.push((name.to_string(), alias)),
            Some(Err(problem)) => report.push(problem),
            None => {}
        }
        let waits = service.depends_on.entry(name.to_string());
        waits.or_insert(Condition::Started);
    }
}

/// One entry of `depends_on`.
#[derive(Debug)]
pub(crate) struct Dependency<'a> {
    pub(crate) name: String,
    pub(crate) condition: Condition,
    is_required: bool,
    pub(crate) at: At<'a>,
}

/// Reads `depends_on`.
pub(crate) fn dependencies<'a>(at: &At<'a>, report: &mut Report) -> Vec<Dependency<'a>> {
    if let Value::List(_) = at.node.value {
        let started = |at: At<'a>, report: &mut Report| {
            let name = at.text(report)?.to_string();
            Some(Dependency {
                name,
                condition: Condition::Started,
                is_required: true,
                at,
            })
        };
        let items = at.items(report).into_iter();
        return items.filter_map(|at| started(at, report)).collect();
    }
    let mut found = Vec::new();
    for at in at.entries(report) {
        let (mut condition, mut is_required) = (None, None);
        if !matches!(at.node.value, Value::Null) {
            let mut fields = at.fields(report);
            condition = fields.take("condition").and_then(|at| {
                at.read(report, |text| match text {
                    "service_started" => Ok(Condition::Started),
                    "service_healthy" => Ok(Condition::Healthy),
                    "service_completed_successfully" => Ok(Condition::Completed),
                    _ => Err(format!(
                        "`{text}` is no condition: use service_started, service_healthy or \
                         service_completed_successfully"
                    )),
                })
            });
            is_required = fields.take("required").and_then(|at| at.truth(report));
            fields.take("restart");
            fields.warn_rest(report);
        }
        found.push(Dependency {
            name: at.name.clone(),
            condition: condition.unwrap_or(Condition::Started),
            is_required: is_required.unwrap_or(true),
            at,
        });
    }
    found
}

fn health(
    service: &mut Service,
    extension: &Extension,
    fields: &mut Fields<'_>,
    report: &mut Report,
) {
    let health = fields
        .take("healthcheck")
        .and_then(|at| probe::health(&at, report));
    let asked = health.as_ref().map(probe::Health::readiness);
    let said = extension.ready.clone().or(asked);
    service.readiness = said.or_else(|| probe::listening(&service.ports));
    service.liveness = health.map(|health| health.probe);
}

/// Host names: those asked for, or `<service>.<app>.localhost` for the first published TCP port.
fn ingress(service: &mut Service, at: &At<'_>, app: &App<'_>, extension: &Extension) {
    let is_published = |port: &&Port| port.protocol == Protocol::Tcp && port.published.is_some();
    let first = service
        .ports
        .iter()
        .find(is_published)
        .map(|port| port.container);
    service.ingress = match (&extension.ingress, first) {
        (Some(hosts), _) => hosts.clone(),
        (None, Some(port)) => {
            let label = name::dns_label(&at.name).into_iter();
            let host = label.map(|label| format!("{label}.{}.{}", app.name, defaults::ZONE));
            host.map(|host| Ingress {
                host,
                port,
                path: "/".into(),
            })
            .collect()
        }
        (None, None) => Vec::new(),
    };
    for host in &service.ingress {
        let is_declared =
            |port: &Port| port.container == host.port && port.protocol == Protocol::Tcp;
        if !service.ports.iter().any(is_declared) {
            let (container, protocol) = (host.port, Protocol::Tcp);
            service.ports.push(Port {
                container,
                protocol,
                published: None,
            });
        }
    }
}

/// What is wrong with several replicas of an exclusive service, and what to do; it is so by a key or flag of that name.
pub(crate) fn too_many_exclusive(replicas: u32, name: &str) -> (String, String) {
    let message = format!("{replicas} replicas of an exclusive service");
    (
        message,
        format!("ask for one replica, or leave `{name}` out"),
    )
}

fn check_replicas(
    at: &At<'_>,
    service: &Service,
    deploy: &Deploy,
    is_exclusive: bool,
    report: &mut Report,
) {
    let replicas = deploy.replicas.unwrap_or(defaults::REPLICAS);
    let of_replicas = || {
        let place = at
            .node
            .get("deploy")
            .and_then(|deploy| deploy.get("replicas"));
        let place = place.or_else(|| at.node.get("scale")).unwrap_or(at.node);
        At::named(place, &format!("{}.deploy.replicas", at.path))
    };
    if replicas > 1 && !service.mounts.is_empty() {
        let message = format!("{replicas} replicas would write to the same volume");
        let help = "a service with volumes runs one replica; keep its data in one service, and \
                    scale the others";
        report.push(of_replicas().error(message).help(help));
    } else if replicas > 1 && is_exclusive {
        let (message, help) = too_many_exclusive(replicas, "exclusive");
        report.push(of_replicas().error(message).help(help));
    }
    if deploy.update == Some(Update::StartFirst) && (is_exclusive || !service.mounts.is_empty()) {
        let place = at.node.get("deploy").unwrap_or(at.node);
        let place = At::named(place, &format!("{}.deploy.update_config.order", at.path));
        let message = if is_exclusive {
            "an exclusive service is replaced stop-first: two never run at once"
        } else {
            "a service with volumes is replaced stop-first: two never share a volume"
        };
        report.push(place.warning(message));
    }
}

fn demand(
    service: &Service,
    deploy: &Deploy,
    extension: Extension,
    storage_bytes: Option<u64>,
    app: &App<'_>,
) -> ServiceDemand {
    let mut constraints = extension.constraints;
    constraints.replicas_per_node_max = constraints
        .replicas_per_node_max
        .or(deploy.replicas_per_node_max);
    let volumes = service.mounts.iter().map(|mount| {
        let volume = app.volumes.get(&mount.volume);
        let bytes = volume.map_or(defaults::VOLUME_BYTES, |volume| volume.bytes);
        (mount.volume.clone(), bytes)
    });
    let volumes: BTreeMap<String, u64> = volumes.collect();
    let update = if extension.is_exclusive {
        Update::Exclusive
    } else if volumes.is_empty() {
        deploy.update.unwrap_or(Update::StartFirst)
    } else {
        Update::StopFirst
    };
    ServiceDemand {
        replicas: deploy.replicas.unwrap_or(defaults::REPLICAS),
        resources: Resources {
            cpu_milli: deploy.cpu_milli.unwrap_or(defaults::CPU_MILLI),
            memory_bytes: deploy.memory_bytes.unwrap_or(defaults::MEMORY_BYTES),
            storage_bytes: storage_bytes.unwrap_or(defaults::STORAGE_BYTES),
        },
        isolation: extension.isolation.unwrap_or(Isolation::Container),
        ports: public_ports(service),
        volumes,
        constraints,
        update,
        restart: match service.restart {
            Restart::Always => app::RestartPolicy::Always,
            Restart::OnFailure { .. } => app::RestartPolicy::OnFailure,
            Restart::Never => app::RestartPolicy::Never,
        },
    }
}

/// The ports as the law sees them: each once, and whether the ingress serves it.
pub(crate) fn public_ports(service: &Service) -> Vec<app::Port> {
    let mut seen = BTreeSet::new();
    let mut public = Vec::new();
    for port in &service.ports {
        if !seen.insert((port.container, port.protocol)) {
            continue;
        }
        let is_tcp = port.protocol == Protocol::Tcp;
        let is_public = is_tcp
            && service
                .ingress
                .iter()
                .any(|host| host.port == port.container);
        let protocol = match (is_tcp, is_public) {
            (true, true) => app::Protocol::Http,
            (true, false) => app::Protocol::Tcp,
            (false, _) => app::Protocol::Udp,
        };
        public.push(app::Port {
            number: port.container,
            protocol,
            is_public,
        });
    }
    public
}
