//! Getting forwarded packets past a host firewall that drops by default.
//!
//! Docker sets the policy of `FORWARD` in the `filter` table to drop and offers `DOCKER-USER` for
//! rules of others. A table of our own cannot help there: a packet must be accepted by every
//! table. So two accept rules for our link go to the front of that chain, with a comment that
//! holds the installation's id, by which they are found again and removed. What our link may
//! forward is decided by our own table all the same.
//!
//! The chain may live in nf_tables (also when made by `iptables`, which is nowadays a front end to
//! it) or in the older ip_tables. Forward chains of other tables that drop by default were written
//! by the operator on purpose: they are reported, and left alone.

use std::fs;

use serde::Deserialize;

use super::allocation::Lock;
use super::error::NetworkError;
use super::tool::Tool;
use crate::workload::InstallationId;

const FORWARD: &str = "FORWARD";
const DOCKER_USER: &str = "DOCKER-USER";
/// Names the older tables that exist in the calling thread's namespace.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// Something on this host that will keep packets from flowing until somebody acts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A firewall of the operator's drops what it does not know.
    #[error(
        "the firewall chain `{family} {table} {chain}` drops forwarded packets by default: \
         accept there what comes from or goes to `{link}`"
    )]
    ForwardDropped {
        /// The table's family.
        family: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// The link to allow.
        link: String,
    },
    /// Another network of the host uses addresses of this installation, whose workloads hold
    /// some, so that no other block can be chosen.
    #[error(
        "the block {block} collides with {taken_by}: remove that network, or stop all workloads"
    )]
    BlockTaken {
        /// The block of this installation.
        block: String,
        /// What it collides with.
        taken_by: String,
    },
}

/// Puts the accept rules where they are needed.
pub(super) fn ensure(
    lock: &Lock,
    link: &str,
    installation: InstallationId,
) -> Result<Vec<Obstacle>, NetworkError> {
    let modern = Modern::read(lock)?;
    modern.ensure(lock, link, installation)?;
    if has_legacy_filter() {
        legacy_ensure(lock, link, installation)?;
    }
    Ok(modern.obstacles(link))
}

/// Removes the accept rules, wherever they are.
pub(super) fn remove(lock: &Lock, installation: InstallationId) -> Result<(), NetworkError> {
    let found = Modern::read(lock)?.marked(installation);
    let script: String = found.iter().map(Rule::deletion).collect();
    if !script.is_empty() {
        Tool::Nft.run(lock, "remove forward rules", &["-f", "-"], &script)?;
    }
    if has_legacy_filter() {
        legacy_remove(lock, installation)?;
    }
    Ok(())
}

/// The chains that hold an accept rule of this installation, once for each rule.
pub(super) fn installed(
    lock: &Lock,
    installation: InstallationId,
) -> Result<Vec<String>, NetworkError> {
    let found = Modern::read(lock)?.marked(installation);
    let mut chains: Vec<String> = found.into_iter().map(|rule| rule.chain).collect();
    if has_legacy_filter() {
        let legacy = legacy_rules(lock)?;
        let mark = mark(installation);
        chains.extend(
            legacy
                .iter()
                .filter(|rule| rule.contains(&mark))
                .filter_map(|rule| {
                    rule.split_ascii_whitespace()
                        .nth(1)
                        .map(|chain| format!("{chain} (legacy)"))
                }),
        );
    }
    Ok(chains)
}

/// How the comments of all installations' rules begin.
const MARK: &str = "allod:";

fn mark(installation: InstallationId) -> String {
    format!("{MARK}{installation}")
}

/// The nf_tables of the current namespace, as far as forwarding is concerned.
#[derive(Default)]
struct Modern {
    chains: Vec<Chain>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Rule {
    chain: String,
    handle: u64,
    comment: Option<String>,
    #[serde(default)]
    expr: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Entry>,
}

/// One object of a listing; kinds that do not matter here have neither.
#[derive(Deserialize)]
struct Entry {
    chain: Option<Chain>,
    rule: Option<Rule>,
}

impl Modern {
    fn read(lock: &Lock) -> Result<Self, NetworkError> {
        let list = |arguments: &[&str]| -> Result<Listing, NetworkError> {
            let attempted = "list the host's chains";
            let text = Tool::Nft.run(lock, attempted, arguments, "")?;
            serde_json::from_str(&text).map_err(|error| NetworkError::Tool {
                tool: "nft",
                attempted: attempted.to_owned(),
                stderr: format!("its answer is not understood: {error}"),
            })
        };
        let mut found = Self::default();
        for entry in list(&["-j", "list", "chains"])?.nftables {
            found.chains.extend(entry.chain);
        }
        for chain in [FORWARD, DOCKER_USER] {
            if found.filter_chain(chain).is_some() {
                let listing = list(&["-j", "-a", "list", "chain", "ip", "filter", chain])?;
                found
                    .rules
                    .extend(listing.nftables.into_iter().filter_map(|entry| entry.rule));
            }
        }
        Ok(found)
    }

    fn filter_chain(&self, name: &str) -> Option<&Chain> {
        self.chains
            .iter()
            .find(|chain| chain.family == "ip" && chain.table == "filter" && chain.name == name)
    }

