//! Docker's own examples, and the near misses.

use super::*;

const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn shown(text: &str) -> String {
    text.parse::<Reference>().unwrap().to_string()
}

#[test]
fn short_names_mean_docker_hub() {
    assert_eq!(shown("nginx"), "docker.io/library/nginx:latest");
    assert_eq!(shown("nginx:alpine"), "docker.io/library/nginx:alpine");
    assert_eq!(shown("owner/name"), "docker.io/owner/name:latest");
    assert_eq!(shown("docker.io/nginx"), "docker.io/library/nginx:latest");
    assert_eq!(
        shown("index.docker.io/nginx"),
        "docker.io/library/nginx:latest"
    );
    assert_eq!(
        "nginx".parse::<Reference>().unwrap().base_url(),
        "https://registry-1.docker.io/v2/library/nginx"
    );
}

#[test]
fn hosts_ports_and_digests_are_kept() {
    assert_eq!(shown("localhost:5000/x"), "localhost:5000/x:latest");
    assert_eq!(shown("localhost/x"), "localhost/x:latest");
    assert_eq!(shown("127.0.0.1:5000/a/b:c"), "127.0.0.1:5000/a/b:c");
    assert_eq!(shown("[::1]:5000/a"), "[::1]:5000/a:latest");
    assert_eq!(
        shown("GHCR.io/owner/na__me--x.y"),
        "ghcr.io/owner/na__me--x.y:latest"
    );
    assert_eq!(
        shown(&format!("nginx@{HEX}")),
        format!("docker.io/library/nginx@{HEX}")
    );
    let both: Reference = format!("nginx:1.27@{HEX}").parse().unwrap();
    assert_eq!(both.tag(), Some("1.27"));
    assert_eq!(both.selector(), HEX);
    assert_eq!(
        both.to_string(),
        format!("docker.io/library/nginx:1.27@{HEX}")
    );
}

#[test]
fn only_loopback_literals_may_be_plain_http() {
    let plain = [
        "localhost/x",
        "localhost:1/x",
        "127.0.0.1:5000/x",
        "127.9.9.9:1/x",
        "[::1]:5/x",
    ];
    for text in plain {
        let reference: Reference = text.parse().unwrap();
        assert!(reference.is_loopback(), "{text}");
        assert!(reference.base_url().starts_with("http://"), "{text}");
    }
    for text in [
        "localhost.evil.com/x",
        "10.0.0.1:5000/x",
        "128.0.0.1/x",
        "nginx",
        "[::2]:5/x",
    ] {
        let reference: Reference = text.parse().unwrap();
        assert!(!reference.is_loopback(), "{text}");
        assert!(reference.base_url().starts_with("https://"), "{text}");
    }
}

#[test]
fn malformed_references_say_which_rule_they_break() {
    let long = format!("a{}", "b".repeat(600));
    for bad in [
        "",
        ":",
        "/",
        "a/",
        "/a",
        "a//b",
        "Nginx",
        "owner/Name",
        "nginx:",
        "nginx:-x",
        "nginx:a b",
        "nginx@",
        "nginx@sha256:12",
        "nginx@md5:12",
        "https://ghcr.io/x",
        "ghcr.io",
        "ghcr.io/",
        "ghcr.io:0/x",
        "ghcr.io:99999/x",
        "ghcr.io:+1/x",
        "ghcr.io:/x",
        "gh_cr.io/x",
        "-a.io/x",
        "a..io/x",
        "127.0.0.1.2/x",
        "256.0.0.1/x",
        "0x7f.1/x",
        "[::1/x",
        "[zz]:1/x",
        "user@host.io/x",
        "a.io/../x",
        "a.io/x/..",
        "a.io/.x",
        "a.io/x___y",
        "nginx:a:b",
        "a.io/x?y",
        "a.io/x#y",
        &long,
    ] {
        if bad == "ghcr.io" {
            // A bare word with a dot is a repository on Docker Hub, as it is for Docker.
            assert_eq!(shown(bad), "docker.io/library/ghcr.io:latest");
            continue;
        }
        let error = bad.parse::<Reference>().expect_err(bad);
        assert!(!error.reason.is_empty());
    }
}
