//! What a backend and a client are told, and what never crosses a hop.

use std::net::Ipv4Addr;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

const ORIGIN: Origin<'static> = Origin {
    client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    host: "web.shop.localhost:7480",
};

#[test]
fn one_hop_headers_stay_on_their_hop() {
    let mut told = headers(&[
        ("connection", "close, X-Secret"),
        ("connection", "keep-alive, host, content-length"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic eA=="),
        ("upgrade", "h2c"),
        ("http2-settings", "AAA"),
        ("te", "gzip"),
        ("host", "web.shop.localhost:7480"),
        ("content-length", "3"),
        ("x-kept", "1"),
    ]);
    for_backend(&mut told, &ORIGIN, None);
    let mut names: Vec<&str> = told.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let kept = [
        "content-length",
        "forwarded",
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-kept",
    ];
    assert_eq!(names, kept);
}

#[test]
fn only_we_say_where_a_request_came_from() {
    let mut told = headers(&[
        ("x-forwarded-for", "10.0.0.1"),
        ("X_Forwarded_For", "10.0.0.1"),
        ("x-forwarded-user", "root"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x_real_ip", "10.0.0.1"),
        ("proxy", "http://evil"),
        ("true-client-ip", "10.0.0.1"),
    ]);
    for_backend(&mut told, &ORIGIN, None);
    let text = format!("{told:?}");
    assert!(!text.contains("10.0.0.1") && !text.contains("root") && !text.contains("evil"));
    assert_eq!(told["x-forwarded-for"], "192.0.2.7");
    assert_eq!(told["x-forwarded-host"], "web.shop.localhost:7480");
    assert_eq!(told["x-forwarded-proto"], "http");
    assert_eq!(
        told["forwarded"],
        "for=192.0.2.7;host=\"web.shop.localhost:7480\";proto=http"
    );
    let six = Origin {
        client: "2001:db8::1".parse().unwrap(),
        host: "a",
    };
    for_backend(&mut told, &six, None);
    assert_eq!(
        told["forwarded"],
        "for=\"[2001:db8::1]\";host=\"a\";proto=http"
    );
}

#[test]
fn websockets_pass_and_http2_does_not() {
    let ask =
        |protocol: &str| headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]);
    assert_eq!(
        upgrade_asked(&ask("websocket"), Version::HTTP_11).unwrap(),
        "websocket"
    );
    for refused in ["h2c", "H2C", "HTTP/2.0", "websocket, h2c", ""] {
        assert_eq!(
            upgrade_asked(&ask(refused), Version::HTTP_11),
            None,
            "{refused}"
        );
    }
    assert_eq!(upgrade_asked(&ask("websocket"), Version::HTTP_10), None);
    assert_eq!(
        upgrade_asked(&headers(&[("upgrade", "websocket")]), Version::HTTP_11),
        None
    );
}

#[test]
fn a_circle_is_seen() {
    let mut told = HeaderMap::new();
    for _ in 0..VIA_MAX {
        assert!(!is_loop(&told));
        for_backend(&mut told, &ORIGIN, None);
    }
    assert!(is_loop(&told));
    assert!(!is_loop(&headers(&[(
        "via",
        "1.1 varnish, 1.1 fly, 2 google"
    )])));
}
