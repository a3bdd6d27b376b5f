//! The one list of operations: HTTP routes, the OpenAPI document and the reference come from it.
//!
//! An operation is a constant in its noun's file and a line in [`OPERATIONS`].

mod account;
mod app;
mod bill;
mod door;
mod event;
mod exec;
mod export;
mod image;
mod log;
mod manifest;
mod network;
mod node;
mod peer;
mod plan;
mod registry;
mod transaction;
mod validator;
mod volume;

use std::time::Duration;

use allod_state::account::grant::Verb;
use axum::body::Body;
use futures_util::future::BoxFuture;
use http::Response;

use crate::limits::ANSWER_TIMEOUT;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::Shape;

/// Every operation, by name.
pub static OPERATIONS: &[&Operation] = &[
    &account::HISTORY,
    &account::OWN,
    &account::SHOW,
    &app::LIST,
    &app::SHOW,
    &app::WHY,
    &bill::PROVE,
    &bill::SHOW,
    &door::CHECK,
    &event::LIST,
    &event::LIST_OF_APP,
    &exec::RUN,
    &export::SHOW,
    &image::IMPORT,
    &image::RESOLVE,
    &image::SHOW,
    &log::READ,
    &manifest::KEEP,
    &manifest::SHOW,
    &network::HEALTH,
    &network::OPENAPI,
    &network::SHOW,
    &node::LIST,
    &peer::LIST,
    &plan::MAKE,
    &registry::LOGIN,
    &registry::LOGOUT,
    &transaction::SUBMIT,
    &validator::LIST,
    &volume::DATA,
    &volume::FILL,
    &volume::LIST,
];

/// Something that a caller can ask of a node.
#[derive(Debug)]
pub struct Operation {
    /// Its name: the noun and the verb.
    pub name: &'static str,
    /// The HTTP method.
    pub method: Method,
    /// The HTTP path; parts in braces are parameters.
    pub path: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Who may ask.
    pub access: Access,
    /// What the query may hold.
    pub query: &'static [Parameter],
    /// What is sent along.
    pub input: Input,
    /// What comes back.
    pub answer: Answer,
    /// Whether it is answered even when strangers get no turn: what tells whether the node lives costs no more than a
    /// refusal.
    pub is_vital: bool,
    /// Whether it is answered through another machine too, where only this one can.
    pub is_passed_on: bool,
    /// How long the answer may take; streams begin within it.
    pub timeout: Duration,
    pub(crate) handler: Handler,
}

/// The HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something.
    Post,
    /// Puts something in its place.
    Put,
    /// Takes it away.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Answers a call.
pub(crate) type Handler = fn(Call) -> Answered;
/// What a handler comes to.
pub(crate) type Answered = BoxFuture<'static, Result<Response<Body>, Problem>>;

/// Who may ask. Anything but [`Access::Public`] needs a signed request; what no row allows is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches the node.
    Public,
    /// Any key of an account, for what the ledger tells all its members and for the account itself.
    Member,
    /// A key whose grant holds one of these verbs.
    Granted(&'static [Verb]),
    /// A key of the account that operates this node, whose grant holds one of these verbs: what they ask for
    /// concerns the machine and not only an account.
    Operator(&'static [Verb]),
}

/// A parameter of the query.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub shape: Shape,
    /// Whether it must be there.
    pub is_required: bool,
    /// What it means, in a sentence.
    pub summary: &'static str,
}

/// What is sent along.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// Nothing.
    Nothing,
    /// JSON.
    Json(Shape),
    /// Bytes that are kept in memory.
    Bytes {
        /// What they are.
        what: &'static str,
        /// How many there may be.
        bytes_max: u64,
    },
    /// Bytes that are kept in a file while they are looked at.
    File {
        /// What they are.
        what: &'static str,
        /// How many there may be.
        bytes_max: u64,
    },
}

/// What comes back where nothing is refused.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// One JSON document.
    Json(Shape),
    /// A JSON document, or server-sent events where the caller accepts them.
    JsonOrEvents(Shape, Shape),
    /// Lines of JSON, or server-sent events where the caller follows.
    LinesOrEvents(Shape),
    /// Bytes, which come as they are read.
    Bytes(&'static str),
    /// A WebSocket.
    Socket,
}

pub(crate) use event::retain_covered;
pub(crate) use image::status_of_image;

/// The verbs of keys that work on apps: any of them may see the apps that its grant covers, or it could not name what it
/// changes.
const WORKERS: &[Verb] = &[Verb::Delete, Verb::Deploy, Verb::Read, Verb::Scale];

const fn parameter(name: &'static str, shape: Shape, summary: &'static str) -> Parameter {
    Parameter {
        name,
        shape,
        is_required: false,
        summary,
    }
}

/// What operations have where they do not say otherwise.
const fn plain(handler: Handler) -> Operation {
    Operation {
        name: "",
        method: Method::Get,
        path: "",
        summary: "",
        access: Access::Granted(&[]),
        query: &[],
        input: Input::Nothing,
        answer: Answer::Nothing,
        is_vital: false,
        is_passed_on: false,
        timeout: ANSWER_TIMEOUT,
        handler,
    }
}
