//! The front door of a deployment: a compose file, lowered to what is signed and what is sealed.
//!
//! A deploy file is a compose file; Allod's own keys stand under `x-allod`. Nothing beyond this
//! module parses YAML. The path is: text → [`node`] tree ([`yaml`]) → variables replaced
//! ([`interpolate`]) → `extends` merged ([`extends`]) → services lowered ([`service`]) → the whole
//! app checked. All problems of a file are gathered and told together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use allod_node::manifest::{Manifest, Service};
use allod_state::Label;
use allod_state::app::Demand;

pub mod defaults;
pub mod limits;

mod app;
mod binds;
mod check;
mod content;
mod demand;
mod deploy;
mod diagnostic;
mod dotenv;
mod environment;
mod extends;
mod extension;
mod file;
mod find;
mod fit;
mod include;
mod interpolate;
mod mounts;
mod name;
mod network;
mod node;
mod on;
mod ports;
mod probe;
mod process;
pub(crate) mod quantity;
mod security;
mod service;
mod single;
mod yaml;

#[cfg(test)]
mod tests;

pub use demand::ServiceDemand;
pub use diagnostic::{Diagnostic, Severity};
pub use dotenv::env_file;
pub use find::{FILE_NAMES, lookup};
pub use single::{Single, single};

use content::{Declared, Kind};
use diagnostic::{Problem, Report, Source};
use extends::Library;
use limits::FILE_BYTES_MAX;
use node::{At, Node};
use service::App;

/// A deploy file and what it is read with.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The text.
    pub text: &'a str,
    /// The name of the file, as problems show it.
    pub file: &'a str,
    /// The folder that its paths start from, and that holds `.env`. `None` where the text came
    /// without one, from a browser for instance: then no file is read at all.
    pub folder: Option<&'a Path>,
    /// The caller's environment, for `${VARIABLES}`; it wins over `.env`.
    pub variables: &'a BTreeMap<String, String>,
    /// The profiles to activate, besides those in `COMPOSE_PROFILES`.
    pub profiles: &'a BTreeSet<String>,
    /// The app's name, where the caller gives one; it wins over that of the file.
    pub name: Option<&'a str>,
}

/// A deploy file in the form in which it is signed and sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// The private half, to be sealed once the tags of its images are resolved.
    pub manifest: Manifest,
    /// The public half of each service, by the service's name.
    pub demands: BTreeMap<String, ServiceDemand>,
    /// What had no effect, or may surprise.
    pub warnings: Vec<Diagnostic>,
}

impl Lowered {
    /// The public half of the app as the law takes it, every name blinded in the scope of its label.
    pub fn blinded(&self, app: &Label) -> BTreeMap<Label, Demand> {
        let blind = |(name, demand): (&String, &ServiceDemand)| {
            (allod_node::service_label(app, name), demand.blinded(app))
        };
        self.demands.iter().map(blind).collect()
    }
}

/// Lowers a deploy file, or says everything that is wrong with it.
pub fn lower(input: &Input<'_>) -> Result<Lowered, Vec<Diagnostic>> {
    let mut report = Report::default();
    // A text that is not read is not copied either; its first line shows where it is refused.
    let is_read = u64::try_from(input.text.len()).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX);
    let text = match is_read {
        true => input.text,
        false => yaml::shown(input.text),
    };
    report.sources.push(Source {
        name: input.file.to_string(),
        folder: input.folder.map(Path::to_path_buf),
        text: text.to_string(),
    });
    if !is_read {
        yaml::refuse_length(0, input.text.len(), &mut report);
        return Err(report.into_diagnostics());
    }
    let lowered = lower_into(input, &mut report);
    let has_errors = report.has_errors();
    let diagnostics = report.into_diagnostics();
    match lowered {
        Some((manifest, demands)) if !has_errors => Ok(Lowered {
            manifest,
            demands,
            warnings: diagnostics,
        }),
        _ => Err(diagnostics),
    }
}

type Halves = (Manifest, BTreeMap<String, ServiceDemand>);

fn lower_into(input: &Input<'_>, report: &mut Report) -> Option<Halves> {
    let mut root = yaml::parse(0, report)?;
    let variables = app::variables(input, report);
    interpolate::interpolate(&mut root, &variables, report);
    include::bring_in(&mut root, &variables, report);
    let mut library = Library::new(&variables, root.clone());
    let root = At::root(&root);
    let mut fields = root.fields(report);
    let name = app::name(input, &root, fields.take("name").as_ref(), report);
    fields.take("version");
    let services = fields.take("services");
    let extension = fields.take("x-allod");
    let constraints = extension.map(|at| extension::of_app(&at, report));
    let volumes = fields.take("volumes").map(|at| app::volumes(&at, report));
    let secrets = Declared::new(Kind::Secret, fields.take("secrets"), report);
    let configs = Declared::new(Kind::Config, fields.take("configs"), report);
    if let Some(at) = fields.take("networks") {
        app::networks(&at, report);
    }
    fields.warn_rest(report);
    let Some(services) = services else {
        report.push(no_services(&root));
        return None;
    };
    let nodes = app::resolved(&services, input, &mut library, report);
    let app = App {
        name,
        variables: &variables,
        constraints: constraints.unwrap_or_default(),
        volumes: volumes.unwrap_or_default(),
        secrets,
        configs,
        active: nodes.keys().cloned().collect(),
        awaited: app::awaited(&nodes),
        links: Vec::new(),
    };
    let halves = lower_services(&services, &nodes, app, report);
    check::size(&halves.0, &services, report);
    Some(halves)
}

/// A file without services: what it may be instead.
fn no_services(root: &At<'_>) -> Problem {
    let has = |key: &str| root.node.get(key).is_some();
    let help = if has("services") {
        "indent what belongs to `services:` by two spaces"
    } else if has("apiVersion") {
        "this looks like a manifest for Kubernetes; write a compose file: \
         services: { web: { image: nginx:alpine } }"
    } else {
        "services: { web: { image: nginx:alpine } }"
    };
    let message = match has("services") {
        true => "there is nothing in `services`",
        false => "the file has no `services`",
    };
    root.error(message).help(help)
}

fn lower_services(
    services: &At<'_>,
    nodes: &BTreeMap<String, Node>,
    mut app: App<'_>,
    report: &mut Report,
) -> Halves {
    let mut lowered = BTreeMap::new();
    for at in services.entries(report) {
        let Some(node) = nodes.get(&at.name) else {
            continue;
        };
        let own = At { node, ..at.clone() };
        let halves = service::lower(&own, &mut app, report);
        lowered.extend(halves.map(|halves| (at.name, halves)));
    }
    for (name, alias) in std::mem::take(&mut app.links) {
        let linked: Option<&mut (Service, ServiceDemand)> = lowered.get_mut(&name);
        linked.map(|(service, _)| service.aliases.insert(alias));
    }
    check::services(services, nodes, &lowered, report);
    let (mut services, mut demands) = (BTreeMap::new(), BTreeMap::new());
    for (name, (service, demand)) in lowered {
        services.insert(name.clone(), service);
        demands.insert(name, demand);
    }
    if demands.len() > 1 {
        // They speak with one another by the app's network, which does not reach other machines yet.
        let all = demands.values_mut();
        all.for_each(|demand| demand.constraints.is_together = true);
    }
    let mounts = || services.values().flat_map(|service| &service.mounts);
    let is_mounted = |name: &String| mounts().any(|mount| mount.volume == *name);
    app.volumes.retain(|name, _| is_mounted(name));
    let manifest = Manifest {
        app: app.name,
        services,
        volumes: app.volumes,
    };
    (manifest, demands)
}
