//! Doors: the ports of this machine and the host names that an app would have for itself.

use std::net::{IpAddr, SocketAddr};

use allod_node::node::{Claim, Taken};
use allod_state::account::grant::Verb;
use http::StatusCode;
use serde::Deserialize;

use super::{Access, Answer, Answered, Input, Method, Operation, plain};
use crate::server::answer::nothing;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::{DOORS, Shape};

pub(super) static CHECK: Operation = Operation {
    name: "door.check",
    method: Method::Post,
    path: "/v1/doors/check",
    summary: "Whether an app can have these ports and host names on this node; refused with who has the first that it cannot.",
    access: Access::Granted(&[Verb::Deploy]),
    input: Input::Json(Shape::View(&DOORS)),
    answer: Answer::Nothing,
    ..plain(check)
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Doors {
    app: String,
    ports: Vec<Port>,
    hosts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    Tcp,
    Udp,
}

fn check(call: Call) -> Answered {
    Box::pin(async move {
        let Doors { app, ports, hosts } = call.json()?;
        let port = |port: Port| {
            let listen = SocketAddr::new(port.address, port.port);
            match port.protocol {
                Protocol::Tcp => Claim::Tcp(listen),
                Protocol::Udp => Claim::Udp(listen),
            }
        };
        let claims: Vec<Claim> = ports
            .into_iter()
            .map(port)
            .chain(hosts.into_iter().map(Claim::Host))
            .collect();
        let node = call.node.clone();
        match call.blocking(move || node.taken(&app, &claims)).await? {
            None => nothing(),
            Some(taken) => Err(conflict(&taken)),
        }
    })
}

fn conflict(taken: &Taken) -> Problem {
    let (code, next) = match taken {
        Taken::PortOfApp { .. } | Taken::PortOfProgram { .. } => (
            "port-taken",
            "publish another port, or end what has this one: `ss -lnp` names it, and so does allod status",
        ),
        Taken::PortRefused { .. } => (
            "port-refused",
            "publish a port from 1024 on, at an address of this machine",
        ),
        Taken::Host { .. } => (
            "host-taken",
            "give the app another host name, or delete the one that has it",
        ),
    };
    Problem::new(StatusCode::CONFLICT, code, taken.to_string(), next)
}
