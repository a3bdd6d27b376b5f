//! `x-allod`: what compose has no words for. A key that is not known here is an error, since a
//! constraint that is silently dropped is a broken promise.

use allod_node::manifest::{Ingress, Probe};
use allod_state::app::Constraints;
use allod_state::limits::CONSTRAINT_ENTRIES_MAX;
use allod_state::node::Isolation;
use allod_state::{AccountId, Credits};

use super::diagnostic::Report;
use super::limits::STORAGE_BYTES_MAX;
use super::name;
use super::node::{At, Fields, Value};
use super::probe;
use super::quantity;

/// Keys that the design has and this version does not; they are refused with that reason.
const LATER: [&str; 16] = [
    "bandwidth",
    "budget",
    "encrypted",
    "network",
    "policy",
    "replicas",
    "residency",
    "resize",
    "scale",
    "sla",
    "snapshot",
    "team",
    "tier",
    "trust",
    "ttl",
    "vm",
];

const PLACE_KEYS: [&str; 7] = [
    "region",
    "operators",
    "tags",
    "price",
    "spread",
    "reputation",
    "attested",
];
const SERVICE_KEYS: [&str; 12] = [
    "region",
    "operators",
    "tags",
    "price",
    "spread",
    "reputation",
    "attested",
    "runtime",
    "ready",
    "ingress",
    "storage",
    "exclusive",
];

/// `x-allod` of a service.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    pub(crate) constraints: Constraints,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) ready: Option<Probe>,
    /// `None` where nothing is said; an empty list means no host at all.
    pub(crate) ingress: Option<Vec<Ingress>>,
    pub(crate) storage_bytes: Option<u64>,
    /// Whether two replicas must never run at once, be it for a moment or out of sight.
    pub(crate) is_exclusive: bool,
}

/// Reads `x-allod` of the app: constraints for every service.
pub(crate) fn of_app(at: &At<'_>, report: &mut Report) -> Constraints {
    let mut fields = at.fields(report);
    let constraints = constraints(&mut fields, &Constraints::default(), report);
    refuse_rest(fields, &PLACE_KEYS, report);
    constraints
}

/// Reads `x-allod` of a service. A constraint replaces the app's of the same key, but operators
/// that the app denies stay denied.
pub(crate) fn of_service(at: Option<&At<'_>>, app: &Constraints, report: &mut Report) -> Extension {
    let Some(at) = at else {
        return Extension {
            constraints: app.clone(),
            ..Extension::default()
        };
    };
    let mut fields = at.fields(report);
    let constraints = constraints(&mut fields, app, report);
    let isolation = fields.take("runtime").and_then(|at| {
        at.read(report, |text| match text {
            "container" => Ok(Isolation::Container),
            "vm" => Ok(Isolation::Vm),
            "wasm" => Ok(Isolation::Wasm),
            _ => Err(format!("`{text}` is no runtime: use container, vm or wasm")),
        })
    });
    let ready = fields
        .take("ready")
        .and_then(|at| probe::ready(&at, report));
    let ingress = fields.take("ingress").map(|at| ingress(&at, report));
    let storage_bytes = fields
        .take("storage")
        .and_then(|at| at.read(report, storage));
    let exclusive = fields.take("exclusive");
    let is_exclusive = exclusive.and_then(|at| at.truth(report));
    refuse_rest(fields, &SERVICE_KEYS, report);
    Extension {
        constraints,
        isolation,
        ready,
        ingress,
        storage_bytes,
        is_exclusive: is_exclusive.unwrap_or(false),
    }
}

/// Reads `x-allod` of a volume: its size.
pub(crate) fn of_volume(at: &At<'_>, report: &mut Report) -> Option<u64> {
    let mut fields = at.fields(report);
    let size = fields.take("size").and_then(|at| at.read(report, storage));
    refuse_rest(fields, &["size"], report);
    size
}

/// Refuses what nobody took, with the nearest known key.
pub(crate) fn refuse_rest(fields: Fields<'_>, known: &[&str], report: &mut Report) {
    for at in fields.rest {
        let name = &at.name;
        let problem = if known.contains(&name.as_str()) {
            // It is there without a value.
            at.key_error(format!("`{name}` has no value"))
                .help("give it one, or leave the key out")
        } else if LATER.contains(&name.as_str()) {
            let message = format!("`{name}` is not supported by this version of Allod");
            at.key_error(message).help("leave it out for now")
        } else {
            let near = known
                .iter()
                .find(|key| strsim::damerau_levenshtein(key, name) <= 2);
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are: {}", known.join(", ")),
            };
            at.key_error(format!("there is no key `{name}` in `x-allod`"))
                .help(help)
        };
        report.push(problem);
    }
}

/// A size of disk.
pub(crate) fn storage(text: &str) -> Result<u64, String> {
    match quantity::bytes(text)? {
        bytes if bytes < 1 << 20 => Err(format!(
            "`{text}` of storage is less than 1m: write its unit too, as in 500m or 10GiB"
        )),
        bytes if bytes > STORAGE_BYTES_MAX => Err(format!(
            "`{text}` is larger than any disk: write it as 500m or 10GiB"
        )),
        bytes => Ok(bytes),
    }
}

