//! What a signature must say, and what it may not.

use super::*;

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
