//! The gate: the one place where it is decided who may call what.
//!
//! A request passes the door (`Host`, `Origin`) first, signed or not. Then, unless the operation is for anybody, its
//! signature must be that of a key which the state lists for the account it names, whose grant has not ended and holds
//! what the operation's row asks for. Only then is its body read, within its bound, and held against the signed digest.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use allod_node::{Node, Retired, view};
use allod_state::account::grant::Verb;
use allod_state::{AccountId, PublicKey, Rejection, State, acting_key};
use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::call::{Caller, Payload};
use super::problem::Problem;
use super::seats::{Seat, Standing};
use super::shared::Shared;
use crate::limits::{BODY_SILENCE_MAX, BODY_TIMEOUT, JSON_BYTES_MAX};
use crate::openapi;
use crate::ops::{Access, Input, Operation};
use crate::signature::{Head, Share, SignatureError, Verified};

/// Who is let in: nobody in particular, or the signer, whose body is still to be believed.
pub(super) struct Entry {
    pub(super) caller: Option<Caller>,
    head: Option<Head>,
}

/// Decides by the head alone, so that a stranger's body is never read.
///
/// Who signs what anybody may ask for gets no more than anybody, but from a seat of its own.
pub(super) fn admit(
    shared: &Shared,
    operation: &Operation,
    parts: &Parts,
    seat: &Seat,
) -> Result<Entry, Problem> {
    if operation.access == Access::Public {
        shared.verifier.door().check(parts)?;
        let is_new = seat.standing() == Standing::Stranger;
        let is_signed = is_new && parts.headers.contains_key("signature-input");
        let head = match is_signed.then(|| verify(shared, parts, seat)) {
            Some(Ok((head, _))) => Some(head),
            // What is refused without a signature is refused with a wrong one, and by the operation itself.
            Some(Err(_)) | None => None,
        };
        return Ok(Entry { caller: None, head });
    }
    let (head, (caller, operator)) = verify(shared, parts, seat)?;
    authorize(operation.access, &caller, operator)?;
    Ok(Entry {
        caller: Some(caller),
        head: Some(head),
    })
}

/// Believes a signature, and gives the connection the seat that goes with it. What has no seat is not even checked.
fn verify(
    shared: &Shared,
    parts: &Parts,
    seat: &Seat,
) -> Result<(Head, (Caller, Option<AccountId>)), Problem> {
    let state = shared.node.state();
    let now_ms = allod_node::time::now_ms();
    let operator = state.node(&shared.node.id()).map(|node| node.operator);
    // Why it goes no further though the form is right; nothing where nobody lists the key.
    let mut refused = None;
    let verified = shared
        .verifier
        .verify_head_of(parts, now_ms / 1_000, |signer| {
            let Some(account) = account_of(&state, signer) else {
                refused = Some(ambiguous());
                return None;
            };
            acting_key(&state, &account, &signer.key, now_ms).ok()?;
            let standing = standing_of(account, operator);
            refused = seat.could_become(standing).err();
            refused.is_none().then_some(match standing {
                Standing::Operator => Share::Operator,
                Standing::Member(_) | Standing::Stranger => Share::Account(account),
            })
        });
    if let Some(refused) = refused {
        return Err(refused);
    }
    let head = verified.map_err(|error| match error {
        SignatureError::KeyUnknown { key } => unlisted(shared, key),
        error => error.into(),
    })?;
    let caller = caller(&state, head.signer(), now_ms)?;
    seat.become_proven(standing_of(caller.account, operator))?;
    Ok((head, (caller, operator)))
}

fn standing_of(account: AccountId, operator: Option<AccountId>) -> Standing {
    if operator == Some(account) {
        Standing::Operator
    } else {
        Standing::Member(account)
    }
}

