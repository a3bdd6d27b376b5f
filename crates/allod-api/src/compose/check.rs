//! What only shows when the whole app is known.

use std::collections::{BTreeMap, BTreeSet};

use allod_node::manifest::{self, Condition, Manifest, Service};

use super::demand::ServiceDemand;
use super::diagnostic::Report;
use super::name;
use super::node::{At, Node};
use super::service;

/// What only shows when all services are known.
pub(crate) fn services(
    entries: &At<'_>,
    nodes: &BTreeMap<String, Node>,
    halves: &BTreeMap<String, (Service, ServiceDemand)>,
    report: &mut Report,
) {
    let mut labels = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    let mut outside = BTreeMap::new();
    let mut holders = BTreeMap::new();
    for at in entries.entries(report) {
        let (Some(node), Some((service, _))) = (nodes.get(&at.name), halves.get(&at.name)) else {
            continue;
        };
        let key_at = |key: &str| match node.get(key) {
            Some(node) => At::named(node, &format!("{}.{key}", at.path)),
            None => at.clone(),
        };
        if let Some(other) = labels.insert(name::dns_label(&at.name), at.name.clone()) {
            let message = format!("`{}` and `{other}` are the same host name", at.name);
            report.push(at.key_error(message).help("rename one of the two services"));
        }
        for host in &service.ingress {
            let key = (host.host.clone(), host.path.clone());
            if let Some(other) = hosts
                .insert(key, at.name.clone())
                .filter(|other| *other != at.name)
            {
                let message = format!("`{}` leads to `{other}` already", host.host);
                report.push(
                    key_at("x-allod")
                        .error(message)
                        .help("give each host to one service"),
                );
            }
        }
        for port in &service.ports {
            let Some(published) = port.published.filter(|published| published.port != 0) else {
                continue;
            };
            let key = (published.host_ip, published.port, port.protocol);
            if let Some(other) = outside.insert(key, at.name.clone()) {
                let message = format!(
                    "port {} of the machine is published twice, first by `{other}`",
                    published.port
                );
                report.push(
                    key_at("ports")
                        .error(message)
                        .help("publish it under another number"),
                );
            }
        }
        for mount in &service.mounts {
            let first = holders
                .entry(mount.volume.clone())
                .or_insert_with(|| at.name.clone());
            if *first != at.name {
                let volume = &mount.volume;
                let message = format!("`{first}` has the volume `{volume}` already");
                let help = "a volume belongs to one service, which may move with it: put both \
                            programs into one service, or what they share into the image or `configs:`";
                report.push(key_at("volumes").error(message).help(help));
            }
        }
        check_waits(node, &at, halves, report);
    }
}

/// Waiting must come to an end: not in a circle, and not for health that nothing measures.
fn check_waits(
    node: &Node,
    at: &At<'_>,
    halves: &BTreeMap<String, (Service, ServiceDemand)>,
    report: &mut Report,
) {
    let Some(waits) = node.get("depends_on") else {
        return;
    };
    let waits = At::named(waits, &format!("{}.depends_on", at.path));
    for dependency in service::dependencies(&waits, report) {
        let Some((other, _)) = halves.get(&dependency.name) else {
            continue;
        };
        let is_measured = other.readiness.is_some();
        if dependency.condition == Condition::Healthy && !is_measured {
            let message = format!(
                "`{}` has no health check, so it counts as healthy once it runs",
                dependency.name
            );
            report.push(
                dependency
                    .at
                    .warning(message)
                    .help("give it a `healthcheck`"),
            );
        }
        // Each member of a circle finds it; the first by name tells.
        let way = circle(&at.name, &dependency.name, halves);
        if let Some(way) = way.filter(|way| way.iter().all(|name| at.name.as_str() <= *name)) {
            let circle = way.join(" → ");
            let message = format!("services wait for one another in a circle: {circle}");
            report.push(
                dependency
                    .at
                    .error(message)
                    .help("take one of these `depends_on` out"),
            );
        }
    }
}

/// The way from `next` back to `start`, if there is one.
fn circle<'a>(
    start: &'a str,
    next: &'a str,
    halves: &'a BTreeMap<String, (Service, ServiceDemand)>,
) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start, next]];
    while let Some(way) = ways.pop() {
        let last = *way.last()?;
        if last == start {
            return Some(way);
        }
        if !seen.insert(last) {
            continue;
        }
        let Some((service, _)) = halves.get(last) else {
            continue;
        };
        for name in service.depends_on.keys() {
            ways.push(way.iter().copied().chain([name.as_str()]).collect());
        }
    }
    None
}

/// The sealed half must fit into what the law keeps beside the ledger.
pub(crate) fn size(manifest: &Manifest, services: &At<'_>, report: &mut Report) {
    let bytes = manifest.to_bytes().len();
    if bytes > manifest::BYTES_MAX {
        let message = format!(
            "the app has {bytes} bytes with its files, more than {}",
            manifest::BYTES_MAX
        );
        let help = "bring large files along in an image or a volume, not as configs or secrets";
        report.push(services.key_error(message).help(help));
    }
}
