//! One call of an operation, as its handler sees it: let in, and read.

use std::fs::File;
use std::str::FromStr;
use std::sync::Arc;

use allod_node::Node;
use allod_state::account::grant::{AppSelector, Grant, NodeSelector};
use allod_state::{AccountId, AppId, Rejection, State};
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Extensions, HeaderMap};
use serde::de::DeserializeOwned;

use super::onward::Asked;
use super::problem::Problem;
use super::seats::Standing;
use super::shared::Shared;

/// One call of an operation.
pub(crate) struct Call {
    pub(crate) node: Node,
    pub(crate) shared: Arc<Shared>,
    /// The request as it came.
    pub(crate) asked: Asked,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
    pub(crate) query: Query,
    /// The parameters of the path, by name.
    pub(crate) path: Vec<(String, String)>,
    pub(crate) caller: Option<Caller>,
    /// Whose the connection is.
    pub(crate) standing: Standing,
    pub(crate) payload: Payload,
}

/// What was sent along.
pub(crate) enum Payload {
    Nothing,
    Bytes(Bytes),
    File(File),
}

/// Who signed the request, and what the key may do.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account: AccountId,
    pub(crate) grant: Grant,
}

impl Caller {
    /// Whether the grant covers an app that is in the state.
    pub(crate) fn covers_app(&self, state: &State, app: &AppId) -> bool {
        match state.app(app) {
            Some(row) => self.grant.covers_app(&row.label),
            None => self.covers_all(),
        }
    }

    /// Whether the grant covers everything of the account.
    pub(crate) fn covers_all(&self) -> bool {
        matches!(self.grant.apps, AppSelector::All) && matches!(self.grant.nodes, NodeSelector::All)
    }

    /// Refuses a grant that covers only some of the account's things.
    pub(crate) fn must_cover_all(&self) -> Result<(), Problem> {
        if self.covers_all() {
            Ok(())
        } else {
            Err(Problem::resource_not_granted())
        }
    }
}

impl Call {
    /// Who signed. Operations that anybody may call have none.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        let unsigned = || Problem::internal("an operation asked who called, and need not know");
        self.caller.as_ref().ok_or_else(unsigned)
    }

    /// A parameter of the path.
    pub(crate) fn part(&self, name: &str) -> Result<&str, Problem> {
        let found = self.path.iter().find(|(key, _)| key == name);
        let missing = || Problem::internal(format!("the path has no `{name}`"));
        found.map(|(_, value)| value.as_str()).ok_or_else(missing)
    }

    /// The app of the path, by its id or its name: one of the signer's that its grant covers.
    pub(crate) fn app(&self) -> Result<AppId, Problem> {
        let (state, caller) = (self.node.state(), self.caller()?);
        let name = self.part("app")?;
        let app = self.node.app_id(&state, &caller.account, name);
        let app = app.ok_or_else(|| self.no_app())?;
        if caller.covers_app(&state, &app) {
            Ok(app)
        } else {
            Err(Problem::resource_not_granted())
        }
    }

    /// That there is no such app.
    pub(crate) fn no_app(&self) -> Problem {
        let name: String = self.part("app").unwrap_or("?").chars().take(80).collect();
        let next = Rejection::UnknownService.next_step();
        Problem::new(
            http::StatusCode::NOT_FOUND,
            "unknown-app",
            format!("there is no app `{name}`"),
            next.replace("its services", "apps"),
        )
    }

    /// The body's bytes.
    pub(crate) fn bytes(&self) -> Result<Bytes, Problem> {
        match &self.payload {
            Payload::Bytes(bytes) => Ok(bytes.clone()),
            Payload::Nothing | Payload::File(_) => Err(Problem::internal("the body was not kept")),
        }
    }

    /// The body as JSON of one shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        // The parser's words name fields and places, and never repeat a value that may be a secret.
        let unread = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            let detail =
                format!("the body is not the JSON that is expected (line {line}, column {column})");
            Problem::malformed(detail)
        };
        serde_json::from_slice(&self.bytes()?).map_err(unread)
    }

    /// The file that the body was kept in.
    pub(crate) fn take_file(&mut self) -> Result<File, Problem> {
        match std::mem::replace(&mut self.payload, Payload::Nothing) {
            Payload::File(file) => Ok(file),
            Payload::Nothing | Payload::Bytes(_) => Err(Problem::internal("the body was not kept")),
        }
    }

    /// Whether the caller asks for this kind of answer.
    pub(crate) fn accepts(&self, kind: &str) -> bool {
        let values = self.headers.get_all(ACCEPT).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|one| one.split(';').next().is_some_and(|one| one.trim() == kind))
    }

    /// Runs what reads files or may take long on a thread for such work.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.shared.work_place(self.standing).await?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Where the caller has gone meanwhile, the thread still had the place until here.
            drop(place);
            done
        });
        let done = done.await;
        done.map_err(|_| Problem::internal("the operation broke off"))
    }
}

/// The parts of a query, each read strictly: what is unknown or stands there twice is refused.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn read(text: &str, known: &[crate::ops::Parameter]) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let is_known = |name: &str| known.iter().any(|parameter| parameter.name == name);
        match pairs.iter().find(|(name, _)| !is_known(name)) {
            None => Ok(Self { pairs }),
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                let known: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                Err(Problem::malformed(format!(
                    "the query has `{name}`, which this operation does not read (it reads: {known})"
                )))
            }
        }
    }

    /// Every value of a name, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.pairs.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str())
    }

    /// The one value of a name.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Problem::malformed(format!("the query has `{name}` twice"))),
        }
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Problem> {
        let missing = || Problem::malformed(format!("the query has no `{name}`"));
        self.one(name)?.ok_or_else(missing)
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let unread = || Problem::malformed(format!("`{name}` is no number that is read here"));
        let read = |text: &str| text.parse().map_err(|_| unread());
        self.one(name)?.map(read).transpose()
    }

    /// A number up to `max`; more is taken for `max`.
    pub(crate) fn count(&self, name: &str, default: usize, max: usize) -> Result<usize, Problem> {
        Ok(self.number(name)?.unwrap_or(default).min(max))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::malformed(format!(
                "`{name}` is neither `true` nor `false`"
            ))),
        }
    }
}
