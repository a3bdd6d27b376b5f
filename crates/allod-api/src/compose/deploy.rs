//! How many, how large, and what happens on a change: `deploy` and its older forms.

use allod_node::manifest;
use allod_state::app::Update;
use allod_state::limits::REPLICAS_PER_SERVICE_MAX;

use super::diagnostic::Report;
use super::limits::{MEMORY_BYTES_MAX, MEMORY_BYTES_MIN};
use super::node::{At, Fields};
use super::quantity;

/// What a service says about its size and its changes; `None` where it says nothing.
#[derive(Debug, Default)]
pub(crate) struct Deploy {
    pub(crate) replicas: Option<u32>,
    pub(crate) cpu_milli: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) pids_max: Option<u32>,
    pub(crate) update: Option<Update>,
    pub(crate) restart: Option<manifest::Restart>,
    pub(crate) replicas_per_node_max: Option<u32>,
}

impl Deploy {
    /// Takes `deploy`, `scale`, `cpus`, `mem_limit`, `pids_limit` and `restart` of a service.
    pub(crate) fn take(fields: &mut Fields<'_>, report: &mut Report) -> Self {
        let mut deploy = Deploy::default();
        let replicas = fields.take("scale");
        deploy.replicas = replicas.and_then(|at| at.number(report, 0, REPLICAS_PER_SERVICE_MAX));
        deploy.cpu_milli = fields
            .take("cpus")
            .and_then(|at| at.read(report, quantity::cpu_milli));
        deploy.memory_bytes = fields
            .take("mem_limit")
            .and_then(|at| at.read(report, memory));
        deploy.pids_max = fields.take("pids_limit").and_then(|at| pids(&at, report));
        deploy.restart = fields
            .take("restart")
            .and_then(|at| at.read(report, restart));
        if let Some(at) = fields.take("deploy") {
            deploy.read(&at, report);
        }
        deploy
    }

    fn read(&mut self, at: &At<'_>, report: &mut Report) {
        let mut fields = at.fields(report);
        if let Some(mode) = fields.take("mode")
            && let Some(text @ ("global" | "global-job" | "replicated-job")) = mode.text(report)
        {
            let message = format!("`mode: {text}` is not supported");
            report.push(
                mode.error(message)
                    .help("give a number of `replicas` instead"),
            );
        }
        let replicas = fields.take("replicas");
        let replicas = replicas.and_then(|at| at.number(report, 0, REPLICAS_PER_SERVICE_MAX));
        self.replicas = replicas.or(self.replicas);
        if let Some(at) = fields.take("resources") {
            self.resources(&at, report);
        }
        if let Some(at) = fields.take("update_config") {
            let mut fields = at.fields(report);
            self.update = fields.take("order").and_then(|at| at.read(report, order));
            fields.warn_rest(report);
        }
        if let Some(at) = fields.take("restart_policy") {
            self.restart_policy(&at, report);
        }
        if let Some(at) = fields.take("placement") {
            let mut fields = at.fields(report);
            let most = fields.take("max_replicas_per_node");
            self.replicas_per_node_max = most.and_then(|at| at.number(report, 1, u32::MAX));
            for ignored in fields.rest {
                let message = format!("`placement.{}` has no effect on Allod", ignored.name);
                let help =
                    "say where it may run with `region`, `tags` and `operators` under `x-allod`";
                report.push(ignored.key_warning(message).help(help));
            }
        }
        fields.warn_rest(report);
    }

    /// Limits are what a replica may use and pays for; a reservation stands in where there is none.
    fn resources(&mut self, at: &At<'_>, report: &mut Report) {
        let mut fields = at.fields(report);
        let (limits, reservations) = (fields.take("limits"), fields.take("reservations"));
        fields.warn_rest(report);
        let (older_cpu, older_memory) = (self.cpu_milli.take(), self.memory_bytes.take());
        for at in [limits, reservations].into_iter().flatten() {
            let mut fields = at.fields(report);
            let cpu = fields
                .take("cpus")
                .and_then(|at| at.read(report, quantity::cpu_milli));
            let bytes = fields.take("memory").and_then(|at| at.read(report, memory));
            let pids = fields.take("pids").and_then(|at| pids(&at, report));
            if let Some(devices) = fields.take("devices") {
                let message = "reserving devices is not supported by this version of Allod";
                report.push(
                    devices
                        .key_error(message)
                        .help("leave it out to run without a GPU"),
                );
            }
            fields.warn_rest(report);
            self.cpu_milli = self.cpu_milli.or(cpu);
            self.memory_bytes = self.memory_bytes.or(bytes);
            self.pids_max = self.pids_max.or(pids);
        }
        self.cpu_milli = self.cpu_milli.or(older_cpu);
        self.memory_bytes = self.memory_bytes.or(older_memory);
    }

    fn restart_policy(&mut self, at: &At<'_>, report: &mut Report) {
        let mut fields = at.fields(report);
        let condition = fields.take("condition");
        let attempts = fields.take("max_attempts");
        let retries_max = attempts.and_then(|at| at.number(report, 0, u32::MAX));
        fields.warn_rest(report);
        let policy = condition.and_then(|at| {
            at.read(report, |text| match text {
                "any" => Ok(manifest::Restart::Always),
                "on-failure" => Ok(manifest::Restart::OnFailure { retries_max }),
                "none" => Ok(manifest::Restart::Never),
                _ => Err(format!(
                    "`{text}` is no condition: use any, on-failure or none"
                )),
            })
        });
        self.restart = policy.or(self.restart);
    }
}

/// A size of memory that a process can start in.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    match quantity::bytes(text)? {
        bytes if bytes < MEMORY_BYTES_MIN => Err(format!(
            "`{text}` of memory is less than 4m: write its unit too, as in 512m or 2g"
        )),
        bytes if bytes > MEMORY_BYTES_MAX => Err(format!(
            "`{text}` of memory is more than any machine has: write it as 512m or 2g"
        )),
        bytes => Ok(bytes),
    }
}

/// Reads `restart`.
pub(crate) fn restart(text: &str) -> Result<manifest::Restart, String> {
    let (policy, retries) = match text.split_once(':') {
        Some((policy, retries)) => (policy, Some(retries)),
        None => (text, None),
    };
    let wrong = || {
        format!(
            "`{text}` is no restart policy: use always, unless-stopped, on-failure[:times] or no"
        )
    };
    match (policy, retries) {
        ("always" | "unless-stopped", None) => Ok(manifest::Restart::Always),
        ("no" | "false", None) => Ok(manifest::Restart::Never),
        ("on-failure", None) => Ok(manifest::Restart::OnFailure { retries_max: None }),
        ("on-failure", Some(times)) => {
            let retries_max = Some(times.parse().map_err(|_| wrong())?);
            Ok(manifest::Restart::OnFailure { retries_max })
        }
        _ => Err(wrong()),
    }
}

/// A limit of processes; 0 and -1 mean none.
fn pids(at: &At<'_>, report: &mut Report) -> Option<u32> {
    match at.text(report)? {
        "-1" | "0" => None,
        _ => at.number(report, 1, 4_194_304),
    }
}

fn order(text: &str) -> Result<Update, String> {
    match text {
        "start-first" => Ok(Update::StartFirst),
        "stop-first" => Ok(Update::StopFirst),
        _ => Err(format!(
            "`{text}` is no order: use start-first or stop-first"
        )),
    }
}
