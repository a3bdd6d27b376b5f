//! The ingress's own answers: honest about what failed, why, since when and what to do next.
//!
//! The same facts come as problem+json (RFC 9457), as a self-contained HTML page or as plain text,
//! whichever the client prefers. Everything that a workload or a client wrote is capped, escaped in
//! HTML and freed of control characters: it reaches neither a browser nor a terminal as code.

use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::ingress::body::AnswerBody;
use crate::ingress::routes::RouteKey;
use crate::limits::{LOG_LINE_CHARS_MAX, LOG_LINES_MAX, TEXT_CHARS_MAX};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;\
padding:0 1rem;color:#1c1b19;background:#fbfaf7}h1{font-size:1.4rem}\
pre{background:#efece4;padding:.8rem;overflow:auto;font-size:.85rem}\
dt{font-weight:600}dd{margin:0 0 .6rem}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#191817}pre{background:#2a2826}}";

/// One thing that went wrong, with all that its page says.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// A stable name for programs.
    pub(crate) code: &'static str,
    /// One line for people.
    pub(crate) title: String,
    /// Why.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) next_step: String,
    /// The service it is about.
    pub(crate) about: Option<RouteKey>,
    /// Since when.
    pub(crate) since: Option<SystemTime>,
    /// The service's last log lines, oldest first.
    pub(crate) log: Vec<String>,
    /// When to try again.
    pub(crate) retry_after_s: Option<u32>,
    /// Whether the connection may carry another request.
    pub(crate) is_closing: bool,
}

impl Problem {
    /// A problem with a request; the rest is filled in where it is known.
    pub(crate) fn new(status: StatusCode, code: &'static str, title: &str) -> Self {
        Self {
            status,
            code,
            title: title.to_owned(),
            cause: String::new(),
            next_step: String::new(),
            about: None,
            since: None,
            log: Vec::new(),
            retry_after_s: None,
            is_closing: false,
        }
    }

    /// Renders it as the client prefers.
    pub(crate) fn answer(&self, asked: &HeaderMap) -> Response<AnswerBody> {
        let form = Form::preferred(asked);
        let text = match form {
            Form::Json => self.json(),
            Form::Html => self.html(),
            Form::Text => self.text(),
        };
        let mut response = Response::new(AnswerBody::Own(Full::new(Bytes::from(text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(CONTENT_TYPE, form.content_type());
        set(CACHE_CONTROL, "no-store");
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        );
        set(HeaderName::from_static("allod-error"), self.code);
        if self.is_closing {
            set(CONNECTION, "close");
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn json(&self) -> String {
        let mut body = json!({
            "type": format!("urn:allod:problem:{}", self.code),
            "title": clean(&self.title, TEXT_CHARS_MAX),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": clean(&self.cause, TEXT_CHARS_MAX),
            "next_step": clean(&self.next_step, TEXT_CHARS_MAX),
        });
        if let Some(about) = &self.about {
            body["app"] = json!(about.app);
            body["service"] = json!(about.service);
        }
        if let Some(since) = self.since {
            body["since"] = json!(httpdate::fmt_http_date(since));
        }
        if !self.log.is_empty() {
            body["log"] = json!(self.log_lines().collect::<Vec<_>>());
        }
        if let Some(seconds) = self.retry_after_s {
            body["retry_after_s"] = json!(seconds);
        }
        format!("{body}\n")
    }

    fn text(&self) -> String {
        let mut page = format!(
            "{} {}\n",
            self.status.as_u16(),
            clean(&self.title, TEXT_CHARS_MAX)
        );
        for (label, value) in self.facts() {
            let _ = writeln!(page, "{label}: {value}");
        }
        if !self.log.is_empty() {
            page.push_str("last log lines:\n");
            for line in self.log_lines() {
                let _ = writeln!(page, "  {line}");
            }
        }
        page
    }

    fn html(&self) -> String {
        let title = escape(&clean(&self.title, TEXT_CHARS_MAX));
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style></head><body>\
             <h1>{} · {title}</h1><dl>",
            self.status.as_u16()
        );
        for (label, value) in self.facts() {
            let _ = write!(page, "<dt>{label}</dt><dd>{}</dd>", escape(&value));
        }
        page.push_str("</dl>");
        if !self.log.is_empty() {
            page.push_str("<h2>Last log lines</h2><pre>");
            for line in self.log_lines() {
                let _ = writeln!(page, "{}", escape(&line));
            }
            page.push_str("</pre>");
        }
        page.push_str("</body></html>\n");
        page
    }

    fn facts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let service = self
            .about
            .as_ref()
            .map(|key| clean(&key.to_string(), TEXT_CHARS_MAX));
        let since = self.since.map(|since| {
            let ago = since.elapsed().unwrap_or_default().as_secs();
            format!("{} ({} ago)", httpdate::fmt_http_date(since), spoken(ago))
        });
        let cause = (!self.cause.is_empty()).then(|| clean(&self.cause, TEXT_CHARS_MAX));
        let next = (!self.next_step.is_empty()).then(|| clean(&self.next_step, TEXT_CHARS_MAX));
        [
            ("service", service),
            ("cause", cause),
            ("since", since),
            ("next step", next),
        ]
        .into_iter()
        .filter_map(|(label, value)| value.map(|value| (label, value)))
    }

    fn log_lines(&self) -> impl Iterator<Item = String> {
        let skipped = self.log.len().saturating_sub(LOG_LINES_MAX);
        self.log[skipped..]
            .iter()
            .map(|line| clean(line, LOG_LINE_CHARS_MAX))
    }
}

/// The headers of a request that decide the form of a page.
pub(crate) fn asked(headers: &HeaderMap) -> HeaderMap {
    let mut asked = HeaderMap::with_capacity(2);
    for name in [ACCEPT, USER_AGENT] {
        for value in headers.get_all(&name) {
            asked.append(name.clone(), value.clone());
        }
    }
    asked
}

/// The form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Html,
    Text,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/problem+json",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// What `Accept` weighs highest. Where it does not decide, terminal programs get text and
    /// others HTML.
    fn preferred(asked: &HeaderMap) -> Self {
        let undecided = if is_terminal_program(asked) {
            Self::Text
        } else {
            Self::Html
        };
        let mut best = (0, undecided);
        let ranges = asked
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let form = match parts.next().map(str::to_ascii_lowercase).as_deref() {
                Some("application/json" | "application/problem+json" | "application/*") => {
                    Self::Json
                }
                Some("text/html" | "application/xhtml+xml") => Self::Html,
                Some("text/plain") => Self::Text,
                Some("*/*" | "text/*") => undecided,
                _ => continue,
            };
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1000, per_mille);
            if weight > best.0 {
                best = (weight, form);
            }
        }
        best.1
    }
}

fn is_terminal_program(asked: &HeaderMap) -> bool {
    let agent = asked
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or("");
    ["curl/", "Wget/", "HTTPie/", "xh/"]
        .iter()
        .any(|name| agent.starts_with(name))
}

/// A weight such as `0.8`, in thousandths; nonsense weighs nothing.
fn per_mille(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    match (whole, digits.parse::<u16>()) {
        ("0", Ok(thousandths)) => thousandths,
        ("1", Ok(0)) => 1000,
        _ => 0,
    }
}

/// Text from outside, on one line, without control characters, no longer than `chars_max`.
fn clean(text: &str, chars_max: usize) -> String {
    let mut cleaned: String = text
        .chars()
        .take(chars_max)
        .filter(|c| !is_invisible(*c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(chars_max).is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// Characters that have no width or turn the direction of what follows.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn spoken(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
