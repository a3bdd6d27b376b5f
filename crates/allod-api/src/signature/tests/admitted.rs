//! What is let in.

use super::*;

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
