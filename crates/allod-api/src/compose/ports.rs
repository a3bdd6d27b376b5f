//! Ports: `ports` and `expose`, in both of their syntaxes.

use std::net::IpAddr;

use allod_node::manifest::{Port, Protocol, Published};
use allod_state::limits::PORTS_PER_SERVICE_MAX;

use super::diagnostic::Report;
use super::node::{At, Value};

#[cfg(test)]
mod tests;

/// The ports of `ports`, each reachable from the machine.
pub(crate) fn published(at: &At<'_>, report: &mut Report) -> Vec<Port> {
    let mut ports = Vec::new();
    for item in at.items(report) {
        let more = match item.node.value {
            Value::Map(_) => long(&item, report),
            _ => item.read(report, short),
        };
        if !add(&mut ports, more.unwrap_or_default(), &item, report) {
            break;
        }
    }
    ports
}

/// The ports of `expose`, which only the app's services reach.
pub(crate) fn exposed(at: &At<'_>, ports: &mut Vec<Port>, report: &mut Report) {
    for item in at.items(report) {
        let mut more = item.read(report, short).unwrap_or_default();
        more.retain(|port| {
            let is_same =
                |own: &Port| own.container == port.container && own.protocol == port.protocol;
            !ports.iter().any(is_same)
        });
        more.iter_mut().for_each(|port| port.published = None);
        if !add(ports, more, &item, report) {
            return;
        }
    }
}

/// Adds what is new; false once there are too many, which is told once.
fn add(ports: &mut Vec<Port>, more: Vec<Port>, at: &At<'_>, report: &mut Report) -> bool {
    for port in more {
        if ports.contains(&port) {
            continue;
        }
        if ports.len() >= PORTS_PER_SERVICE_MAX {
            let message = format!("a service has at most {PORTS_PER_SERVICE_MAX} ports");
            report.push(
                at.error(message)
                    .help("publish fewer, or spread them over services"),
            );
            return false;
        }
        ports.push(port);
    }
    true
}

/// Reads `[[address:]published:]container[/protocol]`; ranges such as `8000-8002` are spelled out.
pub(crate) fn short(text: &str) -> Result<Vec<Port>, String> {
    let wrong =
        || format!("`{text}` is not a port: write it as 80, 8080:80 or 127.0.0.1:8080:80/tcp");
    let (numbers, protocol) = match text.rsplit_once('/') {
        Some((numbers, protocol)) => (numbers, protocol_named(protocol)?),
        None => (text, Protocol::Tcp),
    };
    let (host, container) = match numbers.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, numbers),
    };
    let (address, outside) = match host.map(|host| host.rsplit_once(':').ok_or(host)) {
        None => (None, ""),
        Some(Err(outside)) => (None, outside),
        Some(Ok((address, outside))) => (Some(ip(address)?), outside),
    };
    let inside = range(container).ok_or_else(wrong)?;
    let count = inside.len();
    let outside = match outside {
        "" => vec![0; count],
        outside => range_from_zero(outside).ok_or_else(wrong)?,
    };
    if count > PORTS_PER_SERVICE_MAX {
        return Err(format!(
            "`{text}` is more than {PORTS_PER_SERVICE_MAX} ports: write a shorter range"
        ));
    }
    // A range of outer ports for one inner port means any of them.
    if outside.len() != count && count != 1 {
        return Err(format!(
            "`{text}` maps {} ports to {count}: write ranges of one length, as 8000-8001:80-81",
            outside.len()
        ));
    }
    let port = |(container, port)| Port {
        container,
        protocol,
        published: Some(Published {
            host_ip: address,
            port,
        }),
    };
    Ok(inside.into_iter().zip(outside).map(port).collect())
}

fn long(at: &At<'_>, report: &mut Report) -> Option<Vec<Port>> {
    let mut fields = at.fields(report);
    let Some(target) = fields.take("target") else {
        let message = "a port needs a `target`, the port inside the container";
        report.push(at.error(message).help("{ target: 80, published: 8080 }"));
        return None;
    };
    let container = target.number(report, 1, u32::from(u16::MAX))?;
    let outside = fields.take("published");
    let outside = outside.map_or(Some(0), |at| {
        at.read(report, |text| {
            let first = range_from_zero(text).and_then(|ports| ports.first().copied());
            first.ok_or_else(|| format!("`{text}` is not a port: write a number from 0 to 65535"))
        })
    })?;
    let address = fields
        .take("host_ip")
        .map_or(Some(None), |at| at.read(report, |text| ip(text).map(Some)));
    let protocol = fields.take("protocol");
    let protocol = protocol.map_or(Some(Protocol::Tcp), |at| at.read(report, protocol_named));
    for ignored in ["mode", "name", "app_protocol"] {
        fields.take(ignored);
    }
    fields.warn_rest(report);
    Some(vec![Port {
        container: u16::try_from(container).ok()?,
        protocol: protocol?,
        published: Some(Published {
            host_ip: address?,
            port: outside,
        }),
    }])
}

fn protocol_named(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(format!(
            "the protocol `{text}` is not supported: use tcp or udp"
        )),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .map_err(|_| format!("`{text}` is not an IP address: write it as 127.0.0.1:8080:80"))
}

fn range(text: &str) -> Option<Vec<u16>> {
    range_from_zero(text).filter(|ports| !ports.contains(&0))
}

fn range_from_zero(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let ports: Vec<u16> = (number(first)?..=number(last)?).collect();
    (!ports.is_empty()).then_some(ports)
}
