//! The API's views as people read them.

use std::collections::BTreeMap;

use allod_node::view::{App, Disk, Happening, LogLine, Plan, Replica, Service, Verdict};
use allod_state::Label;

use super::table::{pairs, table};
use super::text::{bytes, utc};

/// All apps, a line for each service.
pub(crate) fn apps(apps: &[App]) -> String {
    if apps.is_empty() {
        return "no apps yet; start one with: allod run nginx:alpine --port 80".into();
    }
    let rows = apps.iter().flat_map(|app| {
        let row = |service: &Service| {
            [
                app.name.clone(),
                service.name.clone(),
                format!("{}/{}", service.ready, service.wanted),
                state_and_kind(service),
                service.image.clone(),
                links(service).join(" "),
            ]
        };
        app.services.iter().map(row)
    });
    table(
        ["APP", "SERVICE", "READY>", "STATE", "IMAGE", "URL"],
        rows.collect(),
    )
}

/// That a node's disk is full, and what to do.
pub(crate) fn full_disk(disk: &Disk) -> String {
    format!(
        "warning: this node's disk is full ({} free): apps run on, but nothing can be changed\n\
         help: free some space (`allod config path` says where the node keeps things); it goes on by itself",
        bytes(disk.free_bytes)
    )
}

/// One app: what it is, and each of its replicas.
pub(crate) fn app(app: &App) -> String {
    let revisions: Vec<String> = app.revisions.iter().map(ToString::to_string).collect();
    let head = pairs(&[
        ("app", app.name.clone()),
        ("id", app.app.to_string()),
        (
            "revision",
            format!("{} (kept: {})", app.revision, revisions.join(", ")),
        ),
        ("price", format!("{} credits/hour", app.price_per_hour)),
    ]);
    let rows = app.services.iter().flat_map(|service| {
        service.replicas.iter().map(move |replica| {
            [
                service.name.clone(),
                replica.replica.to_string(),
                replica.stage.clone(),
                replica.revision.map(|r| r.to_string()).unwrap_or_default(),
                replica.node.map(|node| node.short()).unwrap_or_default(),
                replica.address.clone().unwrap_or_default(),
                replica.failures.to_string(),
                replica.detail.clone().unwrap_or_default(),
            ]
        })
    });
    let replicas = table(
        [
            "SERVICE",
            "#>",
            "STATE",
            "REVISION>",
            "NODE",
            "ADDRESS",
            "FAILED>",
            "DETAIL",
        ],
        rows.collect(),
    );
    let mut text = format!("{head}\n\n{replicas}");
    for service in &app.services {
        if service.is_exclusive {
            text.push_str(&format!(
                "\n{}  exclusive: two of it never run at once",
                service.name
            ));
        }
        for link in links(service) {
            text.push_str(&format!("\n{}  {link}", service.name));
        }
    }
    text
}

/// What each node says to each replica.
pub(crate) fn verdicts(verdicts: &[Verdict]) -> String {
    let rows = verdicts.iter().map(|verdict| {
        let price = verdict.price_per_hour.map(|price| price.to_string());
        let said = match (verdict.rules.is_empty(), verdict.is_here) {
            (true, true) => "it is here".to_owned(),
            (true, false) => "it may run here".to_owned(),
            (false, true) => format!(
                "it is here, and would not come again: {}",
                verdict.rules.join("; ")
            ),
            (false, false) => verdict.rules.join("; "),
        };
        [
            verdict.service.clone(),
            verdict.replica.to_string(),
            verdict.node_name.clone(),
            price.unwrap_or_default(),
            said,
        ]
    });
    table(
        ["SERVICE", "#>", "NODE", "CREDITS/HOUR>", "VERDICT"],
        rows.collect(),
    )
}

/// An app that has just come up: where it is and what it costs.
pub(crate) fn started(app: &App) -> String {
    let mut lines = Vec::new();
    for service in &app.services {
        for link in links(service) {
            lines.push(format!("{}/{}  {link}", app.name, service.name));
        }
    }
    if lines.is_empty() {
        lines.push(format!("{} is ready", app.name));
    }
    lines.push(format!("{}  {} credits/hour", app.name, app.price_per_hour));
    lines.join("\n")
}

/// Where a service answers: by name through the ingress, and by port.
pub(crate) fn links(service: &Service) -> Vec<String> {
    service
        .urls
        .iter()
        .chain(&service.published)
        .cloned()
        .collect()
}

/// The worst of a service's replicas, in words.
pub(crate) fn state(service: &Service) -> String {
    if service.is_halted {
        return "halted: the new revision failed, the old one serves".into();
    }
    let is_bad = |replica: &&Replica| replica.stage != "ready";
    match service.replicas.iter().find(is_bad) {
        Some(replica) => replica.stage.clone(),
        None if service.wanted == 0 => "scaled to none".into(),
        None => "ready".into(),
    }
}

/// The same, and that it is exclusive where it is.
fn state_and_kind(service: &Service) -> String {
    let kind = if service.is_exclusive {
        " (exclusive)"
    } else {
        ""
    };
    format!("{}{kind}", state(service))
}

/// What a deployment would do.
pub(crate) fn plan(plan: &Plan, names: &BTreeMap<Label, String>) -> String {
    let name = |label: &Label| names.get(label).cloned().unwrap_or_else(|| label.short());
    let mut text = String::new();
    if plan.placements.is_empty() && plan.rejection.is_none() {
        text.push_str("no new replicas now; those that run are replaced one by one");
    } else if !plan.placements.is_empty() {
        let rows = plan.placements.iter().map(|placement| {
            [
                name(&placement.service),
                placement.replica.to_string(),
                placement.node_name.clone(),
                placement.price_per_hour.to_string(),
            ]
        });
        text = table(["SERVICE", "#>", "NODE", "CREDITS/HOUR>"], rows.collect());
    }
    for refusal in &plan.refusals {
        for rule in &refusal.rules {
            text.push_str(&format!("\nrefused by {}: {rule}", refusal.name));
        }
    }
    if plan.rejection.is_none() {
        text.push_str(&format!(
            "\nthe app costs {} credits/hour",
            plan.price_per_hour
        ));
    }
    if let Some(id) = plan.id {
        text.push_str(&format!("\n\nto deploy this or nothing: --plan {id}"));
    }
    text.trim_start_matches('\n').to_owned()
}

/// One thing that happened.
pub(crate) fn happening(happening: &Happening) -> String {
    let time = utc(happening.time_ms);
    format!(
        "{time}  {}  {}",
        happening.kind,
        super::text::plain(&happening.text)
    )
}

/// One line of output; `is_named` where lines of several replicas come together.
pub(crate) fn log_line(line: &LogLine, is_named: bool) -> String {
    let text: String = line
        .text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\t' | '\x1b'))
        .collect();
    if is_named {
        format!("{}#{} | {text}", line.service, line.replica)
    } else {
        text
    }
}
