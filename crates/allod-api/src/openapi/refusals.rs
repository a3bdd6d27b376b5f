//! Every refusal in one table: its stable name, its status, what a command ends with, and the next step.

use std::collections::BTreeMap;

use allod_node::IMAGE_REFUSALS;
use allod_state::Rejection;

use crate::client::{Exit, exit_of};
use crate::ops::status_of_image;
use crate::server::status_of_rejection;
use crate::signature::SignatureError;

const HEAD: &str = "\
# Refusals

This page is written from the code. Every refusal of the API is a `Problem` (RFC 9457) with one of these stable names in
`code`, what is wrong in this case in `detail`, and what to do in `next_step`; commands print the same, and end with the
number in the third column. What is refused costs nothing: a transaction that the law refuses changes nothing, and what
does not become a transaction is not even seen by it.

| exit | means |
|---|---|
| 0 | it is done |
| 1 | it failed |
| 2 | it was called wrongly, or the deploy file is wrong |
| 3 | what it names does not exist |
| 4 | the identity, or a login, is missing or not accepted |
| 5 | a grant or policy does not allow it |
| 6 | the credits do not suffice |
| 7 | no node can run it |
| 8 | it took too long |
| 9 | the network, or a registry, cannot be reached |
";

/// The refusals of the doors themselves: name, status, what is wrong, and what to do.
const OF_THE_API: [(&str, u16, &str, &str); 37] = [
    (
        "account-full",
        429,
        "too many transactions of the account wait for a block",
        "wait for one of its transactions before sending more",
    ),
    (
        "ambiguous-account",
        409,
        "several accounts list the key",
        "name the account: `allod identity import --account ACCOUNT`",
    ),
    (
        "bad-signature",
        401,
        "a transaction's signature is not its key's",
        "sign the transaction with the key that it names",
    ),
    (
        "body-timeout",
        408,
        "the body did not come in time",
        "send it again",
    ),
    (
        "body-too-large",
        413,
        "the body is longer than the operation reads",
        "send less at a time",
    ),
    (
        "host-taken",
        409,
        "another app answers for the host name",
        "give the app another host name, or delete the one that has it",
    ),
    (
        "internal",
        500,
        "the node is at fault",
        "read the node's log; it says what happened",
    ),
    (
        "key-full",
        429,
        "too many transactions of the key wait for a block",
        "wait for one of its transactions before sending more",
    ),
    (
        "malformed-request",
        400,
        "the query, the path or the body cannot be read",
        "correct the request; `GET /v1/openapi.json` says what is read",
    ),
    (
        "manifest-too-large",
        413,
        "the sealed half of an app is too large",
        "make the app's files and variables smaller",
    ),
    (
        "mempool-full",
        429,
        "too many transactions wait for a block",
        "send the same transaction again a moment later",
    ),
    (
        "method-not-allowed",
        405,
        "the path has no such method",
        "use a method that the header `Allow` names",
    ),
    (
        "no-quorum",
        503,
        "too few validators are reached to decide a block",
        "what runs goes on; the transaction waits, and is decided once enough are back or expires: allod validator status",
    ),
    (
        "not-a-websocket",
        426,
        "the operation speaks over a WebSocket",
        "ask for an upgrade to a WebSocket, version 13",
    ),
    (
        "port-refused",
        409,
        "the system does not open the port for this node",
        "publish a port from 1024 on, at an address of this machine",
    ),
    (
        "port-taken",
        409,
        "another app or program has the port",
        "publish another port, or end what has this one",
    ),
    (
        "read-only",
        507,
        "the node's disk is full, and its ledger only reads",
        "free some disk on the node; it goes on by itself",
    ),
    (
        "revoked-key",
        403,
        "the key was revoked",
        "use another key of the account, or ask its owner for one: `allod keys add`",
    ),
    (
        "rotated-key",
        403,
        "another key took the key's place",
        "import the phrase that was shown when the key was rotated: `allod identity import`",
    ),
    (
        "stopping",
        503,
        "the node shuts down",
        "send the very same request again: a transaction takes effect once",
    ),
    (
        "timeout",
        504,
        "the node took too long",
        "try again; if it stays so, read the node's log",
    ),
    (
        "ambiguous",
        422,
        "several replicas fit what was named",
        "name one of them in full: APP/SERVICE",
    ),
    (
        "volume-busy",
        409,
        "the volume has data already, or a replica has it",
        "give it up first, or leave the app out: allod volume list",
    ),
    (
        "not-running",
        409,
        "the replica does not run on this node",
        "see why, and on which node it should run: allod why APP",
    ),
    (
        "elsewhere",
        409,
        "the replica that is meant has moved to another machine",
        "ask again in a moment: it has just moved",
    ),
    (
        "machine-unreached",
        502,
        "the machine that runs it cannot be asked",
        "see who is reached, and how: allod network peers",
    ),
    (
        "not-passed-on",
        403,
        "another machine passed on what only this machine's own callers may ask",
        "ask this machine's own API",
    ),
    (
        "runtime",
        502,
        "the container did not take the command",
        "correct the command, or see whether the replica runs: allod status",
    ),
    (
        "too-many-processes",
        429,
        "too many processes run beside replicas",
        "try again in a moment",
    ),
    (
        "busy",
        429,
        "too many requests are being answered",
        "try again in a moment",
    ),
    (
        "too-many-connections",
        429,
        "too many connections are being answered",
        "try again in a moment",
    ),
    (
        "too-many-streams",
        429,
        "too many streams are open",
        "try again in a moment",
    ),
    (
        "unknown-image",
        404,
        "this node does not have the image",
        "resolve and deploy it, or hand it over: allod run --image-file",
    ),
    (
        "unknown-manifest",
        404,
        "no kept revision of the account's apps names this manifest, or it is not here",
        "ask a node that runs the app, or the one that it was deployed through",
    ),
    (
        "unknown-path",
        404,
        "there is nothing at this path",
        "see what there is: GET /v1/openapi.json",
    ),
    (
        "unknown-registry",
        404,
        "this node has no credentials for that registry",
        "check the host's name, with its port",
    ),
    (
        "wrong-content-type",
        415,
        "the body is declared as something else",
        "send it with the content type that the operation names",
    ),
];

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What a command ends with.
    pub exit: Exit,
    /// What is wrong.
    pub meaning: String,
    /// What to do.
    pub next_step: String,
}

