//! A conversation with one registry about one image: redirects, challenges, retries.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use super::address::Reach;
use super::auth::{Authorization, Challenge, Credentials, bearer};
use super::error::PullError;
use super::wire::{Exchange, HopError, Wire, shown_host};
use crate::image::limits::{
    ERROR_BODY_BYTES_MAX, Limits, QUOTED_CHARS_MAX, REDIRECTS_MAX, TOKEN_BODY_BYTES_MAX,
};
use crate::image::reference::Reference;
use crate::image::room::NoRoom;

/// What a request wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// Below the repository: `manifests/latest`, `blobs/sha256:…`.
    pub(super) path: &'a str,
    /// The `Accept` header.
    pub(super) accept: &'static str,
    /// The first byte wanted, to resume.
    pub(super) from: u64,
}

/// One registry, one repository, one set of credentials.
pub(super) struct Session {
    pub(super) reference: Reference,
    wire: Arc<Wire>,
    limits: Limits,
    reach: Reach,
    base: Url,
    credentials: Option<Credentials>,
    /// What proved good; shared by the parallel downloads.
    authorization: Mutex<Option<Authorization>>,
}

impl Session {
    pub(super) fn new(
        reference: &Reference,
        credentials: Option<&Credentials>,
        wire: Arc<Wire>,
        limits: &Limits,
    ) -> Result<Self, PullError> {
        let refused = |reason| PullError::AddressRefused {
            host: reference.host().to_owned(),
            reason,
        };
        let base = Url::parse(&reference.base_url())
            .map_err(|_| refused("its name does not make a URL"))?;
        let host = base
            .host_str()
            .ok_or_else(|| refused("it has no host"))?
            .to_owned();
        let port = base
            .port_or_known_default()
            .ok_or_else(|| refused("it has no port"))?;
        let reach = Reach {
            loopback_origin: reference.is_loopback().then_some((host, port)),
            loopback_registries: limits.loopback_registries,
            private: limits.private_registries,
        };
        Ok(Self {
            reference: reference.clone(),
            wire,
            limits: limits.clone(),
            reach,
            base,
            credentials: credentials.cloned(),
            authorization: Mutex::new(None),
        })
    }

    pub(super) fn host(&self) -> String {
        self.reference.host().to_owned()
    }

