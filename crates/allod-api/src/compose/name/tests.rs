//! Labels, hosts and image references.

use super::*;

#[test]
fn labels() {
    let label = |text| dns_label(text);
    assert_eq!(label("My_App.2").as_deref(), Some("my-app-2"));
    assert_eq!(label("--a--b--").as_deref(), Some("a-b"));
    assert_eq!(label("éé"), None);
    assert_eq!(label(&"a".repeat(80)).unwrap().len(), 63);
    assert!(is_host("shop.example.org") && is_host("localhost"));
    assert!(
        !is_host("a..b") && !is_host("-a.b") && !is_host("A.b") && !is_host("a b") && !is_host("")
    );
}

#[test]
fn references() {
    let digest = format!("sha256:{}", "0f".repeat(32));
    let pinned = format!("localhost:5000/acme/web:1@{digest}");
    assert_eq!(image_digest(&pinned), Ok(Some(digest.clone())));
    let sound = [
        "nginx",
        "nginx:alpine",
        "library/nginx",
        "127.0.0.1:5000/web:1.2_3-4",
        "ghcr.io/a/b__c/d.e",
        "Registry.Example/x",
        "[::1]:5000/x:1",
    ];
    for reference in sound {
        assert_eq!(image_digest(reference), Ok(None), "{reference}");
    }
    let broken = [
        "",
        "Nginx",
        "a//b",
        "nginx:",
        "nginx:a b",
        "a b",
        "nginx@sha256:0f",
        ":tag",
        "a/b/",
        "nginx@",
        "-\n",
    ];
    for reference in broken {
        assert!(image_digest(reference).is_err(), "{reference}");
    }
    assert_eq!(of_image(&pinned).as_deref(), Some("web"));
    assert_eq!(of_image("nginx:alpine").as_deref(), Some("nginx"));
}