/// The account that a signer acts for: the one it names, or else the one that began with its key, or else the only one
/// that lists it. Nothing where several do.
fn account_of(state: &State, signer: &Verified) -> Option<AccountId> {
    if let Some(account) = signer.account {
        return Some(account);
    }
    let first = AccountId::of_first_key(&signer.key);
    if acting_key(state, &first, &signer.key, 0).is_ok() {
        return Some(first);
    }
    match state.accounts_of_key(&signer.key, 2).as_slice() {
        [] => Some(first),
        [only] => Some(*only),
        _ => None,
    }
}

fn caller(state: &State, signer: Verified, now_ms: u64) -> Result<Caller, Problem> {
    let account = account_of(state, &signer).ok_or_else(ambiguous)?;
    let record = acting_key(state, &account, &signer.key, now_ms).map_err(|r| refusal(&r))?;
    // Block time stands still while nothing happens, and a grant must not outlive its end because of that.
    let now_ms = now_ms.max(state.tip().time_ms);
    if let Some(expired_ms) = record.grant.expires_ms.filter(|end| now_ms >= *end) {
        return Err(refusal(&Rejection::ExpiredKey { expired_ms }));
    }
    Ok(Caller {
        account,
        grant: record.grant.as_ref().clone(),
    })
}

fn ambiguous() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "ambiguous-account",
        "several accounts list this key",
        "name the account: allod identity import --account ACCOUNT",
    )
}

/// Why a key is not listed.
fn unlisted(shared: &Shared, key: String) -> Problem {
    let parsed = key.parse().ok();
    let retired = parsed.and_then(|key| retired(&shared.node, &key, None));
    retired.unwrap_or_else(|| SignatureError::KeyUnknown { key }.into())
}

/// What became of a key that no account lists any more, for people who bring an old key or phrase. It is told to
/// whoever names the key: that it ended is no secret, and nothing else is told. Where an account is named, it must have
/// been that one's.
pub(crate) fn retired(node: &Node, key: &PublicKey, named: Option<AccountId>) -> Option<Problem> {
    let Retired {
        account,
        time_ms,
        rotated_to,
    } = node
        .retired_key(key)
        .filter(|retired| named.is_none_or(|named| named == retired.account))?;
    Some(match rotated_to {
        Some(new) => Problem::new(
            StatusCode::FORBIDDEN,
            "rotated-key",
            format!(
                "this key no longer works, nor does its recovery phrase: {account} replaced it by {new} at {time_ms} ms"
            ),
            "use the key that replaced it, from its own machine, export or phrase: allod identity import",
        ),
        None => Problem::new(
            StatusCode::FORBIDDEN,
            "revoked-key",
            format!("this key no longer works: {account} revoked it at {time_ms} ms"),
            "ask the account's owner for a new key: allod keys add",
        ),
    })
}

/// The authorization table: what each [`Access`] asks of a caller. What is not allowed here is refused.
pub(super) fn authorize(
    access: Access,
    caller: &Caller,
    operator: Option<AccountId>,
) -> Result<(), Problem> {
    let holds = |verbs: &[Verb]| verbs.iter().any(|verb| caller.grant.verbs.contains(verb));
    let must_hold = |verbs: &[Verb]| {
        if holds(verbs) {
            return Ok(());
        }
        let names: Vec<&str> = verbs.iter().map(|verb| verb.name()).collect();
        Err(Problem::verb_not_granted(&names.join(" or ")))
    };
    match access {
        Access::Public | Access::Member => Ok(()),
        Access::Granted(verbs) => must_hold(verbs),
        Access::Operator(verbs) => {
            must_hold(verbs)?;
            if operator == Some(caller.account) {
                return caller.must_cover_all();
            }
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                "not-your-node",
                "this node belongs to another operator",
                format!("use {}", openapi::access(access)),
            ))
        }
    }
}

fn refusal(rejection: &Rejection) -> Problem {
    Problem::of_rejection(&view::Rejection::from(rejection))
}

