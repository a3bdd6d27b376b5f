//! The process of a service: its command, environment, user, signals and output.

use allod_node::manifest::{Logs, Service};

use super::diagnostic::Report;
use super::interpolate::Variables;
use super::limits::{LOG_BYTES_MAX, LOG_BYTES_MIN, LOG_FILES_MAX, STOP_GRACE_MS_MAX};
use super::node::{At, Fields, Value};
use super::{defaults, environment, mounts, quantity};

/// Takes the keys of the process.
pub(crate) fn take(
    service: &mut Service,
    fields: &mut Fields<'_>,
    variables: &Variables,
    report: &mut Report,
) {
    service.entrypoint = fields
        .take("entrypoint")
        .and_then(|at| command(&at, report));
    service.command = fields.take("command").and_then(|at| command(&at, report));
    if let Some(at) = fields.take("env_file") {
        environment::env_file(&at, variables, &mut service.env, report);
    }
    if let Some(at) = fields.take("environment") {
        environment::environment(&at, variables, &mut service.env, report);
    }
    let folder = fields.take("working_dir");
    service.working_dir = folder.and_then(|at| at.read(report, working_dir));
    service.user = fields.take("user").and_then(|at| at.read(report, user));
    service.init = fields
        .take("init")
        .and_then(|at| at.truth(report))
        .unwrap_or(false);
    service.stop_signal = fields
        .take("stop_signal")
        .and_then(|at| at.read(report, signal));
    let grace = fields.take("stop_grace_period");
    let grace = grace.and_then(|at| at.read(report, grace_ms));
    service.stop_grace_ms = grace.unwrap_or(defaults::STOP_GRACE_MS);
    if let Some(at) = fields.take("labels") {
        let pairs = at.pairs(report).into_iter();
        service.labels = pairs
            .map(|(name, value, _)| (name, value.unwrap_or_default()))
            .collect();
    }
    if let Some(at) = fields.take("logging") {
        service.logs = logs(&at, report);
    }
}

/// A command line, split as a shell would, or its words.
fn command(at: &At<'_>, report: &mut Report) -> Option<Vec<String>> {
    match at.node.value {
        Value::List(_) => Some(at.texts(report)),
        _ => at.read(report, |text| {
            shell_words::split(text).map_err(|_| {
                "a quote in the command is not closed: write it as a list of words".to_string()
            })
        }),
    }
}

fn working_dir(text: &str) -> Result<String, String> {
    match text {
        "/" => Ok("/".to_string()),
        _ => mounts::target(text),
    }
}

fn user(text: &str) -> Result<String, String> {
    let is_sound = text.len() <= 256 && !text.is_empty() && !text.contains(char::is_control);
    let wrong = || format!("`{text}` is not a user: write it as name, uid, or uid:gid");
    if is_sound {
        Ok(text.to_string())
    } else {
        Err(wrong())
    }
}

fn grace_ms(text: &str) -> Result<u64, String> {
    match quantity::duration_ms(text)? {
        ms if ms > STOP_GRACE_MS_MAX => Err(format!(
            "`{text}` is longer than any stop may take: write at most 10m"
        )),
        ms => Ok(ms),
    }
}

/// The signals that ask a process to stop.
const SIGNALS: [&str; 14] = [
    "ABRT", "ALRM", "CONT", "HUP", "INT", "KILL", "PIPE", "PWR", "QUIT", "TERM", "TSTP", "USR1",
    "USR2", "WINCH",
];

fn signal(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let is_number = name
        .parse()
        .is_ok_and(|number: u8| (1..=64).contains(&number));
    let offset = name
        .strip_prefix("RTMIN+")
        .and_then(|offset| offset.parse().ok());
    let is_real_time = offset.is_some_and(|offset: u8| offset <= 30);
    if is_number {
        Ok(name.to_string())
    } else if is_real_time || SIGNALS.contains(&name) {
        Ok(format!("SIG{name}"))
    } else {
        Err(format!(
            "`{text}` is not a signal: write it as SIGTERM, SIGINT or SIGQUIT"
        ))
    }
}

fn logs(at: &At<'_>, report: &mut Report) -> Logs {
    let mut logs = Logs {
        file_bytes_max: defaults::LOG_FILE_BYTES,
        files_max: defaults::LOG_FILES,
    };
    let mut fields = at.fields(report);
    if let Some(driver) = fields.take("driver")
        && driver
            .text(report)
            .is_some_and(|text| !matches!(text, "json-file" | "local"))
    {
        let message = "only Allod's own logs are kept; this driver has no effect";
        report.push(driver.warning(message).help("read them with `allod logs`"));
    }
    if let Some(options) = fields.take("options") {
        let mut fields = options.fields(report);
        let size = fields.take("max-size");
        if let Some(size) = size.and_then(|at| Some((at.read(report, quantity::bytes)?, at))) {
            let (bytes, at) = size;
            logs.file_bytes_max = bytes.clamp(LOG_BYTES_MIN, LOG_BYTES_MAX);
            if logs.file_bytes_max != bytes {
                let kept = logs.file_bytes_max;
                let message = format!("the nearest possible size is taken: {kept} bytes");
                report.push(at.warning(message));
            }
        }
        let files = fields.take("max-file");
        if let Some(files) = files.and_then(|at| Some((at.number(report, 1, u32::MAX)?, at))) {
            let (count, at) = files;
            logs.files_max = count.min(LOG_FILES_MAX);
            if logs.files_max != count {
                report.push(at.warning(format!("at most {LOG_FILES_MAX} log files are kept")));
            }
        }
        fields.warn_rest(report);
    }
    fields.warn_rest(report);
    logs
}