fn constraints(fields: &mut Fields<'_>, app: &Constraints, report: &mut Report) -> Constraints {
    let mut own = app.clone();
    if let Some(at) = fields.take("region") {
        own.regions = words(&at, report).into_iter().collect();
    }
    if let Some(at) = fields.take("tags") {
        own.tags = words(&at, report).into_iter().collect();
    }
    if let Some(at) = fields.take("price") {
        let mut fields = at.fields(report);
        let most = fields.take("max");
        let most = most.and_then(|at| at.read(report, quantity::price_micro_per_hour));
        own.price_per_hour_max = most.map(|micro| Credits::from_micro(i128::from(micro)));
        refuse_rest(fields, &["max"], report);
    }
    if let Some(at) = fields.take("reputation") {
        let mut fields = at.fields(report);
        let least = fields.take("min");
        own.reputation_ppm_min = least.and_then(|at| at.read(report, quantity::share_ppm));
        refuse_rest(fields, &["min"], report);
    }
    if let Some(at) = fields.take("attested") {
        let mut fields = at.fields(report);
        let least = fields.take("min");
        own.attested_ms_min = least.and_then(|at| at.read(report, quantity::duration_ms));
        refuse_rest(fields, &["min"], report);
    }
    if let Some(at) = fields.take("operators") {
        let mut fields = at.fields(report);
        if let Some(at) = fields.take("allow") {
            own.operators_allowed = words(&at, report).into_iter().collect();
        }
        if let Some(at) = fields.take("deny") {
            let denied: Vec<AccountId> = words(&at, report);
            own.operators_denied.extend(denied);
        }
        refuse_rest(fields, &["allow", "deny"], report);
    }
    if let Some(at) = fields.take("spread") {
        spread(&mut own, &at, report);
    }
    own
}

/// How many replicas of a service there may be on one machine, with one operator, or in one region.
fn spread(own: &mut Constraints, at: &At<'_>, report: &mut Report) {
    let mut fields = at.fields(report);
    let by = fields.take("by");
    let by = by.and_then(|by| by.read(report, Spread::of));
    let most = fields.take("max");
    let most = most.and_then(|at| at.number(report, 1, u32::MAX));
    by.unwrap_or(Spread::Node).bound(own, most.unwrap_or(1));
    refuse_rest(fields, &["by", "max"], report);
}

/// Over what replicas are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    Node,
    Operator,
    Region,
}

impl Spread {
    pub(super) fn of(text: &str) -> Result<Self, String> {
        match text {
            "node" => Ok(Self::Node),
            "operator" => Ok(Self::Operator),
            "region" => Ok(Self::Region),
            _ => Err(format!(
                "replicas are not spread by `{text}`: write node, operator or region"
            )),
        }
    }

    pub(super) const fn bound(self, constraints: &mut Constraints, most: u32) {
        let bound = match self {
            Self::Node => &mut constraints.replicas_per_node_max,
            Self::Operator => &mut constraints.replicas_per_operator_max,
            Self::Region => &mut constraints.replicas_per_region_max,
        };
        *bound = Some(most);
    }
}

/// One parsed word, or a list of them, of a kind that says itself what it looks like.
fn words<T: std::str::FromStr<Err: std::fmt::Display>>(at: &At<'_>, report: &mut Report) -> Vec<T> {
    let items = at.one_or_more(report);
    if items.len() > CONSTRAINT_ENTRIES_MAX {
        let message = format!(
            "`{}` has more than {CONSTRAINT_ENTRIES_MAX} entries",
            at.name
        );
        report.push(at.key_error(message).help("name fewer"));
        return Vec::new();
    }
    let word = |item: &At<'_>| {
        item.read(report, |text| {
            text.parse()
                .map_err(|error: T::Err| format!("{error}: {}", hint(&at.name)))
        })
    };
    items.iter().filter_map(word).collect()
}

/// What the values of a constraint look like.
fn hint(key: &str) -> &'static str {
    match key {
        "allow" | "deny" => "write the id of an account, as `allod account` shows it",
        "region" => "write it as eu or us-east",
        _ => "write it as ssd or ipv6",
    }
}

fn ingress(at: &At<'_>, report: &mut Report) -> Vec<Ingress> {
    if let Value::Text(_) = at.node.value {
        let message = "`ingress` is a list of hosts";
        report.push(
            at.error(message)
                .help("ingress: [{ host: shop.example.org, port: 80 }]"),
        );
        return Vec::new();
    }
    let mut hosts = Vec::new();
    for item in at.items(report) {
        let mut fields = item.fields(report);
        let host = fields.take("host").map(|at| {
            at.read(report, |text| {
                let host = text.to_ascii_lowercase();
                if name::is_host(&host) {
                    Ok(host)
                } else {
                    Err(format!(
                        "`{text}` is not a host name: write it as shop.example.org"
                    ))
                }
            })
        });
        let port = fields
            .take("port")
            .map(|at| at.number(report, 1, u32::from(u16::MAX)));
        let path = fields.take("path").map(|at| {
            at.read(report, |text| match text.starts_with('/') {
                true => Ok(text.to_string()),
                false => Err(format!("`{text}` is not a path: write it with a leading /")),
            })
        });
        if let Some(tls) = fields.take("tls")
            && tls.text(report).is_some_and(|text| text != "off")
        {
            let message =
                "this version of Allod issues no certificates: the host answers on plain HTTP";
            report.push(
                tls.key_warning(message)
                    .help("put a TLS proxy in front, or write `tls: off`"),
            );
        }
        refuse_rest(fields, &["host", "port", "path", "tls"], report);
        match (host, port) {
            (Some(host), Some(port)) => {
                let port = port.and_then(|port| u16::try_from(port).ok());
                if let (Some(host), Some(port), Some(path)) =
                    (host, port, path.unwrap_or(Some("/".into())))
                {
                    hosts.push(Ingress { host, port, path });
                }
            }
            _ => {
                let message = "an ingress needs a `host` and a `port`";
                report.push(
                    item.error(message)
                        .help("{ host: shop.example.org, port: 80 }"),
                );
            }
        }
    }
    hosts
}
