//! The names and ports of a service.

use std::net::IpAddr;

use allod_node::manifest::Service;

use super::diagnostic::Report;
use super::node::{At, Fields, Value};
use super::{name, ports};

/// Takes the keys of the network.
pub(crate) fn take(
    service: &mut Service,
    at: &At<'_>,
    fields: &mut Fields<'_>,
    report: &mut Report,
) {
    if let Some(at) = fields.take("ports") {
        service.ports = ports::published(&at, report);
    }
    if let Some(at) = fields.take("expose") {
        ports::exposed(&at, &mut service.ports, report);
    }
    let hostname = fields.take("hostname");
    service.hostname = hostname.and_then(|at| at.read(report, hostname_of));
    let is_hostname = hostname_of(&at.name).is_ok() && at.name.len() <= 58;
    if service.hostname.is_none() && !is_hostname {
        // The service's own name cannot stand for it, as in `my_service`.
        service.hostname = name::dns_label(&at.name);
    }
    if let Some(at) = fields.take("container_name") {
        service.aliases.extend(at.read(report, host));
    }
    if let Some(at) = fields
        .take("networks")
        .filter(|at| matches!(at.node.value, Value::Map(_)))
    {
        for network in at.entries(report) {
            if let Value::Null = network.node.value {
                continue;
            }
            let mut fields = network.fields(report);
            if let Some(aliases) = fields.take("aliases") {
                let items = aliases.items(report);
                service
                    .aliases
                    .extend(items.iter().filter_map(|at| at.read(report, host)));
            }
            fields.warn_rest(report);
        }
    }
    if let Some(at) = fields.take("extra_hosts") {
        extra_hosts(service, &at, report);
    }
}

fn hostname_of(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let is_sound = lower.len() <= 63 && name::is_host(&lower);
    let wrong =
        || format!("`{text}` is not a host name: use letters, digits and dashes, at most 63");
    if is_sound { Ok(lower) } else { Err(wrong()) }
}

pub(crate) fn host(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let is_sound = lower.split('.').all(name::is_plain);
    if is_sound {
        Ok(lower)
    } else {
        Err(format!(
            "`{text}` is not a host name: use letters, digits, dashes and dots"
        ))
    }
}

fn extra_hosts(service: &mut Service, at: &At<'_>, report: &mut Report) {
    for (name, value, at) in at.pairs(report) {
        let (name, value) = match (&value, name.split_once(':')) {
            (None, Some((name, value))) => (name.to_string(), Some(value.to_string())),
            _ => (name, value),
        };
        let value = value.unwrap_or_default();
        if value == "host-gateway" {
            let message = "`host-gateway` would lead the service to the machine it runs on";
            report.push(
                at.error(message)
                    .help("run what it needs as a service of the app"),
            );
            continue;
        }
        let bare = value.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => {
                service.extra_hosts.insert(name, address);
            }
            Err(_) => {
                let message = format!("`{value}` is not an IP address");
                report.push(at.error(message).help("write it as name=192.0.2.1"));
            }
        }
    }
}
