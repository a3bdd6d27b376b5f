//! What can go wrong for a caller: each case with its exit code and the next command to try.

use std::fmt;
use std::path::PathBuf;

use allod_node::home::HomeError;
use allod_node::identity::IdentityError;
use allod_node::root::Down;
use allod_node::seal::SealError;
use allod_node::view;
use serde::Deserialize;

use super::connection::now_ms;
use crate::compose::Diagnostic;
use crate::signature::SignError;

/// What a command ends with; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// It failed.
    Failure = 1,
    /// It was called wrongly.
    Usage = 2,
    /// What it names does not exist.
    NotFound = 3,
    /// The identity is missing, or is not accepted.
    Identity = 4,
    /// A grant or policy does not allow it.
    Denied = 5,
    /// The credits do not suffice.
    Credits = 6,
    /// No node can run it.
    NoPlacement = 7,
    /// It took too long.
    Timeout = 8,
    /// The network, or a registry, cannot be reached.
    Unreachable = 9,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        // The discriminants above are the codes.
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Identity => 4,
            Self::Denied => 5,
            Self::Credits => 6,
            Self::NoPlacement => 7,
            Self::Timeout => 8,
            Self::Unreachable => 9,
        }
    }
}

/// A refusal as the API tells it (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// What kind of problem, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong in this case.
    pub detail: String,
    /// The stable name.
    pub code: String,
    /// What to do about it.
    pub next_step: String,
}

impl Problem {
    /// What a command that meets this problem ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        exit_of(&self.code, self.status)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.detail.is_empty(), self.title.is_empty()) {
            (false, _) => f.write_str(&self.detail),
            (true, false) => f.write_str(&self.title),
            (true, true) => write!(f, "the API answered with status {}", self.status),
        }
    }
}

/// What a command that meets a refusal with this name and status ends with.
pub(crate) fn exit_of(code: &str, status: u16) -> Exit {
    if let Some(exit) = exit_of_code(code) {
        return exit;
    }
    match status {
        400 | 413 | 414 | 415 | 422 => Exit::Usage,
        401 => Exit::Identity,
        402 => Exit::Credits,
        403 => Exit::Denied,
        404 => Exit::NotFound,
        408 | 504 => Exit::Timeout,
        _ => Exit::Failure,
    }
}

