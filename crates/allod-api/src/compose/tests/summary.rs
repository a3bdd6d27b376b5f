//! What a deploy file became, in a few lines that a person can read through.

use std::fmt::Write;

use allod_node::manifest::{Check, Probe, Protocol, Service};

use crate::compose::{Lowered, ServiceDemand};

/// The whole app; only names of variables are told, and only lengths of files.
pub(super) fn of(lowered: &Lowered) -> String {
    let mut text = format!("app {}\n", lowered.manifest.app);
    for (name, service) in &lowered.manifest.services {
        of_service(&mut text, name, service, &lowered.demands[name]);
    }
    for (name, volume) in &lowered.manifest.volumes {
        writeln!(text, "volume {name} of {} MiB", volume.bytes >> 20).unwrap();
    }
    text
}

fn of_service(text: &mut String, name: &str, service: &Service, demand: &ServiceDemand) {
    let size = &demand.resources;
    writeln!(text, "service {name} of {}", service.image.reference).unwrap();
    writeln!(
        text,
        "  {} x {} milli-CPU, {} MiB, {} MiB of disk, {:?}, {:?}, restart {:?}",
        demand.replicas,
        size.cpu_milli,
        size.memory_bytes >> 20,
        size.storage_bytes >> 20,
        demand.isolation,
        demand.update,
        service.restart
    )
    .unwrap();
    let mut lines = process(service);
    lines.extend(network(service));
    lines.extend(storage(service));
    lines.extend(placement(demand));
    for (key, values) in lines.iter().filter(|(_, values)| !values.is_empty()) {
        writeln!(text, "  {key}: {}", values.join(", ")).unwrap();
    }
}

type Line = (&'static str, Vec<String>);

fn process(service: &Service) -> Vec<Line> {
    let words = |words: &Option<Vec<String>>| {
        let words = words.iter().flatten();
        words.map(|word| format!("{word:?}")).collect()
    };
    let grace = (service.stop_grace_ms != 10_000).then(|| format!("{} ms", service.stop_grace_ms));
    let added = service.cap_add.iter().map(|name| format!("+{name}"));
    let dropped = service.cap_drop.iter().map(|name| format!("-{name}"));
    let flags = [("read-only", service.read_only), ("init", service.init)];
    let flags = flags.iter().filter(|flag| flag.1);
    vec![
        ("entrypoint", words(&service.entrypoint)),
        ("command", words(&service.command)),
        ("variables", service.env.keys().cloned().collect()),
        (
            "user",
            service
                .user
                .iter()
                .chain(&service.working_dir)
                .cloned()
                .collect(),
        ),
        (
            "stop",
            service.stop_signal.iter().cloned().chain(grace).collect(),
        ),
        ("capabilities", added.chain(dropped).collect()),
        ("flags", flags.map(|flag| flag.0.to_string()).collect()),
        ("labels", service.labels.keys().cloned().collect()),
    ]
}

fn network(service: &Service) -> Vec<Line> {
    let hosts = service.ingress.iter();
    let waits = service.depends_on.iter();
    vec![
        ("ports", service.ports.iter().map(port).collect()),
        (
            "hosts",
            hosts
                .map(|host| format!("{}{} to {}", host.host, host.path, host.port))
                .collect(),
        ),
        (
            "names",
            service
                .hostname
                .iter()
                .chain(&service.aliases)
                .cloned()
                .collect(),
        ),
        ("ready", service.readiness.iter().map(probe).collect()),
        ("alive", service.liveness.iter().map(probe).collect()),
        (
            "waits for",
            waits
                .map(|(name, condition)| format!("{name} {condition:?}"))
                .collect(),
        ),
    ]
}

fn storage(service: &Service) -> Vec<Line> {
    let mounts = service.mounts.iter().map(|mount| {
        let way = if mount.read_only { " to read" } else { "" };
        format!("{} at {}{way}", mount.volume, mount.target)
    });
    let folders = service.tmpfs.iter();
    let files = service.files.iter().map(|file| {
        let kind = if file.is_secret { "secret" } else { "config" };
        let (target, length, mode) = (&file.target, file.bytes.len(), file.mode);
        format!(
            "{kind} {target} ({length} bytes, {mode:o}, {}:{})",
            file.uid, file.gid
        )
    });
    vec![
        ("volumes", mounts.collect()),
        (
            "memory folders",
            folders
                .map(|folder| format!("{} {:?} {:?}", folder.target, folder.bytes_max, folder.mode))
                .collect(),
        ),
        ("files", files.collect()),
    ]
}

fn placement(demand: &ServiceDemand) -> Vec<Line> {
    let constraints = &demand.constraints;
    let regions = constraints.regions.iter().map(|word| format!("in {word}"));
    let tags = constraints.tags.iter().map(|word| format!("with {word}"));
    let price = constraints.price_per_hour_max.iter();
    let price = price.map(|price| format!("at most {price} credits/h"));
    let spread = constraints.replicas_per_node_max.iter();
    let spread = spread.map(|most| format!("{most} on a node"));
    let with_operator = constraints.replicas_per_operator_max.iter();
    let with_operator = with_operator.map(|most| format!("{most} with an operator"));
    let in_region = constraints.replicas_per_region_max.iter();
    let in_region = in_region.map(|most| format!("{most} in a region"));
    let reputation = constraints.reputation_ppm_min.iter();
    let reputation = reputation.map(|least| format!("reputation of {least} ppm"));
    let attested = constraints.attested_ms_min.iter();
    let attested = attested.map(|least| format!("seen for {least} ms"));
    let spread = spread
        .chain(with_operator)
        .chain(in_region)
        .chain(reputation)
        .chain(attested);
    vec![(
        "placed",
        regions.chain(tags).chain(price).chain(spread).collect(),
    )]
}

fn port(port: &allod_node::manifest::Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "",
        Protocol::Udp => "/udp",
    };
    match port.published {
        None => format!("{}{protocol} inside", port.container),
        Some(published) => {
            let address = published
                .host_ip
                .map_or(String::new(), |ip| format!("{ip} "));
            format!(
                "{address}{} to {}{protocol}",
                published.port, port.container
            )
        }
    }
}

fn probe(probe: &Probe) -> String {
    let check = match &probe.check {
        Check::Http { path, port } => format!("GET {path} on {port}"),
        Check::Tcp { port } => format!("connect to {port}"),
        Check::Exec { argv } => format!("{argv:?}"),
    };
    format!(
        "{check} every {} ms for {} ms, {} times, from {} ms, within {} ms",
        probe.interval_ms, probe.timeout_ms, probe.retries, probe.start_period_ms, probe.within_ms
    )
}