    pub(super) fn no_room(&self, source: NoRoom) -> PullError {
        PullError::NoRoom {
            reference: self.reference.to_string(),
            source,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Asks, and asks again while that can help; the answer is 200 or 206.
    pub(super) async fn get(&self, ask: Ask<'_>) -> Result<Exchange, PullError> {
        let mut tries = Tries::new(&self.limits);
        loop {
            match self.get_once(ask).await {
                Err(error) if error.is_transient() => tries.wait_after(error).await?,
                other => return other,
            }
        }
    }

    /// Asks once, proving who we are if the registry wants to know.
    async fn get_once(&self, ask: Ask<'_>) -> Result<Exchange, PullError> {
        let mut sent = self.known_authorization();
        for _ in 0..2 {
            let exchange = self.follow(ask, sent.as_ref()).await?;
            if exchange.head.status != StatusCode::UNAUTHORIZED {
                return self.judge(exchange).await;
            }
            let Some(challenge) = Challenge::among(&exchange.head.headers) else {
                break;
            };
            drop(exchange);
            let Some(proof) = self.prove(challenge).await? else {
                break;
            };
            *self.authorization.lock().expect("no holder panics") = Some(proof.clone());
            sent = Some(proof);
        }
        Err(self.unauthorized())
    }

    fn known_authorization(&self) -> Option<Authorization> {
        self.authorization.lock().expect("no holder panics").clone()
    }

    fn unauthorized(&self) -> PullError {
        PullError::Unauthorized {
            host: self.host(),
            reference: self.reference.to_string(),
            had_credentials: self.credentials.is_some(),
        }
    }

    /// Sends one request and follows its redirects, judging every hop.
    async fn follow(
        &self,
        ask: Ask<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Exchange, PullError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}", self.base.path(), ask.path));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(ask.accept));
        if ask.from > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", ask.from));
            headers.insert(RANGE, range.expect("digits are a header value"));
        }
        if let Some(Authorization(value)) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let mut from: Option<Url> = None;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.wire.get(&url, &headers, &self.reach).await;
            let exchange = answer.map_err(|error| self.hop_error(error, from.as_ref(), &url))?;
            let Some(next) = redirect(&exchange, &url) else {
                return Ok(exchange);
            };
            let next = next.map_err(|reason| self.redirect_refused(Some(&url), &url, reason))?;
            if next.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
            }
            from = Some(std::mem::replace(&mut url, next));
        }
        Err(self.redirect_refused(from.as_ref(), &url, "it is one redirect too many"))
    }

    fn hop_error(&self, error: HopError, from: Option<&Url>, url: &Url) -> PullError {
        match (error, from) {
            (HopError::Failed(error), _) => error,
            (HopError::Refused(reason), Some(_)) => self.redirect_refused(from, url, reason),
            (HopError::Refused(reason), None) => PullError::AddressRefused {
                host: shown_host(url),
                reason,
            },
        }
    }

    fn redirect_refused(&self, from: Option<&Url>, to: &Url, reason: &'static str) -> PullError {
        let host = from.map_or_else(|| self.host(), shown_host);
        // The query of such targets is a signature: not for logs.
        let target = to[..url::Position::AfterPath]
            .chars()
            .take(QUOTED_CHARS_MAX)
            .collect();
        PullError::RedirectRefused {
            host,
            target,
            reason,
        }
    }

    /// Turns a status into a body to read or into the error a person can act upon.
    async fn judge(&self, exchange: Exchange) -> Result<Exchange, PullError> {
        let status = exchange.head.status;
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(exchange),
            StatusCode::NOT_FOUND => Err(PullError::NotFound {
                host: self.host(),
                reference: self.reference.to_string(),
            }),
            StatusCode::UNAUTHORIZED => Err(self.unauthorized()),
            StatusCode::FORBIDDEN => Err(PullError::Forbidden {
                host: self.host(),
                reference: self.reference.to_string(),
                had_credentials: self.credentials.is_some(),
            }),
            StatusCode::TOO_MANY_REQUESTS => Err(PullError::RateLimited {
                host: self.host(),
                retry_after: exchange.header(RETRY_AFTER).and_then(wait_asked),
            }),
            _ => Err(PullError::Status {
                host: self.host(),
                reference: self.reference.to_string(),
                status: status.as_u16(),
                message: message(exchange).await,
            }),
        }
    }

    /// Answers a challenge; none if there is nothing to answer it with.
    async fn prove(&self, challenge: Challenge) -> Result<Option<Authorization>, PullError> {
        let basic = self.credentials.as_ref().and_then(Credentials::basic);
        let Challenge::Bearer {
            realm,
            service,
            scope,
        } = challenge
        else {
            return Ok(basic);
        };
        let refused = |host: &str, reason| PullError::AddressRefused {
            host: host.chars().take(QUOTED_CHARS_MAX).collect(),
            reason,
        };
        let mut url =
            Url::parse(&realm).map_err(|_| refused(&realm, "its token service is not a URL"))?;
        let asked = format!("repository:{}:pull", self.reference.repository());
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", scope.as_deref().unwrap_or(&asked));
        }
        let mut headers = HeaderMap::new();
        if let Some(Authorization(value)) = basic {
            headers.insert(AUTHORIZATION, value);
        }
        let answer = self.wire.get(&url, &headers, &self.reach).await;
        let exchange = answer.map_err(|error| self.hop_error(error, None, &url))?;
        match exchange.head.status {
            StatusCode::OK => {
                let body = exchange.whole(TOKEN_BODY_BYTES_MAX).await?;
                let token = body.as_deref().and_then(bearer);
                token.map(Some).ok_or_else(|| PullError::Unreachable {
                    host: shown_host(&url),
                    why: "its token service sent no token".to_owned(),
                })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
            _ => self.judge(exchange).await.map(|_| None),
        }
    }
}

/// The target of a redirect, absolute; an error if it has none that can be read.
fn redirect(exchange: &Exchange, url: &Url) -> Option<Result<Url, &'static str>> {
    let status = exchange.head.status.as_u16();
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = exchange.header(LOCATION).ok_or("it does not say where to");
    Some(location.and_then(|text| url.join(text).map_err(|_| "its target is not a URL")))
}

/// `Retry-After` in seconds; the form with a date is rare here and counts as not said.
fn wait_asked(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The registry's own explanation, if it has a short one.
async fn message(exchange: Exchange) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Detail>,
    }
    #[derive(serde::Deserialize)]
    struct Detail {
        #[serde(default)]
        message: String,
    }
    let Ok(Some(body)) = exchange.whole(ERROR_BODY_BYTES_MAX).await else {
        return String::new();
    };
    let parsed = serde_json::from_slice::<Errors>(&body).ok();
    let first = parsed.and_then(|errors| errors.errors.into_iter().next());
    first.map_or_else(String::new, |first| {
        first.message.chars().take(QUOTED_CHARS_MAX).collect()
    })
}

/// Counts tries and waits between them: doubling, with jitter, with an end.
pub(super) struct Tries {
    left: u32,
    wait: Duration,
    wait_max: Duration,
}

impl Tries {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            left: limits.attempts.saturating_sub(1),
            wait: limits.backoff,
            wait_max: limits.backoff_max,
        }
    }

    /// Waits for the next try, or gives the error back when there is none left.
    pub(super) async fn wait_after(&mut self, error: PullError) -> Result<(), PullError> {
        let asked = match &error {
            PullError::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        };
        if self.left == 0 || asked.is_some_and(|asked| asked > self.wait_max) {
            return Err(error);
        }
        self.left -= 1;
        let wait = jittered(self.wait.min(self.wait_max)).max(asked.unwrap_or_default());
        tracing::debug!(%error, wait_ms = wait.as_millis(), "trying again");
        tokio::time::sleep(wait).await;
        self.wait = self.wait.saturating_mul(2);
        Ok(())
    }
}

/// Between half and all of `wait`, so that many nodes do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        bytes = now.subsec_nanos().to_ne_bytes();
    }
    let half = wait / 2;
    half + half.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}
