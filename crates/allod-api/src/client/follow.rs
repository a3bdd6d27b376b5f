//! Watching an app come up: what is new since the last look, whether it is there, and what keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use allod_node::view::{App, Replica, Service};
use allod_state::{AppId, LeaseId};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;

use super::Result;
use super::connection::Client;
use super::error::Error;
use super::limits::{KNOCK_TIMEOUT, MUTE_MAX, POLL_FIRST, POLL_LONGEST};
use super::routes::LogQuery;

const LAST_LINES: usize = 10;

/// What an app should come to.
#[derive(Debug, Clone, Default)]
pub struct Goal {
    /// Replicas of an older revision do not count.
    pub revision: u64,
    /// These leases do not count: they are to be replaced.
    pub replaced: BTreeSet<LeaseId>,
    /// A replica that failed so often will not come.
    pub failures_max: Option<u32>,
}

/// What was told about an app so far.
#[derive(Debug, Default)]
pub struct Progress {
    told: BTreeMap<(String, u32, u64), String>,
}

enum Standing {
    Ready,
    Coming,
    Hopeless,
}

impl Client {
    /// Looks at an app again and again until it is at its goal; `tell` gets each piece of news as a line.
    ///
    /// # Errors
    /// Where it is not there in time or never will be, with the cause and its last log lines.
    pub async fn follow(
        &self,
        app: &AppId,
        goal: &Goal,
        within: Duration,
        mut tell: impl FnMut(&str),
    ) -> Result<App> {
        let began = Instant::now();
        let id = app.to_string();
        let (mut progress, mut pause) = (Progress::default(), POLL_FIRST);
        loop {
            let app = self.app(&id).await?;
            for line in progress.news(&app) {
                tell(&line);
            }
            match standing(&app, goal) {
                Standing::Ready => return Ok(app),
                Standing::Coming if began.elapsed() < within => {}
                Standing::Coming => return Err(self.late(&app, goal, Some(within)).await),
                Standing::Hopeless => return Err(self.late(&app, goal, None).await),
            }
            tokio::time::sleep(pause).await;
            pause = POLL_LONGEST.min(pause + pause / 8);
        }
    }

    async fn late(&self, app: &App, goal: &Goal, waited: Option<Duration>) -> Error {
        let blamed = app.services.iter().find(|s| !is_ready(s, goal));
        let cause =
            blamed.map_or_else(|| "nothing is wrong with it now".into(), |s| blame(s, goal));
        Error::NotReady {
            app: app.name.clone(),
            seconds: waited.map(|waited| waited.as_secs()),
            cause,
            lines: self.last_lines(app, blamed).await,
        }
    }

    /// The last lines of an app's output; none where they cannot be had, since they only illustrate an error.
    pub async fn last_lines(&self, app: &App, service: Option<&Service>) -> Vec<String> {
        let query = LogQuery {
            service: service.map(|service| service.name.clone()),
            tail: Some(LAST_LINES),
            ..LogQuery::default()
        };
        let mut lines = Vec::new();
        if let Ok(mut stream) = self.logs(&app.app.to_string(), &query).await {
            while let Ok(Some(line)) = stream.next().await {
                lines.push(line.text);
            }
        }
        lines.drain(..lines.len().saturating_sub(LAST_LINES));
        lines
    }
}

impl Progress {
    /// What is new since the last look, a line for each replica that moved on.
    pub fn news(&mut self, app: &App) -> Vec<String> {
        let mut news = Vec::new();
        for service in &app.services {
            for replica in &service.replicas {
                let key = (service.name.clone(), replica.replica, replica.epoch);
                let text = words(replica);
                if self.told.get(&key) != Some(&text) {
                    news.push(format!("{}: {text}", name_of(app, service, replica)));
                    self.told.insert(key, text);
                }
            }
        }
        news
    }
}

fn name_of(app: &App, service: &Service, replica: &Replica) -> String {
    let index = if service.wanted > 1 {
        format!(" #{}", replica.replica)
    } else {
        String::new()
    };
    format!("{}/{}{index}", app.name, service.name)
}

fn words(replica: &Replica) -> String {
    match &replica.detail {
        Some(detail) if replica.stage != "ready" => format!("{}: {detail}", replica.stage),
        _ => replica.stage.clone(),
    }
}

fn standing(app: &App, goal: &Goal) -> Standing {
    let waits = |service: &&Service| !is_ready(service, goal);
    let mut waiting = app.services.iter().filter(waits).peekable();
    if app.revision >= goal.revision && waiting.peek().is_none() {
        return Standing::Ready;
    }
    let is_hopeless = |service: &Service| {
        let mut replicas = service.replicas.iter();
        let failures_max = goal.failures_max.unwrap_or(u32::MAX);
        service.is_halted || replicas.any(|replica| replica.failures >= failures_max)
    };
    if waiting.any(is_hopeless) {
        Standing::Hopeless
    } else {
        Standing::Coming
    }
}

/// Whether every replica that is wanted is ready, or has done all its work, and none is left over.
fn is_ready(service: &Service, goal: &Goal) -> bool {
    let counts = |replica: &&Replica| match (replica.lease, replica.revision) {
        (Some(lease), Some(revision)) => {
            replica.stage == "ready" && revision >= goal.revision && !goal.replaced.contains(&lease)
        }
        _ => replica.stage.starts_with("completed"),
    };
    let done: BTreeSet<u32> = service
        .replicas
        .iter()
        .filter(counts)
        .map(|r| r.replica)
        .collect();
    (0..service.wanted).all(|index| done.contains(&index))
}

/// What keeps a service, in words.
fn blame(service: &Service, goal: &Goal) -> String {
    if service.is_halted {
        let mut failing = service.replicas.iter().filter(|r| r.stage != "ready");
        let last = failing
            .next_back()
            .map(|replica| format!(" ({})", words(replica)))
            .unwrap_or_default();
        return format!(
            "{} keeps its old revision, because the new one failed too often{last}",
            service.name
        );
    }
    let is_late = |replica: &&Replica| {
        replica.stage != "ready"
            || replica
                .revision
                .is_some_and(|revision| revision < goal.revision)
    };
    match service.replicas.iter().rfind(is_late) {
        Some(replica) => format!("{} is {}", service.name, words(replica)),
        None => format!(
            "{} has {} of {} replicas",
            service.name, service.ready, service.wanted
        ),
    }
}

/// Asks an address until it answers HTTP with a status below 500. A port that closes connections unanswered for a
/// while does not speak HTTP, and counts as answering.
///
/// # Errors
/// What the last try met, where it does not answer in time.
pub async fn knock(url: &str, within: Duration) -> std::result::Result<(), String> {
    let began = Instant::now();
    let http: HttpClient<_, Empty<Bytes>> = HttpClient::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    let mut mute_since = None;
    let mut pause = POLL_FIRST;
    loop {
        let request = Request::get(url)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let seen = match tokio::time::timeout(KNOCK_TIMEOUT, http.request(request)).await {
            Ok(Ok(response)) if response.status().as_u16() < 500 => return Ok(()),
            Ok(Ok(response)) => format!("it answers with status {}", response.status()),
            Ok(Err(error)) if error.is_connect() => "it refuses connections".to_owned(),
            Ok(Err(error)) => {
                let since = *mute_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= MUTE_MAX {
                    return Ok(());
                }
                std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string)
            }
            Err(_) => "it does not answer".to_owned(),
        };
        if began.elapsed() >= within {
            return Err(seen);
        }
        tokio::time::sleep(pause).await;
        pause = POLL_LONGEST.min(pause + pause / 8);
    }
}

#[cfg(test)]
mod tests;
