//! From where a request may come.

use super::*;

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
