//! Health and readiness: `healthcheck`, and `ready` under `x-allod`.

use allod_node::manifest::{Check, Port, Probe, Protocol};

use super::defaults;
use super::diagnostic::Report;
use super::node::{At, Value};
use super::quantity;

/// Reads `healthcheck`. `None` where it is switched off.
pub(crate) fn health(at: &At<'_>, report: &mut Report) -> Option<Health> {
    let mut fields = at.fields(report);
    let disabled = fields
        .take("disable")
        .and_then(|at| at.truth(report))
        .unwrap_or(false);
    let test = fields.take("test");
    let mut time = |key: &str, default: u64| {
        let at = fields.take(key);
        at.and_then(|at| at.read(report, quantity::duration_ms))
            .unwrap_or(default)
    };
    let interval_ms = time("interval", defaults::HEALTH_INTERVAL_MS);
    let timeout_ms = time("timeout", defaults::HEALTH_TIMEOUT_MS);
    let start_period_ms = time("start_period", 0);
    let start_interval_ms = time("start_interval", defaults::READY_INTERVAL_MS);
    let retries = fields
        .take("retries")
        .and_then(|at| at.number(report, 1, 1_000));
    fields.warn_rest(report);
    let Some(test) = test else {
        if !disabled {
            let message = "a `healthcheck` needs a `test`";
            report.push(
                at.key_error(message)
                    .help("test: [\"CMD\", \"program\", \"argument\"]"),
            );
        }
        return None;
    };
    let argv = argv(&test, report)?;
    let retries = retries.unwrap_or(defaults::HEALTH_RETRIES);
    if argv.is_empty() || disabled {
        return None;
    }
    let probe = Probe {
        check: Check::Exec { argv },
        interval_ms: interval_ms.max(1),
        timeout_ms: timeout_ms.max(1),
        retries,
        start_period_ms,
        within_ms: defaults::READY_WITHIN_MS.max(start_period_ms.saturating_add(interval_ms)),
    };
    Some(Health {
        probe,
        start_interval_ms,
    })
}

/// A health check, and the shorter pause between checks while a replica starts.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) probe: Probe,
    start_interval_ms: u64,
}

impl Health {
    /// The same question as a readiness probe, asked more often, because a start waits for it.
    pub(crate) fn readiness(&self) -> Probe {
        let interval_ms = self.start_interval_ms.clamp(1, self.probe.interval_ms);
        Probe {
            interval_ms,
            ..self.probe.clone()
        }
    }
}

/// The readiness of a service that says nothing of it: its first TCP port accepts a connection.
pub(crate) fn listening(ports: &[Port]) -> Option<Probe> {
    let is_reachable = |port: &&Port| port.protocol == Protocol::Tcp && port.published.is_some();
    let port = ports.iter().find(is_reachable)?.container;
    Some(ready_probe(Check::Tcp { port }))
}

fn ready_probe(check: Check) -> Probe {
    Probe {
        check,
        interval_ms: defaults::READY_INTERVAL_MS,
        timeout_ms: defaults::READY_TIMEOUT_MS,
        retries: defaults::READY_RETRIES,
        start_period_ms: 0,
        within_ms: defaults::READY_WITHIN_MS,
    }
}

/// Reads `ready` under `x-allod`.
pub(crate) fn ready(at: &At<'_>, report: &mut Report) -> Option<Probe> {
    let mut fields = at.fields(report);
    let asked = (fields.take("http"), fields.take("tcp"), fields.take("exec"));
    let mut time = |key: &str| {
        let at = fields.take(key);
        at.and_then(|at| at.read(report, quantity::duration_ms))
    };
    let (interval, timeout, within) = (time("interval"), time("timeout"), time("within"));
    let retries = fields
        .take("retries")
        .and_then(|at| at.number(report, 1, 1_000));
    let known = [
        "http", "tcp", "exec", "interval", "timeout", "within", "retries",
    ];
    super::extension::refuse_rest(fields, &known, report);
    let check = match asked {
        (Some(http), None, None) => http_check(&http, report)?,
        (None, Some(tcp), None) => Check::Tcp {
            port: port(&tcp, report)?,
        },
        (None, None, Some(exec)) => {
            let argv = argv(&exec, report)?;
            if argv.is_empty() {
                let message = "`exec` needs a program";
                report.push(
                    exec.error(message)
                        .help("ready: { exec: [\"pg_isready\"] }"),
                );
                return None;
            }
            Check::Exec { argv }
        }
        _ => {
            let message = "`ready` has one of `http`, `tcp` and `exec`";
            report.push(
                at.key_error(message)
                    .help("ready: { http: { path: /healthz, port: 80 } }"),
            );
            return None;
        }
    };
    let mut probe = ready_probe(check);
    probe.interval_ms = interval.unwrap_or(probe.interval_ms).max(1);
    probe.timeout_ms = timeout.unwrap_or(probe.timeout_ms).max(1);
    probe.within_ms = within.unwrap_or(probe.within_ms).max(1);
    probe.retries = retries.unwrap_or(probe.retries);
    Some(probe)
}

fn http_check(at: &At<'_>, report: &mut Report) -> Option<Check> {
    let mut fields = at.fields(report);
    let path = fields.take("path").map(|at| {
        let checked =
            |text: &str| match text.starts_with('/') && !text.contains(char::is_whitespace) {
                true => Ok(text.to_string()),
                false => Err(format!("`{text}` is not a path: write it with a leading /")),
            };
        at.read(report, checked)
    });
    let port_at = fields.take("port");
    super::extension::refuse_rest(fields, &["path", "port"], report);
    let Some(port_at) = port_at else {
        let message = "`http` needs the `port` inside the container";
        let help = "ready: { http: { path: /healthz, port: 80 } }";
        report.push(at.key_error(message).help(help));
        return None;
    };
    let port = port(&port_at, report)?;
    Some(Check::Http {
        path: path.unwrap_or(Some("/".into()))?,
        port,
    })
}

fn port(at: &At<'_>, report: &mut Report) -> Option<u16> {
    let port = at.number(report, 1, u32::from(u16::MAX))?;
    u16::try_from(port).ok()
}

/// A command of compose's kinds: a shell line, or a list that may start with `CMD`, `CMD-SHELL` or
/// `NONE`. `NONE` gives an empty one.
fn argv(at: &At<'_>, report: &mut Report) -> Option<Vec<String>> {
    let shell = |line: String| vec!["/bin/sh".to_string(), "-c".to_string(), line];
    let Value::List(_) = at.node.value else {
        return at.text(report).map(|line| shell(line.to_string()));
    };
    let mut words = at.texts(report).into_iter();
    let rest: Vec<String> = match words.next().as_deref() {
        Some("NONE") => return Some(Vec::new()),
        Some("CMD") => words.collect(),
        Some("CMD-SHELL") => return Some(shell(words.collect::<Vec<_>>().join(" "))),
        Some(first) => std::iter::once(first.to_string()).chain(words).collect(),
        None => Vec::new(),
    };
    if rest.is_empty() {
        report.push(
            at.error("the command is empty")
                .help("[\"CMD\", \"program\", \"argument\"]"),
        );
        return None;
    }
    Some(rest)
}
