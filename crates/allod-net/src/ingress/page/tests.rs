//! Pages come in the form that was asked for, and nothing foreign gets through as markup.

use proptest::prelude::*;

use super::*;

fn asked(accept: Option<&str>, agent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
    }
    headers.insert(USER_AGENT, HeaderValue::from_str(agent).unwrap());
    headers
}

#[test]
fn the_form_follows_accept_and_then_the_program() {
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, agent, form) in [
        (Some(browser), "Mozilla/5.0", Form::Html),
        (Some("*/*"), "curl/8.5.0", Form::Text),
        (Some("*/*"), "Mozilla/5.0", Form::Html),
        (None, "Go-http-client/1.1", Form::Html),
        (None, "Wget/1.21", Form::Text),
        (Some("application/json"), "curl/8.5.0", Form::Json),
        (Some("application/problem+json, */*;q=0.1"), "x", Form::Json),
        (Some("application/json;q=0.5, text/html"), "x", Form::Html),
        (
            Some("text/html;q=0.2, application/json;q=0.9"),
            "x",
            Form::Json,
        ),
        (Some("application/json;q=0, */*"), "curl/8", Form::Text),
        (Some(";;;,q=,"), "x", Form::Html),
    ] {
        assert_eq!(
            Form::preferred(&asked(accept, agent)),
            form,
            "{accept:?} {agent}"
        );
    }
}

fn outage() -> Problem {
    Problem {
        cause: "the probe <script>alert(1)</script> failed".into(),
        next_step: "allod logs web & wait".into(),
        about: Some(RouteKey {
            app: "guestbook".into(),
            service: "web".into(),
        }),
        since: Some(SystemTime::UNIX_EPOCH),
        log: (0..50)
            .map(|n| format!("line {n} <b>\u{1b}[31m{}", "x".repeat(9000)))
            .collect(),
        retry_after_s: Some(5),
        ..Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_ready_replica",
            "web is not ready",
        )
    }
}

#[test]
fn html_escapes_what_others_wrote_and_caps_the_log() {
    let page = outage().html();
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains("<script>") && !page.contains("<b>") && !page.contains('\u{1b}'));
    assert!(page.contains("guestbook/web") && page.contains("allod logs web &amp; wait"));
    assert!(page.contains("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert!(!page.contains("line 29 ") && page.contains("line 30 ") && page.contains("line 49 "));
    assert!(page.len() < 20 * 1024, "{}", page.len());
}

#[test]
fn text_and_json_say_the_same() {
    let text = outage().text();
    assert!(text.starts_with("503 web is not ready\nservice: guestbook/web\ncause: the probe"));
    assert!(!text.contains('\u{1b}'));
    let json: serde_json::Value = serde_json::from_str(&outage().json()).unwrap();
    assert_eq!(json["status"], 503);
    assert_eq!(json["code"], "no_ready_replica");
    assert_eq!(json["service"], "web");
    assert_eq!(json["log"].as_array().unwrap().len(), 20);
    assert_eq!(json["retry_after_s"], 5);
}

proptest! {
    #[test]
    fn no_text_becomes_markup(text in "\\PC{0,80}[<>&\"'\u{0}-\u{1f}]{0,9}") {
        let page = |cause: String| {
            let empty = Problem::new(StatusCode::BAD_GATEWAY, "c", "t");
            Problem { cause, ..empty }.html()
        };
        let tags = |page: &str| page.matches('<').count();
        let (plain, page) = (page("x".into()), page(format!("x{text}")));
        prop_assert_eq!(tags(&page), tags(&plain));
        prop_assert!(!page.trim_end().chars().any(char::is_control));
    }
}
