//! Nothing that is covered can be changed.

use super::*;

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