/// Every refusal by its name.
#[must_use]
pub fn all() -> BTreeMap<&'static str, Refusal> {
    let row = |code, status, meaning: &str, next_step: &str| {
        let refusal = Refusal {
            status,
            exit: exit_of(code, status),
            meaning: meaning.to_owned(),
            next_step: next_step.to_owned(),
        };
        (code, refusal)
    };
    let api = OF_THE_API;
    let api = api.map(|(code, status, meaning, next)| row(code, status, meaning, next));
    let images = IMAGE_REFUSALS
        .map(|(code, meaning, next)| row(code, status_of_image(code).as_u16(), meaning, next));
    let law = Rejection::LIST.iter().map(|(_, code, meaning, next)| {
        row(code, status_of_rejection(code).as_u16(), meaning, next)
    });
    let signatures = SignatureError::examples().into_iter().map(|error| {
        row(
            error.code(),
            error.status().as_u16(),
            &error.to_string(),
            error.next_step(),
        )
    });
    let rows = api.into_iter().chain(images).chain(law).chain(signatures);
    rows.collect()
}

/// The page of refusals, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    text.push_str(
        "\n| name | status | exit | what is wrong | next step |\n|---|---|---|---|---|\n",
    );
    for (code, refusal) in all() {
        let Refusal {
            status,
            exit,
            meaning,
            next_step,
        } = refusal;
        let exit = exit.code();
        let line = format!("| `{code}` | {status} | {exit} | {meaning} | {next_step} |\n");
        text.push_str(&without_names(&line));
    }
    text
}

/// A message with what differs from case to case left out.
fn without_names(message: &str) -> String {
    let mut text = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        text.push('…');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    text + rest
}
