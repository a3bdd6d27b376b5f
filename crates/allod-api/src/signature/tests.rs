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

// --- The standard ---

/// RFC 9421, appendix B.2.6, with the key of B.1.4.
#[test]
fn the_standards_ed25519_vector_is_reproduced() {
    let decode = |text: &str| data_encoding::BASE64.decode(text.as_bytes()).unwrap();
    let seed: [u8; 32] = decode("n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU=")
        .try_into()
        .unwrap();
    let public: [u8; 32] = decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")
        .try_into()
        .unwrap();
    let mut parts = parts("POST", "/foo?param=Value&Pet=dog");
    for (name, value) in [
        ("host", "example.com"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ] {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    let names = [
        "date",
        "@method",
        "@path",
        "@authority",
        "content-type",
        "content-length",
    ];
    let values = names.map(|name| (name, component(&parts, Scheme::Https, name).unwrap()));
    let parameters = "(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
                      ;created=1618884473;keyid=\"test-key-ed25519\"";
    let base = signature_base(values, parameters);
    assert_eq!(
        base,
        "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\
         \"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n\
         \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \
         \"content-length\");created=1618884473;keyid=\"test-key-ed25519\""
    );
    let expected: [u8; 64] = decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
    )
    .try_into()
    .unwrap();
    let made = ed25519_zebra::SigningKey::from(seed)
        .sign(base.as_bytes())
        .to_bytes();
    assert_eq!(made, expected);
    PublicKey::Ed25519(public)
        .verify(base.as_bytes(), &Signature::Ed25519(expected))
        .unwrap();
}

/// RFC 9530, appendix B.1 (the representation of `{"hello": "world"}` with a line feed).
#[test]
fn the_standards_content_digest_is_reproduced() {
    assert_eq!(
        digest::of(&digest::sha256(b"{\"hello\": \"world\"}\n")),
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    );
}

// --- What is let in ---

#[test]
fn a_signed_read_is_let_in() {
    let identity = account();
    let parts = signed("GET", URL, b"", &identity);
    let verified = check(&parts, b"").unwrap();
    assert_eq!(verified.key, identity.public_key());
    assert_eq!(verified.account, identity.account());
    assert!(!parts.headers.contains_key("content-digest"));
}

#[test]
fn a_signed_body_is_let_in_and_can_be_asked_for_late() {
    let identity = account();
    let parts = signed("POST", URL, BODY, &identity);
    let head = verifier().verify_head(&parts, NOW_S, |_| true).unwrap();
    head.with_body(BODY).unwrap();
    let head = verifier().verify_head(&parts, NOW_S, |_| true).unwrap();
    assert_eq!(
        head.with_body(b"other"),
        Err(SignatureError::DigestMismatch)
    );
}

#[test]
fn a_body_in_a_file_is_held_against_its_digest() {
    let identity = account();
    let hash = |body: &[u8]| <[u8; 32]>::from(Sha256::digest(body));
    let head = |body: &[u8]| {
        let parts = signed("POST", URL, body, &identity);
        verifier().verify_head(&parts, NOW_S, |_| true).unwrap()
    };
    head(BODY).with_sha256(hash(BODY)).unwrap();
    let other = head(BODY).with_sha256(hash(b"other"));
    assert_eq!(other, Err(SignatureError::DigestMismatch));
    let unsigned = head(b"").with_sha256(hash(BODY));
    assert_eq!(unsigned, Err(SignatureError::DigestMissing));
}

#[test]
fn a_digest_that_says_nothing_of_the_body_is_refused() {
    let short = "sha-256=:AAAA:";
    let words = "sha-256=\"a word\"";
    for (digest, code) in [
        ("sha-512=:AAAA:", "content_digest_missing"),
        (short, "signature_malformed"),
        (words, "signature_malformed"),
    ] {
        let identity = account();
        let mut parts = signed("POST", URL, BODY, &identity);
        let digest = HeaderValue::from_static(digest);
        parts.headers.insert("content-digest", digest);
        resigned(&mut parts, &identity, |input| input);
        for body in [BODY, b""] {
            assert_eq!(refused(&parts, body), code, "{code}");
        }
    }
}

#[test]
fn every_shape_of_target_is_let_in() {
    for url in [
        "http://127.0.0.1:7400",
        "http://127.0.0.1:7400/",
        "http://LOCALHOST:7400/a?",
        "http://[::1]:7400/a%20b/%E2%82%AC?x=%20&y=%22z%22",
    ] {
        let parts = signed("GET", url, b"", &account());
        check(&parts, b"").unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[test]
fn the_schemes_own_port_may_be_left_out() {
    let door = Door::new(Scheme::Https, ["cloud.example:443"]);
    let identity = account();
    for url in ["https://cloud.example/v1", "https://cloud.example:443/v1"] {
        let parts = signed("GET", url, b"", &identity);
        Verifier::new(door.clone(), STARTED_S)
            .verify(&parts, b"", NOW_S, |_| true)
            .unwrap();
    }
    let parts = signed("GET", "https://cloud.example:80/v1", b"", &identity);
    let error = Verifier::new(door, STARTED_S)
        .verify(&parts, b"", NOW_S, |_| true)
        .unwrap_err();
    assert_eq!(error.code(), "host_not_allowed");
}

#[test]
fn absolute_targets_must_agree_with_the_host() {
    let identity = account();
    let mut absolute = parts("GET", URL);
    sign(&mut absolute, b"", &identity, NOW_S).unwrap();
    check(&absolute, b"").unwrap();
    absolute
        .headers
        .insert("host", HeaderValue::from_static("localhost:7400"));
    assert_eq!(refused(&absolute, b""), "host_malformed");
}

#[test]
fn signing_again_replaces_the_signature() {
    let identity = account();
    let mut parts = parts("POST", URL);
    sign(&mut parts, b"first", &account(), NOW_S).unwrap();
    sign(&mut parts, b"", &identity, NOW_S).unwrap();
    assert_eq!(
        check(&received(parts), b"").unwrap().key,
        identity.public_key()
    );
}

#[test]
fn a_foreign_signature_beside_ours_does_no_harm() {
    let mut parts = signed("GET", URL, b"", &account());
    parts.headers.append(
        "signature-input",
        HeaderValue::from_static("proxy=(\"@method\");created=1;tag=\"other\""),
    );
    parts
        .headers
        .append("signature", HeaderValue::from_static("proxy=:AAAA:"));
    check(&parts, b"").unwrap();
}

// --- Tampering with what is covered ---

#[test]
fn every_covered_component_is_protected() {
    let identity = account();
    let mut honest = parts("POST", URL);
    honest
        .headers
        .insert("idempotency-key", HeaderValue::from_static("one"));
    sign(&mut honest, BODY, &identity, NOW_S).unwrap();
    let honest = received(honest);
    check(&honest, BODY).unwrap();

    type Edit = fn(&mut Parts);
    let edits: [(&str, Edit); 7] = [
        ("method", |parts| parts.method = Method::PUT),
        ("authority", |parts| {
            parts
                .headers
                .insert("host", HeaderValue::from_static("localhost:7400"));
        }),
        ("path", |parts| {
            parts.uri = "/v1/apps/db/logs?follow=true&tail=10".parse().unwrap()
        }),
        ("query", |parts| {
            parts.uri = "/v1/apps/web/logs?follow=true&tail=11".parse().unwrap()
        }),
        ("no query", |parts| {
            parts.uri = "/v1/apps/web/logs".parse().unwrap()
        }),
        ("digest", |parts| {
            let other = HeaderValue::from_str(&digest::of(&digest::sha256(b"other"))).unwrap();
            parts.headers.insert("content-digest", other);
        }),
        ("idempotency key", |parts| {
            parts
                .headers
                .insert("idempotency-key", HeaderValue::from_static("two"));
        }),
    ];
    for (what, edit) in edits {
        let mut forged = honest.clone();
        edit(&mut forged);
        assert_eq!(refused(&forged, BODY), "signature_mismatch", "{what}");
    }
    for (name, code) in [
        ("content-digest", "signature_component_absent"),
        ("idempotency-key", "signature_component_absent"),
        ("host", "host_malformed"),
    ] {
        let mut forged = honest.clone();
        forged.headers.remove(name);
        assert_eq!(refused(&forged, BODY), code, "{name}");
    }
    assert_eq!(refused(&honest, b"other"), "content_digest_mismatch");
    assert_eq!(refused(&honest, b""), "content_digest_mismatch");
}

#[test]
fn every_parameter_is_protected() {
    let honest = signed("GET", URL, b"", &account());
    let input = honest.headers["signature-input"]
        .to_str()
        .unwrap()
        .to_owned();
    let other = account();
    let other = profile::key_id(&other.public_key(), other.account());
    let own = input
        .split_once("keyid=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    let nonce = input
        .split_once("nonce=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    for (from, to) in [
        (format!("created={NOW_S}"), format!("created={}", NOW_S + 1)),
        (
            format!("expires={}", NOW_S + LIFETIME_S),
            format!("expires={}", NOW_S + LIFETIME_S + 1),
        ),
        (nonce.to_owned(), "abcdefghijklmnop".to_owned()),
        (own.to_owned(), other),
        (
            "\"@method\" \"@authority\"".to_owned(),
            "\"@authority\" \"@method\"".to_owned(),
        ),
    ] {
        let forged_input = input.replace(&from, &to);
        assert_ne!(forged_input, input, "{from}");
        let mut forged = honest.clone();
        let value = HeaderValue::from_str(&forged_input).unwrap();
        forged.headers.insert("signature-input", value);
        assert_eq!(refused(&forged, b""), "signature_mismatch", "{from}");
    }
}

#[test]
fn no_flipped_bit_of_the_signature_is_let_in() {
    let honest = signed("GET", URL, b"", &account());
    let text = honest.headers["signature"].to_str().unwrap().to_owned();
    let body = text.trim_start_matches("allod=:").trim_end_matches(':');
    let bytes = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    for bit in 0..512 {
        let mut forged_bytes = bytes.clone();
        forged_bytes[bit / 8] ^= 1 << (bit % 8);
        let mut forged = honest.clone();
        let text = format!("allod=:{}:", data_encoding::BASE64.encode(&forged_bytes));
        forged
            .headers
            .insert("signature", HeaderValue::from_str(&text).unwrap());
        assert_eq!(refused(&forged, b""), "signature_mismatch", "bit {bit}");
    }
}

#[test]
fn a_body_that_was_not_signed_is_refused() {
    let parts = signed("POST", URL, b"", &account());
    assert_eq!(refused(&parts, BODY), "content_digest_missing");
}

#[test]
fn headers_added_in_transit_are_refused_where_they_would_count() {
    for (name, value) in [
        ("idempotency-key", "x"),
        ("content-digest", "sha-256=:AAAA:"),
    ] {
        let mut parts = signed("POST", URL, b"", &account());
        parts.headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(
            refused(&parts, b""),
            "signature_component_missing",
            "{name}"
        );
    }
}

// --- What a signature must say ---

#[test]
fn each_required_component_is_required() {
    for name in ["@method", "@authority", "@path", "@query"] {
        let identity = account();
        let mut parts = signed("GET", URL, b"", &identity);
        resigned(&mut parts, &identity, |input| {
            input
                .replace(&format!("\"{name}\" "), "")
                .replace(&format!(" \"{name}\")"), ")")
        });
        let error = check(&parts, b"").unwrap_err();
        assert_eq!(error, SignatureError::ComponentMissing { component: name });
    }
}

#[test]
fn strange_components_are_refused() {
    for (from, to) in [
        ("\"@query\")", "\"@query\" \"@status\")"),
        ("\"@query\")", "\"@query\" \"@path\")"),
        ("\"@query\")", "\"@query\" \"x-other\")"),
        ("\"@query\")", "\"@query\";req)"),
        ("\"@query\")", "\"@query\" 7)"),
        ("\"@query\")", "\"@query\" \"content-type\";sf)"),
    ] {
        let identity = account();
        let mut parts = signed("GET", URL, b"", &identity);
        parts
            .headers
            .insert("x-other", HeaderValue::from_static("x"));
        let input = parts.headers["signature-input"]
            .to_str()
            .unwrap()
            .replace(from, to);
        parts
            .headers
            .insert("signature-input", HeaderValue::from_str(&input).unwrap());
        assert_eq!(
            refused(&parts, b""),
            "signature_component_unsupported",
            "{to}"
        );
    }
}

#[test]
fn the_content_type_may_be_covered() {
    let identity = account();
    let mut parts = signed("GET", URL, b"", &identity);
    parts
        .headers
        .insert("content-type", HeaderValue::from_static("text/plain"));
    resigned(&mut parts, &identity, |input| {
        input.replace("\"@query\")", "\"@query\" \"content-type\")")
    });
    check(&parts, b"").unwrap();
    parts
        .headers
        .insert("content-type", HeaderValue::from_static("text/html"));
    assert_eq!(refused(&parts, b""), "signature_mismatch");
    parts.headers.remove("content-type");
    assert_eq!(refused(&parts, b""), "signature_component_absent");
}

#[test]
fn each_parameter_is_required_and_no_other_is_known() {
    for (edit, code) in [
        (("created", ";created="), "signature_parameter_missing"),
        (("expires", ";expires="), "signature_parameter_missing"),
        (("nonce", ";nonce="), "signature_parameter_missing"),
        (("keyid", ";keyid="), "signature_parameter_missing"),
        (("alg", ";alg="), "signature_parameter_missing"),
        (("tag", ";tag="), "signature_wrong_tag"),
    ] {
        let identity = account();
        let mut parts = signed("GET", URL, b"", &identity);
        resigned(&mut parts, &identity, |input| {
            let (before, rest) = input.split_once(edit.1).unwrap();
            let after = rest.find(';').map_or("", |at| &rest[at..]);
            format!("{before}{after}")
        });
        assert_eq!(refused(&parts, b""), code, "{}", edit.0);
    }
    let identity = account();
    let mut parts = signed("GET", URL, b"", &identity);
    resigned(&mut parts, &identity, |input| {
        format!("{input};scope=\"x\"")
    });
    assert_eq!(refused(&parts, b""), "signature_parameter_unsupported");
}

#[test]
fn parameters_of_the_wrong_kind_or_size_are_refused() {
    for (from, to, code) in [
        (";created=1", ";created=-1", "signature_parameter_missing"),
        (
            ";created=1",
            ";created=1.5;x=1",
            "signature_parameter_unsupported",
        ),
        ("nonce=\"", "nonce=\"!", "signature_mismatch"),
        (
            "alg=\"ed25519\"",
            "alg=\"hmac-sha256\"",
            "signature_wrong_algorithm",
        ),
        (
            "alg=\"ed25519\"",
            "alg=ed25519",
            "signature_parameter_missing",
        ),
        (
            "tag=\"allod-v1\"",
            "tag=\"allod-v2\"",
            "signature_wrong_tag",
        ),
        ("keyid=\"ed25519_", "keyid=\"rsa_", "key_malformed"),
        ("@acct_", "@node_", "key_malformed"),
    ] {
        let mut parts = signed("GET", URL, b"", &account());
        let input = parts.headers["signature-input"].to_str().unwrap();
        let forged = input.replacen(from, to, 1);
        assert_ne!(forged, input, "{from}");
        parts
            .headers
            .insert("signature-input", HeaderValue::from_str(&forged).unwrap());
        assert_eq!(refused(&parts, b""), code, "{to}");
    }
    for nonce in ["short", &"n".repeat(65)] {
        let mut parts = parts("GET", URL);
        signed_with_nonce(&mut parts, &account(), nonce).unwrap();
        assert_eq!(
            refused(&received(parts), b""),
            "signature_parameter_missing",
            "{nonce}"
        );
    }
}

#[test]
fn two_signatures_for_us_are_ambiguous() {
    let mut parts = signed("GET", URL, b"", &account());
    let again = parts.headers["signature-input"]
        .to_str()
        .unwrap()
        .replacen("allod=", "again=", 1);
    parts
        .headers
        .append("signature-input", HeaderValue::from_str(&again).unwrap());
    assert_eq!(refused(&parts, b""), "signature_ambiguous");
}

#[test]
fn an_unsigned_or_half_signed_request_is_refused() {
    let bare = received(parts("GET", URL));
    assert_eq!(refused(&bare, b""), "signature_missing");
    for name in ["signature", "signature-input"] {
        let mut half = signed("GET", URL, b"", &account());
        half.headers.remove(name);
        assert_eq!(refused(&half, b""), "signature_malformed", "{name}");
    }
    let mut mislabelled = signed("GET", URL, b"", &account());
    let text = mislabelled.headers["signature"]
        .to_str()
        .unwrap()
        .replacen("allod", "other", 1);
    mislabelled
        .headers
        .insert("signature", HeaderValue::from_str(&text).unwrap());
    assert_eq!(refused(&mislabelled, b""), "signature_malformed");
}

#[test]
fn an_unknown_key_is_refused_and_takes_no_memory() {
    let verifier = verifier();
    let parts = signed("GET", URL, b"", &account());
    let error = verifier.verify(&parts, b"", NOW_S, |_| false).unwrap_err();
    assert_eq!(error.code(), "key_unknown");
    // The same nonce is still unused.
    verifier.verify(&parts, b"", NOW_S, |_| true).unwrap();
}

#[test]
fn a_forged_request_uses_no_nonce_up() {
    let verifier = verifier();
    let honest = signed("GET", URL, b"", &account());
    let mut forged = honest.clone();
    forged.method = Method::DELETE;
    let error = verifier.verify(&forged, b"", NOW_S, |_| true).unwrap_err();
    assert_eq!(error, SignatureError::Mismatch);
    verifier.verify(&honest, b"", NOW_S, |_| true).unwrap();
}

// --- Time and replay ---

#[test]
fn a_request_is_let_in_once() {
    let verifier = verifier();
    let parts = signed("GET", URL, b"", &account());
    verifier.verify(&parts, b"", NOW_S, |_| true).unwrap();
    for later_s in [NOW_S, NOW_S + LIFETIME_S - 1] {
        let error = verifier.verify(&parts, b"", later_s, |_| true).unwrap_err();
        assert_eq!(error, SignatureError::Replayed);
    }
    let error = verifier
        .verify(&parts, b"", NOW_S + LIFETIME_S, |_| true)
        .unwrap_err();
    assert_eq!(error.code(), "signature_expired");
}

#[test]
fn a_clock_set_back_replays_nothing() {
    let verifier = verifier();
    let parts = signed("GET", URL, b"", &account());
    verifier.verify(&parts, b"", NOW_S, |_| true).unwrap();
    // Time passes, others are served, then the clock steps back to where the old request was valid.
    let mut later = super::tests::parts("GET", URL);
    let late_s = NOW_S + LIFETIME_S + NONCE_GRACE_S;
    sign(&mut later, b"", &account(), late_s).unwrap();
    verifier
        .verify(&received(later), b"", late_s, |_| true)
        .unwrap();
    let error = verifier
        .verify(&parts, b"", NOW_S + 1, |_| true)
        .unwrap_err();
    assert_eq!(error, SignatureError::Replayed);
}

#[test]
fn one_nonce_may_serve_two_keys() {
    let verifier = verifier();
    for _ in 0..2 {
        let mut parts = parts("GET", URL);
        signed_with_nonce(&mut parts, &account(), "the-same-nonce-0").unwrap();
        verifier
            .verify(&received(parts), b"", NOW_S, |_| true)
            .unwrap();
    }
}

#[test]
fn a_wrong_clock_is_named_with_both_times() {
    let parts = signed("GET", URL, b"", &account());
    let behind_s = NOW_S - SKEW_S_MAX - 1;
    let error = verifier()
        .verify(&parts, b"", behind_s, |_| true)
        .unwrap_err();
    assert_eq!(
        error,
        SignatureError::ClockSkew {
            created_s: NOW_S,
            now_s: behind_s
        }
    );
    let text = error.to_string();
    assert!(
        text.contains(&NOW_S.to_string()) && text.contains(&behind_s.to_string()),
        "{text}"
    );
    assert!(text.contains("31 s apart"), "{text}");
    verifier()
        .verify(&parts, b"", NOW_S - SKEW_S_MAX, |_| true)
        .unwrap();

    let late_s = NOW_S + LIFETIME_S;
    let text = verifier()
        .verify(&parts, b"", late_s, |_| true)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains(&NOW_S.to_string()) && text.contains(&late_s.to_string()),
        "{text}"
    );
    verifier()
        .verify(&parts, b"", late_s - 1, |_| true)
        .unwrap();
}

#[test]
fn a_signature_holds_a_minute_at_most() {
    for (lifetime_s, is_allowed) in [
        (0, false),
        (1, true),
        (60, true),
        (61, false),
        (100_000, false),
    ] {
        let identity = account();
        let mut parts = signed("GET", URL, b"", &identity);
        resigned(&mut parts, &identity, |input| {
            let made = format!("expires={}", NOW_S + LIFETIME_S);
            input.replace(&made, &format!("expires={}", NOW_S + lifetime_s))
        });
        let outcome = check(&parts, b"");
        assert_eq!(outcome.is_ok(), is_allowed, "{lifetime_s}: {outcome:?}");
        if !is_allowed {
            assert_eq!(outcome.unwrap_err().code(), "signature_lifetime");
        }
    }
}

#[test]
fn what_was_signed_before_the_start_is_refused() {
    let parts = signed("GET", URL, b"", &account());
    let started_later = Verifier::new(door(), NOW_S + 1);
    let error = started_later
        .verify(&parts, b"", NOW_S + 2, |_| true)
        .unwrap_err();
    assert_eq!(error.code(), "signature_before_start");
    let same_second = Verifier::new(door(), NOW_S);
    same_second.verify(&parts, b"", NOW_S, |_| true).unwrap();
}

#[test]
fn nobody_fills_the_memory_of_others_and_a_full_memory_forgets_nothing() {
    let account =
        |seed: u8| Share::Account(AccountId::of_first_key(&PublicKey::Ed25519([seed; 32])));
    let key = |share: u8, seed: u8| (account(share), PublicKey::Ed25519([seed; 32]));
    let mut replay = Replay::default();
    let mut claim = |signer, nonce: &str| replay.claim(signer, nonce, NOW_S + 60, NOW_S);
    let refused = |whose| Err(SignatureError::TooMany { whose });
    for nonce in 0..NONCES_PER_KEY_MAX {
        claim(key(1, 0), &format!("1.{nonce}")).unwrap();
    }
    let (share, other) = (key(1, 0), key(1, 1));
    assert_eq!(claim(share, "more"), refused("this key"));
    claim(other, "more").unwrap();
    for seed in 1..u8::try_from(NONCES_PER_ACCOUNT_MAX / NONCES_PER_KEY_MAX).unwrap() {
        let taken = u32::from(seed == 1);
        for nonce in taken..NONCES_PER_KEY_MAX {
            claim(key(1, seed), &nonce.to_string()).unwrap();
        }
    }
    assert_eq!(claim(key(1, 100), "more"), refused("this account"));
    let left = u32::try_from(NONCES_MAX).unwrap() - NONCES_PER_ACCOUNT_MAX;
    for nonce in 0..left {
        let seed = u8::try_from(nonce / NONCES_PER_KEY_MAX).unwrap();
        claim(key(2, 100 + seed), &nonce.to_string()).unwrap();
    }
    assert_eq!(claim(key(3, 50), "more"), refused("all keys"));
    let operator = (Share::Operator, PublicKey::Ed25519([200; 32]));
    claim(operator, "the operator's own").unwrap();
    assert_eq!(claim(share, "1.0"), Err(SignatureError::Replayed));
    // Once the marks are past their use there is room again.
    let later_s = NOW_S + 60 + NONCE_GRACE_S + 1;
    replay.claim(share, "1.0", later_s + 60, later_s).unwrap();
    assert_eq!(replay.len(), 1);
}

// --- The door ---

#[test]
fn a_name_pointed_at_us_is_not_our_host() {
    for host in [
        "evil.example:7400",
        "127.0.0.1:7401",
        "127.0.0.1",
        "localhost.evil.example:7400",
    ] {
        let parts = signed("GET", &format!("http://{host}/v1"), b"", &account());
        let code = refused(&parts, b"");
        assert!(
            ["host_not_allowed", "host_malformed"].contains(&code),
            "{host}: {code}"
        );
    }
}

#[test]
fn strange_hosts_are_malformed() {
    for host in [
        "",
        "a b",
        "user@127.0.0.1:7400",
        "127.0.0.1:",
        "127.0.0.1:+7400",
        "127.0.0.1:99999",
        "x/y",
        ":7400",
        &"x".repeat(AUTHORITY_BYTES_MAX + 1),
    ] {
        let mut parts = parts("GET", "/v1");
        parts
            .headers
            .insert("host", HeaderValue::from_str(host).unwrap());
        let code = door().check(&parts).unwrap_err().code();
        assert_eq!(code, "host_malformed", "{host}");
    }
    let mut twice = parts("GET", "/v1");
    twice.headers.append("host", HeaderValue::from_static(HOST));
    twice.headers.append("host", HeaderValue::from_static(HOST));
    assert_eq!(door().check(&twice).unwrap_err().code(), "host_malformed");
}

#[test]
fn only_our_own_pages_may_call() {
    let with = |headers: &[(&'static str, &'static str)]| {
        let mut parts = parts("GET", "/v1");
        parts.headers.insert("host", HeaderValue::from_static(HOST));
        for (name, value) in headers {
            parts.headers.append(*name, HeaderValue::from_static(value));
        }
        door().check(&parts).map_err(|error| error.code())
    };
    let refused = Err("origin_not_allowed");
    assert_eq!(with(&[("origin", "http://127.0.0.1:7400")]), Ok(()));
    assert_eq!(with(&[("origin", "http://localhost:7400")]), Ok(()));
    assert_eq!(with(&[("origin", "https://127.0.0.1:7400")]), refused);
    assert_eq!(
        with(&[("origin", "http://web.guestbook.localhost:7480")]),
        refused
    );
    assert_eq!(with(&[("origin", "null")]), refused);
    assert_eq!(
        with(&[
            ("origin", "http://localhost:7400"),
            ("origin", "http://evil.example")
        ]),
        refused
    );
    assert_eq!(with(&[("sec-fetch-site", "none")]), Ok(()));
    assert_eq!(with(&[("sec-fetch-site", "cross-site")]), refused);
    assert_eq!(
        with(&[
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-mode", "no-cors")
        ]),
        refused
    );
    let link = [
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(
        with(&[("sec-fetch-site", "cross-site"), link[0], link[1]]),
        Ok(())
    );
    assert_eq!(
        with(&[
            ("sec-fetch-site", "cross-site"),
            link[0],
            ("sec-fetch-dest", "iframe")
        ]),
        refused
    );
    let by_script = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")];
    assert_eq!(with(&[by_script[0], by_script[1], link[1]]), refused);
    // A form of theirs that is sent to us is no click on a link.
    let mut form = parts("POST", "/v1");
    form.headers.insert("host", HeaderValue::from_static(HOST));
    for (name, value) in [("sec-fetch-site", "cross-site"), link[0], link[1]] {
        form.headers.insert(name, HeaderValue::from_static(value));
    }
    let refused = door().check(&form).unwrap_err();
    assert_eq!(refused.code(), "origin_not_allowed");
    let wider = door().with_origin("https://Console.Example/");
    let mut console = parts("GET", "/v1");
    console
        .headers
        .insert("host", HeaderValue::from_static(HOST));
    console.headers.insert(
        "origin",
        HeaderValue::from_static("https://console.example"),
    );
    wider.check(&console).unwrap();
}

// --- Sizes and nonsense ---

#[test]
fn huge_headers_are_refused_before_they_are_parsed() {
    let long = "x".repeat(100_000);
    for name in [
        "signature-input",
        "signature",
        "content-digest",
        "idempotency-key",
        "content-type",
    ] {
        let mut parts = signed("GET", URL, b"", &account());
        parts
            .headers
            .append(name, HeaderValue::from_str(&long).unwrap());
        assert_eq!(refused(&parts, b""), "signature_too_large", "{name}");
    }
    let mut many = signed("GET", URL, b"", &account());
    for _ in 0..SIGNATURE_INPUT_BYTES_MAX / 4 {
        many.headers
            .append("signature-input", HeaderValue::from_static("a=()"));
    }
    assert_eq!(refused(&many, b""), "signature_too_large");
    let mut target = parts("GET", "/v1");
    target
        .headers
        .insert("host", HeaderValue::from_static(HOST));
    target.uri = format!("/{long}")
        .parse()
        .unwrap_or_else(|_| format!("/{}", "x".repeat(20_000)).parse().unwrap());
    assert_eq!(refused(&target, b""), "signature_too_large");
}

#[test]
fn errors_repeat_little_of_what_a_peer_wrote() {
    let host = format!("{}.example:7400", "x".repeat(200));
    let parts = signed("GET", &format!("http://{host}/"), b"", &account());
    let error = check(&parts, b"").unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn every_reason_has_a_code_a_next_step_and_a_fitting_status() {
    let skew = SignatureError::ClockSkew {
        created_s: 2,
        now_s: 1,
    };
    assert_eq!(skew.status(), StatusCode::UNAUTHORIZED);
    assert!(skew.next_step().contains("clock"));
    let host = SignatureError::HostNotAllowed { host: "x".into() };
    assert_eq!(host.status(), StatusCode::MISDIRECTED_REQUEST);
    let many = SignatureError::TooMany { whose: "this key" };
    assert_eq!(many.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn a_request_without_a_host_is_not_signed() {
    let mut nowhere = parts("GET", "/v1");
    let error = sign(&mut nowhere, b"", &account(), NOW_S).unwrap_err();
    assert_eq!(
        error,
        SignError::Component {
            component: "@authority"
        }
    );
}

#[test]
fn a_clock_beyond_what_a_signature_holds_is_not_signed() {
    let mut far = parts("GET", URL);
    let error = sign(&mut far, b"", &account(), u64::MAX).unwrap_err();
    assert_eq!(error, SignError::Clock { now_s: u64::MAX });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_header_makes_verifying_panic_or_succeed(
        input in "(allod=)?(\\(\"@method\" \"@authority\" \"@path\" \"@query\"\\))?(;[a-z]{1,8}=(\"[ -~]{0,20}\"|-?[0-9]{0,17})){0,7}[ -~]{0,30}",
        signature in "(allod=)?:?[A-Za-z0-9+/]{0,90}={0,2}:?",
        digest in "(sha-256=)?[ -~]{0,60}",
    ) {
        let mut parts = received(parts("GET", URL));
        parts.headers.insert("signature-input", HeaderValue::from_str(&input).unwrap());
        parts.headers.insert("signature", HeaderValue::from_str(&signature).unwrap());
        parts.headers.insert("content-digest", HeaderValue::from_str(&digest).unwrap());
        prop_assert!(check(&parts, b"").is_err());
        let _ = digest::promised(&parts.headers);
    }

    #[test]
    fn no_bytes_in_headers_make_verifying_panic(
        input in proptest::collection::vec(any::<u8>().prop_filter("a header byte", |byte| *byte >= 32 && *byte != 127), 0..200),
        host in "[ -~]{0,40}",
    ) {
        let mut parts = parts("GET", "/v1");
        parts.headers.insert("signature-input", HeaderValue::from_bytes(&input).unwrap());
        parts.headers.insert("signature", HeaderValue::from_bytes(&input).unwrap());
        parts.headers.insert("host", HeaderValue::from_str(&host).unwrap());
        prop_assert!(check(&parts, b"").is_err());
        parts.headers.insert("host", HeaderValue::from_static(HOST));
        prop_assert!(check(&parts, b"").is_err());
    }

    #[test]
    fn whatever_is_signed_is_let_in(
        path in "(/[a-zA-Z0-9._~%!$&'()*+,;=:@-]{0,20}){1,4}",
        query in proptest::option::of("[a-zA-Z0-9._~!$&'()*+,;=:@/?-]{0,40}"),
        body in proptest::collection::vec(any::<u8>(), 0..300),
        idempotency in proptest::option::of("[!-~]([ -~]{0,30}[!-~])?"),
    ) {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = parts("POST", &format!("http://{HOST}{path}{query}"));
        if let Some(value) = idempotency {
            parts.headers.insert("idempotency-key", HeaderValue::from_str(&value).unwrap());
        }
        let identity = account();
        sign(&mut parts, &body, &identity, NOW_S).unwrap();
        prop_assert_eq!(check(&received(parts), &body).map(|verified| verified.key), Ok(identity.public_key()));
    }
}

// --- Around a restart ---

/// A request signed by a clock that is ahead, but not by more than is let in.
fn signed_ahead(identity: &Identity, ahead_s: u64) -> Parts {
    let mut parts = parts("GET", URL);
    sign(&mut parts, b"", identity, NOW_S + ahead_s).unwrap();
    received(parts)
}

#[test]
fn a_restart_lets_nothing_in_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nonces");
    let identity = account();
    let requests: Vec<Parts> = (0..20)
        .map(|ahead_s| signed_ahead(&identity, ahead_s))
        .collect();
    let started = |started_s| Verifier::new(door(), started_s);
    let first = started(STARTED_S)
        .with_journal(path.clone(), NOW_S)
        .unwrap();
    for request in &requests {
        first.verify(request, b"", NOW_S, |_| true).unwrap();
    }
    drop(first);
    // The next process comes up within the same second: none of these is from before its start.
    let forgetful = started(NOW_S);
    let second = started(NOW_S).with_journal(path.clone(), NOW_S).unwrap();
    for request in &requests {
        forgetful.verify(request, b"", NOW_S, |_| true).unwrap();
        let refused = second.verify(request, b"", NOW_S, |_| true).unwrap_err();
        assert_eq!(refused, SignatureError::Replayed);
    }
    let fresh = signed_ahead(&identity, 0);
    second.verify(&fresh, b"", NOW_S, |_| true).unwrap();
    drop(second);
    // A record that was cut off by a crash costs nothing but itself.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let third = started(NOW_S).with_journal(path.clone(), NOW_S).unwrap();
    let refused = third
        .verify(&requests[19], b"", NOW_S, |_| true)
        .unwrap_err();
    assert_eq!(refused, SignatureError::Replayed);
    third.verify(&fresh, b"", NOW_S, |_| true).unwrap();
    drop(third);
    // What is over is not carried on.
    let later_s = NOW_S + 10_000;
    drop(started(NOW_S).with_journal(path.clone(), later_s).unwrap());
    let mut replay = Replay::default();
    replay.continue_in(path, later_s).unwrap();
    assert_eq!(replay.len(), 0);
}

#[test]
fn the_file_of_nonces_is_begun_anew_before_it_grows_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nonces");
    let mut replay = Replay::default();
    replay.continue_in(path.clone(), NOW_S).unwrap();
    let first = account();
    let signer = (Share::Account(first.account().unwrap()), first.public_key());
    // One nonce a second: after each minute or two the older ones are over.
    let turns = u64::try_from(JOURNAL_RECORDS_MAX).unwrap() + 10;
    for turn in 0..turns {
        let now_s = NOW_S + turn;
        replay
            .claim(signer, &format!("nonce-{turn:020}"), now_s + 30, now_s)
            .unwrap();
    }
    let bytes = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
    let records = bytes / RECORD_BYTES;
    assert!(records < 200, "{records} records are left");
    let now_s = NOW_S + turns;
    let mut next = Replay::default();
    next.continue_in(path, now_s).unwrap();
    let last = format!("nonce-{:020}", turns - 1);
    let refused = next.claim(signer, &last, now_s + 30, now_s).unwrap_err();
    assert_eq!(refused, SignatureError::Replayed);
}

#[test]
fn shares_of_the_memory_are_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nonces");
    let key = |seed: u8| PublicKey::Ed25519([seed; 32]);
    let share = |seed: u8| Share::Account(AccountId::of_first_key(&key(seed)));
    let mut first = Replay::default();
    first.continue_in(path.clone(), NOW_S).unwrap();
    // Keys that did not begin the account: whose share it was is not to be guessed from the key.
    let keys = u8::try_from(NONCES_PER_ACCOUNT_MAX / NONCES_PER_KEY_MAX).unwrap();
    let of_operator =
        u8::try_from(OPERATOR_NONCES_MAX / usize::try_from(NONCES_PER_KEY_MAX).unwrap());
    let of_operator = (0..of_operator.unwrap()).map(|seed| (Share::Operator, key(100 + seed)));
    for signer in (0..keys)
        .map(|seed| (share(200), key(seed)))
        .chain(of_operator)
    {
        for nonce in 0..NONCES_PER_KEY_MAX {
            let nonce = nonce.to_string();
            first.claim(signer, &nonce, NOW_S + 60, NOW_S).unwrap();
        }
    }
    let (signer, operator) = ((share(200), key(50)), (Share::Operator, key(50)));
    let mut second = Replay::default();
    second.continue_in(path, NOW_S).unwrap();
    for replay in [&mut first, &mut second] {
        let mut claim = |signer, nonce: &str| replay.claim(signer, nonce, NOW_S + 60, NOW_S);
        let refused = |whose| Err(SignatureError::TooMany { whose });
        assert_eq!(claim(signer, "more"), refused("this account"));
        assert_eq!(claim(operator, "more"), refused("all keys"));
        assert_eq!(
            claim((share(200), key(0)), "0"),
            Err(SignatureError::Replayed)
        );
        // Whoever the key would belong to by itself has lost nothing.
        claim((share(0), key(0)), "more").unwrap();
        claim((share(201), key(50)), "more").unwrap();
    }
    // Both forget in the same way, too.
    let later_s = NOW_S + 60 + NONCE_GRACE_S + 1;
    for replay in [&mut first, &mut second] {
        replay.claim(signer, "0", later_s + 60, later_s).unwrap();
        assert_eq!(replay.len(), 1);
    }
}
