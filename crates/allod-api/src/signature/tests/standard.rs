//! The examples of the standards themselves.

use super::*;

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
