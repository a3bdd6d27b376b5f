//! Where a request may go: decided on the address that is dialled, after the name is resolved.
//!
//! A registry chooses its redirects and its token service, and a tenant chooses the registry.
//! Neither may use this machine to reach the owner's network. Names are resolved once, each
//! address is judged, and the judged address is the one that is dialled: a name that resolves
//! differently the second time gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Global,
    Private,
    Loopback,
    /// Link-local (cloud metadata services live there), multicast, documentation, tunnels, …
    Special,
}

/// Who is asking: the rules differ for a registry that was named as this very machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    /// `host:port` of the registry when its name is a loopback literal or `localhost`.
    pub(super) loopback_origin: Option<(String, u16)>,
    /// Whether loopback registries are allowed at all.
    pub(super) loopback_registries: bool,
    /// Whether the owner's network may be reached.
    pub(super) private: bool,
}

impl Reach {
    /// Whether `scheme://host:port` may be asked for at all, before its name is resolved.
    pub(super) fn check_url(&self, url: &url::Url) -> Result<(), &'static str> {
        let is_origin = self.is_loopback_origin(url);
        match url.scheme() {
            "https" => {}
            "http" if is_origin => {}
            "http" => return Err("it is neither encrypted nor the registry itself"),
            _ => return Err("it is neither http nor https"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it carries a user name or a password");
        }
        if is_origin && !self.loopback_registries {
            return Err("this machine does not take images from its own addresses");
        }
        Ok(())
    }

    /// Whether this address may be dialled for `url`.
    pub(super) fn check_address(&self, url: &url::Url, ip: IpAddr) -> Result<(), &'static str> {
        let is_origin = self.is_loopback_origin(url);
        match place(ip) {
            Place::Loopback if is_origin => Ok(()),
            _ if is_origin => Err("localhost resolves to another machine"),
            Place::Global => Ok(()),
            Place::Private if self.private && self.loopback_origin.is_none() => Ok(()),
            Place::Private => Err("it is an address of a private network"),
            Place::Loopback => Err("it is this machine's own address"),
            Place::Special => Err("it is a link-local or reserved address"),
        }
    }

    fn is_loopback_origin(&self, url: &url::Url) -> bool {
        let Some((host, port)) = &self.loopback_origin else {
            return false;
        };
        url.host_str() == Some(host) && url.port_or_known_default() == Some(*port)
    }
}

/// Classifies an address; what is not known to be public is not public.
pub(super) fn place(ip: IpAddr) -> Place {
    match ip {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    }
}

fn place_v4(ip: Ipv4Addr) -> Place {
    match ip.octets() {
        [127, ..] => Place::Loopback,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Place::Private,
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Place::Special,
        _ => Place::Global,
    }
}

fn place_v6(ip: Ipv6Addr) -> Place {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return place_v4(v4);
    }
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Place::Loopback,
        [0xfc00..=0xfdff, ..] => Place::Private,
        // NAT64 carries an IPv4 address in its last 32 bits; judge that one.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            place_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        // Tunnels (Teredo, 6to4), ORCHID, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Place::Special,
        // Only 2000::/3 is handed out.
        [0x2000..=0x3fff, ..] => Place::Global,
        _ => Place::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Place {
        place(text.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_global() {
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
        ] {
            assert_eq!(at(text), Place::Global, "{text}");
        }
        for text in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(at(text), Place::Private, "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.255.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert_eq!(at(text), Place::Loopback, "{text}");
        }
        for text in [
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
            "::127.0.0.1",
            "64:ff9b:1::7f00:1",
            "fec0::1",
        ] {
            assert_eq!(at(text), Place::Special, "{text}");
        }
    }

    fn reach(origin: Option<(&str, u16)>, private: bool) -> Reach {
        Reach {
            loopback_origin: origin.map(|(host, port)| (host.to_owned(), port)),
            loopback_registries: true,
            private,
        }
    }

    #[test]
    fn a_public_registry_reaches_only_public_encrypted_places() {
        let reach = reach(None, false);
        let url = |text: &str| url::Url::parse(text).unwrap();
        assert!(reach.check_url(&url("https://cdn.example/x")).is_ok());
        for refused in [
            "http://cdn.example/x",
            "ftp://a/x",
            "https://user@a/x",
            "file:///etc/passwd",
        ] {
            assert!(reach.check_url(&url(refused)).is_err(), "{refused}");
        }
        let cdn = url("https://cdn.example/x");
        assert!(
            reach
                .check_address(&cdn, "1.1.1.1".parse().unwrap())
                .is_ok()
        );
        for refused in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1"] {
            assert!(
                reach.check_address(&cdn, refused.parse().unwrap()).is_err(),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_loopback_registry_reaches_itself_and_no_other_port() {
        let reach = reach(Some(("127.0.0.1", 5000)), true);
        let url = |text: &str| url::Url::parse(text).unwrap();
        let own = url("http://127.0.0.1:5000/x");
        let local = "127.0.0.1".parse().unwrap();
        assert!(reach.check_url(&own).is_ok());
        assert!(reach.check_address(&own, local).is_ok());
        assert!(reach.check_url(&url("http://127.0.0.1:5001/x")).is_err());
        assert!(
            reach
                .check_address(&url("https://127.0.0.1:5001/x"), local)
                .is_err()
        );
        assert!(
            reach
                .check_address(&url("https://lan/x"), "10.0.0.1".parse().unwrap())
                .is_err()
        );
        assert!(
            reach
                .check_address(&own, "10.0.0.1".parse().unwrap())
                .is_err()
        );
    }

    #[test]
    fn the_owners_network_opens_only_when_asked() {
        let url = url::Url::parse("https://registry.lan/x").unwrap();
        let ip = "192.168.1.5".parse().unwrap();
        assert!(reach(None, false).check_address(&url, ip).is_err());
        assert!(reach(None, true).check_address(&url, ip).is_ok());
        assert!(
            reach(None, true)
                .check_address(&url, "169.254.1.1".parse().unwrap())
                .is_err()
        );
        let closed = Reach {
            loopback_registries: false,
            ..reach(Some(("localhost", 80)), false)
        };
        assert!(
            closed
                .check_url(&url::Url::parse("http://localhost/x").unwrap())
                .is_err()
        );
    }
}
