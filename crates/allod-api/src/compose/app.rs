//! The top level of a deploy file: its name, volumes and networks, and which services take part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use allod_node::manifest::{Condition, Volume};
use allod_state::limits::SERVICES_PER_APP_MAX;

use super::diagnostic::{Report, Source};
use super::extends::Library;
use super::interpolate::Variables;
use super::limits::MERGED_BYTES_MAX;
use super::node::{At, Node, Value};
use super::{Input, defaults, dotenv, extension, file, limits, name, service, yaml};

/// The caller's environment over `.env`.
pub(crate) fn variables(input: &Input<'_>, report: &mut Report) -> Variables {
    let mut variables = Variables::new();
    let path = input.folder.map(|folder| folder.join(".env"));
    if let Some(path) = path.filter(|path| path.is_file()) {
        let text = file::read(&path, limits::FILE_BYTES_MAX).map(String::from_utf8);
        if let Ok(Ok(text)) = text {
            let folder = input.folder.map(Path::to_path_buf);
            report.sources.push(Source {
                name: ".env".into(),
                folder,
                text,
            });
            let index = report.sources.len().saturating_sub(1);
            let pairs = dotenv::parse(index, input.variables, report);
            variables.extend(
                pairs
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        }
    }
    variables.extend(input.variables.clone());
    variables
}

/// The app's name: the caller's, that of the file, or that of the folder.
pub(crate) fn name(
    input: &Input<'_>,
    root: &At<'_>,
    at: Option<&At<'_>>,
    report: &mut Report,
) -> String {
    let written = at.and_then(|at| at.text(report));
    let folder = input.folder.and_then(|folder| folder.canonicalize().ok());
    let folder = folder.as_deref().and_then(Path::file_name);
    let folder = folder.and_then(|name| name.to_str());
    let wanted = input.name.or(written).or(folder).unwrap_or("app");
    let name = name::dns_label(wanted);
    let place = at.unwrap_or(root);
    match &name {
        Some(name) if input.name.is_none() && written.is_some_and(|written| written != name) => {
            let message = format!("the app is named `{name}`, as host names allow it");
            report.push(place.warning(message));
        }
        None if input.name.or(written).is_some() => {
            let message = format!("`{wanted}` is not a name for an app");
            let help = "use lower-case letters, digits and dashes";
            report.push(place.error(message).help(help));
        }
        _ => {}
    }
    name.unwrap_or_else(|| "app".to_string())
}

/// The volumes that the app declares.
pub(crate) fn volumes(at: &At<'_>, report: &mut Report) -> BTreeMap<String, Volume> {
    let mut volumes = BTreeMap::new();
    for at in at.entries(report) {
        let mut volume = Volume {
            bytes: defaults::VOLUME_BYTES,
            labels: BTreeMap::new(),
        };
        if !name::is_plain(&at.name) {
            let message = format!("`{}` is not a name for a volume", at.name);
            let help =
                "use letters, digits, dashes and underscores, and begin with a letter or digit";
            report.push(at.key_error(message).help(help));
            continue;
        }
        if !matches!(at.node.value, Value::Null) {
            let mut fields = at.fields(report);
            if let Some(driver) = fields.take("driver")
                && driver.text(report).is_some_and(|text| text != "local")
            {
                let message = "only local volumes are supported";
                report.push(driver.error(message).help("leave `driver` out"));
            }
            if let Some(options) = fields.take("driver_opts") {
                let message = "`driver_opts` would mount something of the machine";
                report.push(
                    options
                        .key_error(message)
                        .help("leave it out; the size goes under `x-allod`"),
                );
            }
            if let Some(labels) = fields.take("labels") {
                let pairs = labels.pairs(report).into_iter();
                volume.labels = pairs
                    .map(|(name, value, _)| (name, value.unwrap_or_default()))
                    .collect();
            }
            let size = fields
                .take("x-allod")
                .and_then(|at| extension::of_volume(&at, report));
            volume.bytes = size.unwrap_or(volume.bytes);
            fields.warn_rest(report);
        }
        volumes.insert(at.name.clone(), volume);
    }
    volumes
}

/// The services of an app share one network, so that nothing of several is left but a warning.
pub(crate) fn networks(at: &At<'_>, report: &mut Report) {
    let networks = at.entries(report);
    if let Some(second) = networks.get(1) {
        let message = "the services of an app share one network: those of different ones meet too";
        report.push(
            second
                .key_warning(message)
                .help("put what must be apart into apps of its own"),
        );
    }
    for network in networks {
        for (key, message) in [
            (
                "internal",
                "an `internal` network is not kept from the outside on Allod",
            ),
            (
                "external",
                "an `external` network is left out: the app has its own",
            ),
        ] {
            if let Some(value) = network.node.get(key) {
                let at = At::named(value, &format!("{}.{key}", network.path));
                if !matches!(&value.value, Value::Text(text) if text == "false") {
                    report.push(at.warning(message));
                }
            }
        }
    }
}

/// The services to deploy, everything they extend merged in, the inactive ones left out.
pub(crate) fn resolved(
    services: &At<'_>,
    input: &Input<'_>,
    library: &mut Library<'_>,
    report: &mut Report,
) -> BTreeMap<String, Node> {
    let entries = services.entries(report);
    let mut nodes = BTreeMap::new();
    let mut merged_bytes = 0_usize;
    if entries.len() > SERVICES_PER_APP_MAX {
        let message = format!("an app has at most {SERVICES_PER_APP_MAX} services");
        report.push(
            services
                .key_error(message)
                .help("split it into several apps"),
        );
        return nodes;
    }
    if entries.is_empty() {
        let help = "services: { web: { image: nginx:alpine } }";
        let message = "there is no service in `services`";
        report.push(services.key_error(message).help(help));
    }
    let mut active = input.profiles.clone();
    let listed = library
        .variables
        .get("COMPOSE_PROFILES")
        .map(String::as_str)
        .unwrap_or_default();
    active.extend(listed.split(',').map(|profile| profile.trim().to_string()));
    for at in entries {
        if !name::is_plain(&at.name) {
            let message = format!("`{}` is not a name for a service", at.name);
            report.push(
                at.key_error(message)
                    .help("use letters, digits, dashes and underscores"),
            );
            continue;
        }
        if let Value::Null = at.node.value {
            let message = format!("the service `{}` is empty", at.name);
            let help = "name the image to run below it: `image: nginx:alpine`";
            report.push(at.key_error(message).help(help));
            continue;
        }
        if !matches!(at.node.value, Value::Map(_)) {
            at.fields(report);
            continue;
        }
        let Some(node) = library.resolve(0, &at.name, report) else {
            continue;
        };
        merged_bytes = merged_bytes.saturating_add(yaml::size(&node).1);
        if merged_bytes > MERGED_BYTES_MAX {
            let message = "the services grow too large here, what they extend merged into them";
            let help = "bring large texts along as files, and extend less";
            report.push(at.key_error(message).help(help));
            return BTreeMap::new();
        }
        let profiles = node
            .get("profiles")
            .map(|node| At::named(node, &format!("{}.profiles", at.path)));
        let profiles = profiles.map(|at| at.texts(report)).unwrap_or_default();
        let is_wanted = |profile: &String| profile == "*" || active.contains(profile);
        if profiles.is_empty() || active.contains("*") || profiles.iter().any(is_wanted) {
            nodes.insert(at.name.clone(), node);
        }
    }
    nodes
}

/// The services of which another one awaits the end. Problems are told where they are lowered.
pub(crate) fn awaited(nodes: &BTreeMap<String, Node>) -> BTreeSet<String> {
    let mut unheard = Report::default();
    let mut awaited = BTreeSet::new();
    for node in nodes.values().filter_map(|node| node.get("depends_on")) {
        for dependency in service::dependencies(&At::named(node, "depends_on"), &mut unheard) {
            if dependency.condition == Condition::Completed {
                awaited.insert(dependency.name);
            }
        }
    }
    awaited
}
