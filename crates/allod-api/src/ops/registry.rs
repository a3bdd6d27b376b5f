//! Credentials for registries, kept by the node for its own pulls.

use allod_node::LoginError;
use allod_node::identity::Secret;
use allod_state::account::grant::Verb;
use http::StatusCode;
use serde::Deserialize;

use super::{Access, Answer, Answered, Input, Method, Operation, plain};
use crate::server::answer::nothing;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::{CREDENTIALS, Shape};

/// Longest host, user or password, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

pub(super) static LOGIN: Operation = Operation {
    name: "registry.login",
    method: Method::Put,
    path: "/v1/registries/{host}",
    summary: "Keeps credentials for a registry, sealed to this node.",
    access: Access::Operator(&[Verb::Nodes]),
    input: Input::Json(Shape::View(&CREDENTIALS)),
    answer: Answer::Nothing,
    ..plain(login)
};

pub(super) static LOGOUT: Operation = Operation {
    name: "registry.logout",
    method: Method::Delete,
    path: "/v1/registries/{host}",
    summary: "Forgets the credentials for a registry.",
    access: Access::Operator(&[Verb::Nodes]),
    answer: Answer::Nothing,
    ..plain(logout)
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    user: String,
    password: String,
}

fn login(call: Call) -> Answered {
    Box::pin(async move {
        let host = host(&call)?;
        let Credentials { user, password } = call.json()?;
        let password = Secret::new(password);
        if user.is_empty() || user.len().max(password.expose().len()) > TEXT_BYTES_MAX {
            return Err(Problem::malformed(
                "the user is empty, or one of the texts is too long",
            ));
        }
        let node = call.node.clone();
        let kept = call.blocking(move || node.login(host, user, &password));
        kept.await?.map_err(unkept)?;
        nothing()
    })
}

fn logout(call: Call) -> Answered {
    Box::pin(async move {
        let (node, host) = (call.node.clone(), host(&call)?);
        let forgotten = call.blocking(move || node.logout(&host)).await?;
        if forgotten.map_err(unkept)? {
            return nothing();
        }
        Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-registry",
            "this node has no credentials for that registry",
            "check the host's name, with its port",
        ))
    })
}

fn host(call: &Call) -> Result<String, Problem> {
    let host = call.part("host")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || host.len() > 255 || !host.chars().all(allowed) {
        return Err(Problem::malformed(
            "that is no registry's host; write it as host or host:port",
        ));
    }
    Ok(host.to_owned())
}

fn unkept(error: LoginError) -> Problem {
    let detail = error.to_string();
    match error {
        LoginError::TooMany => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too-many",
            detail,
            "log out of one: allod registry logout",
        ),
        LoginError::Write { .. } => Problem::internal(detail),
    }
}