    /// The chain that must hold the accept rules, if any must.
    fn target(&self) -> Option<&'static str> {
        let forward = self.filter_chain(FORWARD)?;
        let is_allods = |rule: &Rule| rule.comment.as_ref().is_some_and(|it| it.starts_with(MARK));
        let mut foreign = self
            .rules
            .iter()
            .filter(|rule| rule.chain == FORWARD && !is_allods(rule))
            .peekable();
        let is_closed = forward.policy.as_deref() == Some("drop") || foreign.peek().is_some();
        let is_dockers = self.filter_chain(DOCKER_USER).is_some()
            && foreign.any(|rule| rule.jumps_to(DOCKER_USER));
        match (is_dockers, is_closed) {
            (true, _) => Some(DOCKER_USER),
            (false, true) => Some(FORWARD),
            (false, false) => None,
        }
    }

    fn marked(&self, installation: InstallationId) -> Vec<Rule> {
        let mark = mark(installation);
        let is_ours = |rule: &&Rule| rule.comment.as_ref() == Some(&mark);
        self.rules.iter().filter(is_ours).cloned().collect()
    }

    fn ensure(
        &self,
        lock: &Lock,
        link: &str,
        installation: InstallationId,
    ) -> Result<(), NetworkError> {
        let target = self.target();
        let present = self.marked(installation);
        let wanted = if target.is_some() { 2 } else { 0 };
        let is_right = present.len() == wanted
            && present
                .iter()
                .all(|rule| Some(rule.chain.as_str()) == target);
        if is_right {
            return Ok(());
        }
        let mut script: String = present.iter().map(Rule::deletion).collect();
        if let Some(chain) = target {
            let mark = mark(installation);
            for direction in ["iifname", "oifname"] {
                script.push_str(&format!(
                    "insert rule ip filter {chain} {direction} \"{link}\" counter accept \
                     comment \"{mark}\"\n"
                ));
            }
        }
        Tool::Nft.run(lock, "write forward rules", &["-f", "-"], &script)?;
        Ok(())
    }

    fn obstacles(&self, link: &str) -> Vec<Obstacle> {
        let drops = |chain: &&Chain| {
            let routes = chain.family == "ip" || chain.family == "inet";
            let is_handled =
                chain.family == "ip" && chain.table == "filter" && chain.name == FORWARD;
            routes
                && !is_handled
                && chain.hook.as_deref() == Some("forward")
                && chain.policy.as_deref() == Some("drop")
        };
        let obstacle = |chain: &Chain| Obstacle::ForwardDropped {
            family: chain.family.clone(),
            table: chain.table.clone(),
            chain: chain.name.clone(),
            link: link.to_owned(),
        };
        self.chains.iter().filter(drops).map(obstacle).collect()
    }
}

impl Rule {
    fn jumps_to(&self, chain: &str) -> bool {
        self.expr
            .iter()
            .any(|expression| expression["jump"]["target"] == chain)
    }

    fn deletion(&self) -> String {
        format!(
            "delete rule ip filter {} handle {}\n",
            self.chain, self.handle
        )
    }
}

/// Whether the older filter table exists; asking its tool would make it.
pub(super) fn has_legacy_filter() -> bool {
    fs::read_to_string(LEGACY_TABLES)
        .is_ok_and(|names| names.lines().any(|name| name.trim() == "filter"))
}

/// All rules of the older filter table, as its tool prints them.
fn legacy_rules(lock: &Lock) -> Result<Vec<String>, NetworkError> {
    let text = Tool::IptablesLegacy.run(lock, "list rules", &["-w", "5", "-S"], "")?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn legacy_ensure(
    lock: &Lock,
    link: &str,
    installation: InstallationId,
) -> Result<(), NetworkError> {
    let mark = mark(installation);
    let rules = legacy_rules(lock)?;
    let has = |wanted: &str| rules.iter().any(|rule| rule == wanted);
    let jump = format!("-A {FORWARD} -j {DOCKER_USER}");
    let is_closed = has(&format!("-P {FORWARD} DROP"))
        || rules
            .iter()
            .any(|rule| rule.starts_with(&format!("-A {FORWARD} ")) && !rule.contains(MARK));
    let target = match (has(&jump), is_closed) {
        (true, _) => DOCKER_USER,
        (false, true) => FORWARD,
        (false, false) => return legacy_remove(lock, installation),
    };
    let present: Vec<&String> = rules.iter().filter(|rule| rule.contains(&mark)).collect();
    let prefix = format!("-A {target} ");
    if present.len() == 2 && present.iter().all(|rule| rule.starts_with(&prefix)) {
        return Ok(());
    }
    legacy_remove(lock, installation)?;
    for direction in ["-i", "-o"] {
        let insertion = ["-w", "5", "-I", target, direction, link];
        let comment = ["-m", "comment", "--comment", &mark, "-j", "ACCEPT"];
        let arguments = [&insertion[..], &comment[..]].concat();
        Tool::IptablesLegacy.run(lock, "write forward rules", &arguments, "")?;
    }
    Ok(())
}

fn legacy_remove(lock: &Lock, installation: InstallationId) -> Result<(), NetworkError> {
    let mark = mark(installation);
    for rule in legacy_rules(lock)?
        .iter()
        .filter(|rule| rule.contains(&mark))
    {
        // What the tool prints for a rule of ours has no quoted spaces.
        let words: Vec<&str> = rule
            .split_ascii_whitespace()
            .map(|w| w.trim_matches('"'))
            .collect();
        let arguments = [&["-w", "5", "-D"], &words[1..]].concat();
        Tool::IptablesLegacy.run(lock, "remove forward rules", &arguments, "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