/// What a command ends with that meets a refusal whose name alone says it.
fn exit_of_code(name: &str) -> Option<Exit> {
    Some(match name {
        // A clock is no identity, although both come as 401.
        "clock_skew" | "signature_expired" | "wrong-network" | "wrong-version" | "expired"
        | "expiry-too-far" => Exit::Failure,
        "registry-login-needed" | "registry-login-refused" => Exit::Identity,
        "registry-forbidden" | "registry-redirect-refused" | "registry-address-refused" => {
            Exit::Denied
        }
        "registry-unreachable" => Exit::Unreachable,
        "no-platform" => Exit::NoPlacement,
        "unknown-account" | "unknown-key" | "rotated-key" => Exit::Identity,
        "verb-not-granted"
        | "expired-key"
        | "revoked-key"
        | "resource-not-granted"
        | "budget-exceeded"
        | "not-your-node"
        | "not-your-app" => Exit::Denied,
        "insufficient-credit" => Exit::Credits,
        "unknown-node" | "unknown-app" | "unknown-service" | "unknown-revision"
        | "unknown-lease" | "unknown-volume" => Exit::NotFound,
        "no-placement" => Exit::NoPlacement,
        "bad-amount" | "bad-field" | "too-many" => Exit::Usage,
        _ => return None,
    })
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No API runs in this home.
    #[error("nothing runs in this home ({place})")]
    NotRunning {
        /// Where its record would be.
        place: String,
    },
    /// The API does not answer.
    #[error("cannot reach the API at {url}: {cause}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the connection said.
        cause: String,
    },
    /// The node of this home cannot start.
    #[error("{}", told(.0))]
    Down(Box<Down>),
    /// The API's address is none.
    #[error("`{url}` is not the address of an API; write it as http://127.0.0.1:7400")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The API refused.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The law refused.
    #[error("{}", .0.text)]
    Rejected(Box<view::Rejection>),
    /// No node can run it.
    #[error("no node can run it{}", listed(.0))]
    NoPlacement(Vec<view::NodeRefusal>),
    /// The API answered what this client does not understand.
    #[error("the API's answer to {attempted} makes no sense: {cause}")]
    Nonsense {
        /// What was asked.
        attempted: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// The API took too long.
    #[error("{attempted} took longer than {seconds} s")]
    Timeout {
        /// What was attempted.
        attempted: String,
        /// How long was waited.
        seconds: u64,
    },
    /// An app did not become ready in time, or never will.
    #[error("{app} is not ready{}: {cause}", .seconds.map(|s| format!(" after {s} s")).unwrap_or_default())]
    NotReady {
        /// The app.
        app: String,
        /// How long was waited; nothing where waiting longer would not help.
        seconds: Option<u64>,
        /// What keeps it.
        cause: String,
        /// Its last log lines.
        lines: Vec<String>,
    },
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A node's key is used where an account's is needed.
    #[error("{path} holds the key of a node, and commands are given by an account")]
    NotAnAccount {
        /// The file.
        path: PathBuf,
    },
    /// The key is not one of its account on this network.
    #[error("the key {key} does not belong to its account on this network")]
    KeyNotListed {
        /// The key.
        key: String,
    },
    /// The API serves another network than this home belongs to.
    #[error("the API at {url} serves {found}, and this home belongs to {wanted}")]
    OtherNetwork {
        /// Where it is.
        url: String,
        /// What it serves.
        found: allod_state::NetworkId,
        /// What the home says.
        wanted: allod_state::NetworkId,
    },
    /// A request could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The private half could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The deploy file, or the flags, are wrong.
    #[error("{}", joined(.0))]
    Spec(Vec<Diagnostic>),
    /// What was named does not exist.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// What it was called.
        name: String,
    },
    /// An app of that name runs already.
    #[error("there is an app `{name}` already, and `run` replaces none")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// What was named could be several things.
    #[error("`{name}` is ambiguous: {}", .candidates.join(", "))]
    Ambiguous {
        /// What it was called.
        name: String,
        /// What it could be.
        candidates: Vec<String>,
    },
    /// The command was called wrongly.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do instead.
        help: String,
    },
    /// Something was checked and is wrong, or was done in part.
    #[error("{message}")]
    Failed {
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// A file could not be read or written.
    #[error("cannot {attempted}: {source}")]
    File {
        /// What was attempted, with the path.
        attempted: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// What a command that meets this error ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotRunning { .. } | Self::Unreachable { .. } | Self::Down(_) => Exit::Unreachable,
            Self::Problem(problem) => problem.exit(),
            Self::Rejected(rejection) => exit_of_code(&rejection.name).unwrap_or(Exit::Failure),
            Self::NoPlacement(_) => Exit::NoPlacement,
            Self::Timeout { .. }
            | Self::NotReady {
                seconds: Some(_), ..
            } => Exit::Timeout,
            Self::Identity(_) | Self::NotAnAccount { .. } | Self::KeyNotListed { .. } => {
                Exit::Identity
            }
            Self::BadUrl { .. }
            | Self::Spec(_)
            | Self::Ambiguous { .. }
            | Self::Usage { .. }
            | Self::Seal(_) => Exit::Usage,
            Self::NotFound { .. } => Exit::NotFound,
            Self::NotReady { .. }
            | Self::NameTaken { .. }
            | Self::Nonsense { .. }
            | Self::Home(_)
            | Self::OtherNetwork { .. }
            | Self::Sign(_)
            | Self::Failed { .. }
            | Self::File { .. } => Exit::Failure,
        }
    }

    /// The next command to try.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NotRunning { .. } => {
                "start a network with `allod up`, or name another API with --api URL".into()
            }
            Self::Unreachable { .. } => {
                "check that `allod up` runs: allod doctor, allod network status".into()
            }
            Self::Down(_) => {
                "put that right: it is tried again by itself; or stop it: allod down".into()
            }
            Self::Problem(problem) if !problem.next_step.is_empty() => problem.next_step.clone(),
            Self::Problem(_) => "read the node's log for this request: allod config path".into(),
            Self::Rejected(rejection) => rejection.next_step.clone(),
            Self::NoPlacement(_) => {
                "change what the nearest one refuses, or see what the nodes have free: allod node list".into()
            }
            Self::Nonsense { .. } => {
                "use the same version of allod here and there: allod version".into()
            }
            Self::Timeout { .. } => "see how the node is doing: allod network status".into(),
            Self::NotReady { app, .. } => {
                format!("read on with `allod logs {app}` and `allod why {app}`")
            }
            Self::BadUrl { .. } => "leave --api out to use the API of this home".into(),
            Self::Home(_) => "see where things are: allod config path".into(),
            Self::Identity(_) | Self::NotAnAccount { .. } => {
                "see which identity is used: allod identity show".into()
            }
            Self::KeyNotListed { .. } => "list the account's keys: allod keys list".into(),
            Self::OtherNetwork { .. } => "check ALLOD_HOME and --api".into(),
            Self::Sign(_) => "see which identity is used: allod identity show".into(),
            Self::Seal(_) => "make the app smaller, then: allod plan".into(),
            Self::Spec(_) => "correct it, then look at the result: allod plan".into(),
            Self::NotFound { kind: "file", .. } => "name a compose file: allod deploy FILE".into(),
            Self::NotFound { kind: "node", .. } => {
                "list the nodes there are: allod node list".into()
            }
            Self::NotFound { .. } => "list what there is: allod status".into(),
            Self::NameTaken { name } => format!(
                "choose another name with --name, or end the other first: allod delete {name}"
            ),
            Self::Ambiguous { candidates, .. } => {
                let first = candidates.first().map_or("APP/SERVICE", String::as_str);
                format!("name one of them in full, such as {first}")
            }
            Self::Usage { help, .. } | Self::Failed { help, .. } => help.clone(),
            Self::File { .. } => "check the path and its permissions".into(),
        }
    }
}

fn told(down: &Down) -> String {
    let seconds = now_ms().saturating_sub(down.since_ms) / 1000;
    let (times, what) = match (down.tries, down.words.as_str()) {
        (1, "") => ("once".to_owned(), &down.end),
        (1, _) => ("once".to_owned(), &down.words),
        (tries, "") => (format!("{tries} times"), &down.end),
        (tries, _) => (format!("{tries} times"), &down.words),
    };
    format!("the node of this home cannot start, tried {times} in the last {seconds} s: {what}")
}

fn joined(diagnostics: &[Diagnostic]) -> String {
    let texts: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    texts.join("\n\n")
}

fn listed(refusals: &[view::NodeRefusal]) -> String {
    let mut text = String::new();
    for refusal in refusals {
        for rule in &refusal.rules {
            text.push_str("\n  ");
            text.push_str(&refusal.name);
            text.push_str(": ");
            text.push_str(rule);
        }
    }
    text
}
