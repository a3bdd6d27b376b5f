//! Proving who pulls: the registry's challenge, and the token that answers it.
//!
//! A registry answers 401 with `WWW-Authenticate: Bearer realm=…,service=…,scope=…`; the client
//! asks the realm for a token, with the user's name and password if there are any, and asks the
//! registry again. `Basic` sends the password itself. The realm is the registry's word, so it
//! passes the same address rules as a redirect; it only ever sees credentials for that registry.

use std::fmt;

use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

/// A name and password for one registry. It cannot be printed, and is wiped when dropped.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Credentials for the registry they will be passed along with.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: Zeroizing::new(password.into()),
        }
    }

    pub(super) fn basic(&self) -> Option<Authorization> {
        let joined = Zeroizing::new(format!("{}:{}", self.user, *self.password));
        Authorization::new("Basic", &Zeroizing::new(BASE64.encode(joined.as_bytes())))
    }
}

/// The value of an `Authorization` header; marked sensitive, so no log shows it.
#[derive(Clone)]
pub(super) struct Authorization(pub(super) http::HeaderValue);

impl Authorization {
    fn new(scheme: &str, secret: &str) -> Option<Self> {
        let text = Zeroizing::new(format!("{scheme} {secret}"));
        let mut value = http::HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// What the registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads the strongest challenge that is understood among the headers of a 401.
    pub(super) fn among(headers: &http::HeaderMap) -> Option<Self> {
        let values = headers.get_all(http::header::WWW_AUTHENTICATE);
        let parsed = values
            .iter()
            .filter_map(|value| Self::parse(value.to_str().ok()?));
        let mut basic = None;
        for challenge in parsed {
            match challenge {
                Self::Bearer { .. } => return Some(challenge),
                Self::Basic => basic = Some(challenge),
            }
        }
        basic
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = rest.trim_start();
        while !rest.is_empty() {
            let (name, value, tail) = parameter(rest)?;
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
            rest = tail;
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
            scope,
        })
    }
}

/// Splits `name="value", rest` (the quotes are optional) into its parts.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    let rest = rest.trim_start();
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next()? {
                    (end, '"') => break end,
                    (_, '\\') => value.push(characters.next()?.1),
                    (_, character) => value.push(character),
                }
            };
            (value, &quoted[end + 1..])
        }
        None => {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].trim().to_owned(), &rest[end..])
        }
    };
    let rest = rest.trim_start();
    Some((
        name.trim(),
        value,
        rest.strip_prefix(',').unwrap_or(rest).trim_start(),
    ))
}

/// A token service's answer; either name is in use.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// The header made of a token service's answer.
pub(super) fn bearer(answer: &[u8]) -> Option<Authorization> {
    let answer: TokenAnswer = serde_json::from_slice(answer).ok()?;
    let token = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token)?;
    Authorization::new("Bearer", &Zeroizing::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:library/nginx:pull\"";
        assert_eq!(
            Challenge::parse(hub),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".to_owned(),
                service: Some("registry.docker.io".to_owned()),
                scope: Some("repository:library/nginx:pull".to_owned()),
            })
        );
        let spaced = "bearer  realm = \"https://a/b\" , service=plain";
        assert!(matches!(
            Challenge::parse(spaced),
            Some(Challenge::Bearer { .. })
        ));
        let plain = "BEARER realm=\"https://a/b?c=d,e\", service=plain, error=\"x\\\"y\"";
        let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = Challenge::parse(plain)
        else {
            panic!("a bearer challenge")
        };
        assert_eq!(
            (realm.as_str(), service.as_deref(), scope),
            ("https://a/b?c=d,e", Some("plain"), None)
        );
        assert_eq!(
            Challenge::parse("Basic realm=\"x\""),
            Some(Challenge::Basic)
        );
        for bad in [
            "Negotiate",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
            "",
        ] {
            assert_eq!(Challenge::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_is_found_under_either_name() {
        for answer in [
            r#"{"token":"t"}"#,
            r#"{"access_token":"t"}"#,
            r#"{"token":"","access_token":"t"}"#,
        ] {
            assert_eq!(bearer(answer.as_bytes()).unwrap().0, "Bearer t");
        }
        assert!(bearer(b"{}").is_none());
        assert!(bearer(b"{\"token\":\"a\\nb\"}").is_none());
        assert_eq!(Credentials::new("a", "b").basic().unwrap().0, "Basic YTpi");
    }
}
