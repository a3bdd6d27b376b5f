//! The front door of a deployment: a compose file, lowered to what is signed and what is sealed.
//!
//! A deploy file is a compose file; Allod's own keys stand under `x-allod`. Nothing beyond this
//! module parses YAML. The path is: text → [`node`] tree ([`yaml`]) → variables replaced
//! ([`interpolate`]) → `extends` merged ([`extends`]) → services lowered ([`service`]) → the whole
//! app checked. All problems of a file are gathered and told together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use allod_node::manifest::Manifest;
use allod_state::Label;
use allod_state::app::Demand;

pub mod defaults;
pub mod limits;

mod app;
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
mod interpolate;
mod mounts;
mod name;
mod network;
mod node;
mod ports;
mod probe;
mod process;
mod quantity;
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
use diagnostic::{Report, Source};
use extends::Library;
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
    report.sources.push(Source {
        name: input.file.to_string(),
        folder: input.folder.map(Path::to_path_buf),
        text: input.text.to_string(),
    });
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
    if let Some(at) = fields.take("include") {
        let message = "`include` is not supported by this version of Allod";
        let help = "bring the services into one file, or use `extends`";
        report.push(at.key_error(message).help(help));
    }
    fields.warn_rest(report);
    let Some(services) = services else {
        let help = "services: { web: { image: nginx:alpine } }";
        report.push(root.error("the file has no `services`").help(help));
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
    };
    let halves = lower_services(&services, &nodes, app, report);
    check::size(&halves.0, &services, report);
    Some(halves)
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
    check::services(services, nodes, &lowered, report);
    let (mut services, mut demands) = (BTreeMap::new(), BTreeMap::new());
    for (name, (service, demand)) in lowered {
        services.insert(name.clone(), service);
        demands.insert(name, demand);
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
