//! Sizes and nonsense: bounded, refused by name, and never a panic.

use super::*;

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
