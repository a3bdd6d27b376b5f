//! Processes run beside a replica, over a WebSocket.
//!
//! Binary messages begin with a channel byte: 0 input, 1 output, 2 error output, 3 the terminal's size (rows and columns,
//! each two bytes, big end first), 4 end of input. The last message is text: `{"exit_code":n}`.

use allod_node::{ExecSpec, Which};
use allod_state::account::grant::Verb;

use super::{Access, Answer, Answered, Operation, Parameter, parameter, plain};
use crate::limits::{COMMAND_WORDS_MAX, REGISTRY_TIMEOUT};
use crate::server::call::{Call, Query};
use crate::server::onward;
use crate::server::problem::Problem;
use crate::server::terminal;
use crate::shape::Shape;

const QUERY: &[Parameter] = &[
    parameter(
        "service",
        Shape::Text,
        "The service; needed where several run.",
    ),
    parameter(
        "replica",
        Shape::Count,
        "The replica; the first that runs where absent.",
    ),
    parameter(
        "tty",
        Shape::Flag,
        "Whether it gets a terminal; `false` where absent.",
    ),
    parameter(
        "rows",
        Shape::Count,
        "Rows of the terminal; 24 where absent.",
    ),
    parameter(
        "cols",
        Shape::Count,
        "Columns of the terminal; 80 where absent.",
    ),
    Parameter {
        is_required: true,
        ..parameter(
            "cmd",
            Shape::List(&Shape::Text),
            "The command, one word each; repeated.",
        )
    },
];

pub(super) static RUN: Operation = Operation {
    name: "exec.run",
    path: "/v1/apps/{app}/exec",
    summary: "Runs a process beside a replica. Binary messages begin with a channel byte: 0 input, 1 output, 2 error \
              output, 3 terminal size (rows, columns: u16, big end first), 4 end of input; the last message is text, \
              `{\"exit_code\":n}`.",
    // Whoever decides what an app runs can run anything in it; whoever merely reads cannot.
    access: Access::Granted(&[Verb::Deploy]),
    query: QUERY,
    answer: Answer::Socket,
    is_passed_on: true,
    timeout: REGISTRY_TIMEOUT,
    ..plain(run)
};

fn run(mut call: Call) -> Answered {
    Box::pin(async move {
        let app = call.app()?;
        let account = call.caller()?.account;
        let which = which(&call.query)?;
        let terminal = size(&call.query)?;
        let args: Vec<String> = call.query.all("cmd").map(str::to_owned).collect();
        if args.is_empty() || args.len() > COMMAND_WORDS_MAX {
            let detail =
                format!("`cmd` must be given once for each word: 1 to {COMMAND_WORDS_MAX}");
            return Err(Problem::malformed(detail));
        }
        let place = call.shared.exec_place(call.standing)?;
        let node = call.node.clone();
        let (name, meant) = (app.to_string(), which.clone());
        let is_here = call.asked.is_passed_on || node.has_running(&account, &name, &meant);
        let others = node.elsewhere(&account, &name, &meant);
        if let Some(other) = others.first().filter(|_| !is_here) {
            return onward::socket(&mut call, *other, place).await;
        }
        let upgrade = terminal::Upgrade::of(&mut call)?;
        let started = call.blocking(move || {
            node.exec(&account, &app.to_string(), &which, |id| ExecSpec {
                id,
                args,
                env: Vec::new(),
                user: None,
                working_dir: None,
                terminal,
            })
        });
        let exec = started.await?.map_err(super::log::unreachable)?;
        terminal::open(&call, upgrade, exec, place)
    })
}

/// The replicas that the query means.
pub(super) fn which(query: &Query) -> Result<Which, Problem> {
    Ok(Which {
        service: query.one("service")?.map(str::to_owned),
        replica: query.number("replica")?,
    })
}

fn size(query: &Query) -> Result<Option<(u16, u16)>, Problem> {
    if !query.flag("tty")? {
        return Ok(None);
    }
    let rows = query.number("rows")?.filter(|rows| *rows > 0).unwrap_or(24);
    let columns = query
        .number("cols")?
        .filter(|columns| *columns > 0)
        .unwrap_or(80);
    Ok(Some((rows, columns)))
}
