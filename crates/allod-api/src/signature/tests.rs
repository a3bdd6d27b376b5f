//! A signed request is let in once, as it was signed, from where it may come; everything else is refused by name.

use allod_node::identity::Identity;
use allod_state::{AccountId, PublicKey, Signature};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::base::{component, signature_base};
use super::journal::RECORD_BYTES;
use super::limits::{
    AUTHORITY_BYTES_MAX, JOURNAL_RECORDS_MAX, LIFETIME_S, NONCE_GRACE_S, NONCES_MAX,
    NONCES_PER_ACCOUNT_MAX, NONCES_PER_KEY_MAX, OPERATOR_NONCES_MAX, SIGNATURE_INPUT_BYTES_MAX,
    SKEW_S_MAX,
};
use super::replay::Replay;
use super::sign::{Signer, sign_with_nonce};
use super::*;

mod admitted;
mod demands;
mod door;
mod nonsense;
mod replay;
mod restart;
mod standard;
mod tampering;

const HOST: &str = "127.0.0.1:7400";
const URL: &str = "http://127.0.0.1:7400/v1/apps/web/logs?follow=true&tail=10";
const NOW_S: u64 = 1_800_000_000;
const STARTED_S: u64 = NOW_S - 1_000;
const BODY: &[u8] = b"{\"command\":[\"sh\"]}";

fn door() -> Door {
    Door::new(Scheme::Http, [HOST, "localhost:7400", "[::1]:7400"])
}

fn verifier() -> Verifier {
    Verifier::new(door(), STARTED_S)
}

fn parts(method: &str, url: &str) -> Parts {
    Request::builder()
        .method(method)
        .uri(url)
        .body(())
        .unwrap()
        .into_parts()
        .0
}

/// The request as a server reads it from an HTTP/1.1 connection.
fn received(mut parts: Parts) -> Parts {
    let authority = parts.uri.authority().unwrap().to_string();
    parts
        .headers
        .insert("host", HeaderValue::from_str(&authority).unwrap());
    parts.uri = parts
        .uri
        .path_and_query()
        .unwrap()
        .as_str()
        .parse()
        .unwrap();
    parts
}

fn signed(method: &str, url: &str, body: &[u8], identity: &Identity) -> Parts {
    let mut parts = parts(method, url);
    sign(&mut parts, body, identity, NOW_S).unwrap();
    received(parts)
}

fn signed_with_nonce(parts: &mut Parts, identity: &Identity, nonce: &str) -> Result<(), SignError> {
    let account = identity.account();
    let signer = Signer { identity, account };
    sign_with_nonce(parts, b"", &signer, NOW_S, nonce)
}

fn account() -> Identity {
    Identity::new_account().unwrap()
}

fn check(parts: &Parts, body: &[u8]) -> Result<Verified, SignatureError> {
    verifier().verify(parts, body, NOW_S, |_| true)
}

fn refused(parts: &Parts, body: &[u8]) -> &'static str {
    check(parts, body).unwrap_err().code()
}

/// Rewrites `Signature-Input` and signs the outcome with `identity`: a client that signs rightly, but something else.
fn resigned(parts: &mut Parts, identity: &Identity, edit: impl FnOnce(String) -> String) {
    let input = parts.headers["signature-input"]
        .to_str()
        .unwrap()
        .to_owned();
    let input = edit(input);
    parts
        .headers
        .insert("signature-input", HeaderValue::from_str(&input).unwrap());
    let (_, parameters) = input.split_once('=').unwrap();
    let (list, _) = parameters.split_once(')').unwrap();
    let names: Vec<&str> = list
        .trim_start_matches('(')
        .split_ascii_whitespace()
        .map(|name| name.split_once('"').unwrap().1.split_once('"').unwrap().0)
        .collect();
    let values = names
        .iter()
        .filter_map(|name| Some((*name, component(parts, Scheme::Http, name)?)));
    let Signature::Ed25519(bytes) = identity.sign(signature_base(values, parameters).as_bytes());
    let text = format!("allod=:{}:", data_encoding::BASE64.encode(&bytes));
    parts
        .headers
        .insert("signature", HeaderValue::from_str(&text).unwrap());
}
