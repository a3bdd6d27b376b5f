//! Host names are compared as the browser means them, and nonsense is refused.

use proptest::prelude::*;

use super::*;

#[test]
fn a_host_is_matched_without_case_port_and_trailing_dot() {
    let plain = HostName::parse("web.guestbook.localhost").unwrap();
    for same in [
        "WEB.guestbook.localhost",
        "web.guestbook.localhost:7480",
        "web.guestbook.localhost.",
        "web.guestbook.localhost.:80",
        "web.guestbook.localhost:",
    ] {
        assert_eq!(HostName::parse(same).unwrap(), plain, "{same}");
    }
    assert_eq!(HostName::parse("[::1]:80").unwrap().as_str(), "[::1]");
}

#[test]
fn nonsense_is_no_host() {
    let long = "a".repeat(254);
    for bad in [
        "", ".", ":80", "a b", "a/b", "a@b", "a:b", "a:1:2", "..a", "a..b", "[::1", "é", &long,
    ] {
        assert!(HostName::parse(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn parsing_is_total_and_settles(text in ".{0,64}") {
        if let Ok(name) = HostName::parse(&text) {
            prop_assert_eq!(HostName::parse(name.as_str()).unwrap(), name);
        }
    }
}
