//! An app sees its own services by three names, and private names stay on the machine.

use super::*;

fn labels(name: &str) -> Vec<String> {
    name.split('.')
        .filter(|label| !label.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn an_app_sees_its_own_services_by_three_names() {
    let mut names = Names::new(vec![]);
    let db = Ipv4Addr::new(10, 1, 0, 2);
    names.insert("Shop", "DB", vec![db]);
    names.insert("shop", "cache", vec![]);
    names.insert("other", "secret", vec![db]);
    for name in ["db", "db.shop", "db.shop.internal"] {
        assert_eq!(
            names.meaning("shop", &labels(name)),
            Meaning::Service(&[db]),
            "{name}"
        );
    }
    assert_eq!(
        names.meaning("shop", &labels("cache")),
        Meaning::Service(&[])
    );
    for name in [
        "secret",
        "secret.other.internal",
        "db.shop.other.internal",
        "metadata.google.internal",
        "internal",
        "1.0.1.10.in-addr.arpa",
        "1.0.17.172.in-addr.arpa",
        "254.169.254.169.in-addr.arpa",
    ] {
        assert_eq!(
            names.meaning("shop", &labels(name)),
            Meaning::Nothing,
            "{name}"
        );
    }
    for name in [
        "secret.other",
        "db.com",
        "a.db",
        "8.8.8.8.in-addr.arpa",
        "1.0.33.172.in-addr.arpa",
        "",
    ] {
        assert_eq!(
            names.meaning("shop", &labels(name)),
            Meaning::Foreign,
            "{name}"
        );
    }
    assert_eq!(
        names.meaning("shop", &labels("a.localhost")),
        Meaning::Localhost
    );
    assert_eq!(names.meaning("gone", &labels("db")), Meaning::Nothing);
}

#[test]
fn resolv_conf_is_read_leniently() {
    let text = "# x\nsearch a b\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # y\n\
                nameserver\nnameserver nonsense\noptions edns0\nnameserver fe80::1%eth0\n";
    let expected: Vec<SocketAddr> = vec![
        "192.0.2.1:53".parse().unwrap(),
        "[2001:db8::1]:53".parse().unwrap(),
    ];
    assert_eq!(upstreams_of(text), expected);
    assert!(upstreams_of("").is_empty());
}