/// Reads the body within its bound and holds it against the signature. What is kept in a file is kept in `room`.
pub(super) async fn payload(
    input: Input,
    head: Option<Head>,
    parts: &Parts,
    body: Body,
    room: &Path,
) -> Result<Payload, Problem> {
    let (kinds, bytes_max): (&[&str], u64) = match input {
        Input::Nothing => {
            head.map(|head| head.with_body(&[])).transpose()?;
            return Ok(Payload::Nothing);
        }
        Input::Json(_) => (&["application/json"], JSON_BYTES_MAX),
        Input::Bytes { bytes_max, .. } => (&["application/octet-stream"], bytes_max),
        Input::File { bytes_max, .. } => (
            &["application/x-tar", "application/octet-stream"],
            bytes_max,
        ),
    };
    check_kind(parts, kinds)?;
    check_length(parts, bytes_max)?;
    if let Input::File { .. } = input {
        let (file, sha256) = keep(body, bytes_max, room).await?;
        head.map(|head| head.with_sha256(sha256)).transpose()?;
        return Ok(Payload::File(file));
    }
    let bytes = tokio::time::timeout(BODY_TIMEOUT, collect(body, bytes_max));
    let bytes = bytes.await.map_err(|_| body_stopped())??;
    head.map(|head| head.with_body(&bytes)).transpose()?;
    Ok(Payload::Bytes(bytes))
}

impl Entry {
    /// What must still be believed, and who said it.
    pub(super) fn into_parts(self) -> (Option<Caller>, Option<Head>) {
        (self.caller, self.head)
    }
}

fn check_kind(parts: &Parts, kinds: &[&str]) -> Result<(), Problem> {
    let sent = parts.headers.get(CONTENT_TYPE);
    let sent = sent
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    if kinds.iter().any(|kind| essence.eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    let wanted = kinds.join(" or ");
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "wrong-content-type",
        format!("the body is not declared as {wanted}"),
        format!(
            "send it with `content-type: {}`",
            kinds.first().copied().unwrap_or_default()
        ),
    ))
}

fn check_length(parts: &Parts, bytes_max: u64) -> Result<(), Problem> {
    let length = parts.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(Problem::too_large(bytes_max));
    }
    Ok(())
}

async fn collect(mut body: Body, bytes_max: u64) -> Result<Bytes, Problem> {
    let mut all = Vec::new();
    while let Some(piece) = piece(&mut body).await? {
        let length = u64::try_from(all.len() + piece.len()).unwrap_or(u64::MAX);
        if length > bytes_max {
            return Err(Problem::too_large(bytes_max));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

/// Keeps the body in a file without a name, which goes when it is closed.
async fn keep(mut body: Body, bytes_max: u64, room: &Path) -> Result<(File, [u8; 32]), Problem> {
    let unkept = |error: std::io::Error| {
        Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "no-space",
            format!("what was sent could not be kept on the node; is the disk full? {error}"),
            "free some space there",
        )
    };
    let mut file = tempfile::tempfile_in(room).map_err(unkept)?;
    let (mut hasher, mut length) = (Sha256::new(), 0_u64);
    while let Some(piece) = piece(&mut body).await? {
        length = length.saturating_add(piece.len().try_into().unwrap_or(u64::MAX));
        if length > bytes_max {
            return Err(Problem::too_large(bytes_max));
        }
        let work = move || {
            hasher.update(&piece);
            file.write_all(&piece).map(|()| (file, hasher))
        };
        let written = tokio::task::spawn_blocking(work).await;
        let written = written.map_err(|_| Problem::internal("keeping the body broke off"))?;
        (file, hasher) = written.map_err(unkept)?;
    }
    Ok((file, hasher.finalize().into()))
}

fn body_stopped() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-timeout",
        "the body did not come in time",
        "send it again",
    )
}

async fn piece(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(BODY_SILENCE_MAX, body.frame()).await;
        let frame = frame.map_err(|_| body_stopped())?;
        match frame.transpose() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Err(_) => return Err(Problem::malformed("the body broke off")),
        }
    }
}
