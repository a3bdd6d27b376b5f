//! The short syntax of ports.

use proptest::prelude::{ProptestConfig, any, proptest};

use super::*;

fn one(text: &str) -> (u16, Option<IpAddr>, u16, Protocol) {
    let ports = short(text).unwrap();
    let published = ports[0].published.unwrap();
    (
        ports[0].container,
        published.host_ip,
        published.port,
        ports[0].protocol,
    )
}

#[test]
fn forms() {
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    assert_eq!(one("80"), (80, None, 0, Protocol::Tcp));
    assert_eq!(one("8080:80"), (80, None, 8080, Protocol::Tcp));
    assert_eq!(one("8080:80/udp"), (80, None, 8080, Protocol::Udp));
    assert_eq!(
        one("127.0.0.1:8080:80"),
        (80, Some(local), 8080, Protocol::Tcp)
    );
    assert_eq!(one("127.0.0.1::80"), (80, Some(local), 0, Protocol::Tcp));
    assert_eq!(
        one("[::1]:8080:80"),
        (80, Some("::1".parse().unwrap()), 8080, Protocol::Tcp)
    );
    assert_eq!(
        one("::1:8080:80"),
        (80, Some("::1".parse().unwrap()), 8080, Protocol::Tcp)
    );
    assert_eq!(one("8000-8005:80"), (80, None, 8000, Protocol::Tcp));
    let pairs: Vec<_> = short("9090-9091:8080-8081").unwrap();
    assert_eq!(
        (pairs[1].container, pairs[1].published.unwrap().port),
        (8081, 9091)
    );
    assert_eq!(short("3000-3005").unwrap().len(), 6);
}

#[test]
fn what_is_no_port_is_refused() {
    let broken = [
        "",
        "0",
        "65536",
        "80:",
        "a",
        "80:a",
        "1-0",
        "1-2:1-3",
        "80/sctp",
        "host:80:80",
        "+80",
        "1-100",
        "8080:0",
        "1:2:3:4",
        "80/tcp/udp",
        "-1",
    ];
    for text in broken {
        assert!(short(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), near in "[0-9:./a-z\\[\\]-]{0,24}") {
        let _ = (short(&text), short(&near));
    }
}
