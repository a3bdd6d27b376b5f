//! A service that cannot answer says why, since when, with its last words, and what to do.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use allod_net::limits::IngressLimits;
use allod_net::{Backend, LogTail, Outage, Route, Routes};
use tokio::time::timeout;

use crate::stage::{HOST, PATIENCE, Replica, Stage, body, key, nobody, route, status};

fn down() -> Route {
    let since = SystemTime::now() - Duration::from_secs(90);
    let cause = "exit code 1: <img src=x onerror=alert(1)>";
    Route {
        key: key(),
        backends: vec![Backend::not_ready(nobody(), "web-0")],
        outage: Outage::stopped(cause, since, "allod logs shop/web"),
        log_tail: LogTail::new(|| vec!["first".into(), "FATAL: no <table> \"users\"".into()]),
    }
}

#[tokio::test]
async fn the_page_is_honest_in_every_form() {
    let stage = Stage::new(IngressLimits::default());
    stage.route(down());
    let html = stage.get(HOST, "Accept: text/html,*/*;q=0.8\r\n").await;
    assert_eq!(status(&html), 503);
    assert!(html.contains("retry-after: 10\r\n") && html.contains("content-type: text/html"));
    assert!(
        html.contains("content-security-policy: default-src 'none'"),
        "{html}"
    );
    let page = body(&html);
    for part in [
        "shop/web",
        "&lt;img src=x onerror=alert(1)&gt;",
        "90 s ago",
        "FATAL: no &lt;table&gt; &quot;users&quot;",
        "allod logs shop/web",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    assert!(!page.contains("<img") && !page.contains("http://") && !page.contains("127.0.0.1"));

    let text = stage
        .get(HOST, "User-Agent: curl/8.5.0\r\nAccept: */*\r\n")
        .await;
    assert!(text.contains("content-type: text/plain"));
    assert!(
        body(&text).contains("cause: exit code 1") && body(&text).contains("  FATAL: no <table>")
    );

    let json = stage.get(HOST, "Accept: application/json\r\n").await;
    assert!(json.contains("content-type: application/problem+json"));
    let said: serde_json::Value = serde_json::from_str(body(&json)).unwrap();
    assert_eq!(
        (said["app"].as_str(), said["service"].as_str()),
        (Some("shop"), Some("web"))
    );
    assert_eq!(said["next_step"], "allod logs shop/web");
    assert_eq!(said["log"][0], "first");
}

#[tokio::test]
async fn log_lines_that_do_not_come_delay_the_page_but_little() {
    let stage = Stage::new(IngressLimits::default());
    let (release, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    let log_tail = LogTail::new(move || {
        let _ = wait.lock().unwrap().recv();
        vec!["too late".into()]
    });
    stage.route(Route { log_tail, ..down() });
    let answer = stage.get(HOST, "").await;
    assert_eq!(status(&answer), 503);
    assert!(!answer.contains("too late"));
    drop(release);
}

#[tokio::test]
async fn a_request_waits_until_the_node_knows_its_apps() {
    let stage = Stage::new(IngressLimits {
        starting_hold: PATIENCE,
        ..Default::default()
    });
    stage.routes.send_replace(Arc::new(Routes::awaited()));
    let replica = Replica::saying("up").await;
    let asking = stage.get(HOST, "");
    tokio::pin!(asking);
    let soon = timeout(Duration::from_millis(100), &mut asking).await;
    assert!(soon.is_err(), "it waits");
    stage.route(route(vec![replica.ready("web-0")]));
    assert_eq!(body(&asking.await), "up");
}

#[tokio::test]
async fn a_node_that_does_not_know_its_apps_yet_denies_none() {
    let stage = Stage::new(IngressLimits {
        starting_hold: Duration::from_millis(50),
        ..Default::default()
    });
    stage.routes.send_replace(Arc::new(Routes::awaited()));
    let answer = stage.get(HOST, "").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    stage.routes.send_replace(Arc::new(Routes::new()));
    let answer = stage.get(HOST, "").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn a_request_waits_for_a_service_that_is_starting() {
    let stage = Stage::new(IngressLimits {
        starting_hold: PATIENCE,
        ..Default::default()
    });
    let outage = Outage::starting("pulling the image", SystemTime::now());
    stage.route(Route {
        outage: outage.clone(),
        ..route(vec![])
    });
    let replica = Replica::saying("up").await;
    let asking = stage.get(HOST, "");
    tokio::pin!(asking);
    assert!(
        timeout(Duration::from_millis(100), &mut asking)
            .await
            .is_err(),
        "it waits"
    );
    stage.route(Route {
        outage,
        ..route(vec![replica.ready("web-0")])
    });
    assert_eq!(body(&asking.await), "up");
}

#[tokio::test]
async fn the_wait_ends_by_itself_and_when_the_start_failed() {
    let brief = IngressLimits {
        starting_hold: Duration::from_millis(50),
        ..Default::default()
    };
    let stage = Stage::new(brief);
    let outage = Outage::starting("pulling the image", SystemTime::now());
    stage.route(Route {
        outage: outage.clone(),
        ..route(vec![])
    });
    let answer = stage.get(HOST, "").await;
    assert_eq!(status(&answer), 503);
    assert!(answer.contains("pulling the image") && answer.contains("retry-after: 2\r\n"));

    let stage = Stage::new(IngressLimits {
        starting_hold: PATIENCE * 9,
        ..Default::default()
    });
    stage.route(Route {
        outage,
        ..route(vec![])
    });
    let asking = stage.get(HOST, "");
    tokio::pin!(asking);
    assert!(
        timeout(Duration::from_millis(100), &mut asking)
            .await
            .is_err(),
        "it waits"
    );
    stage.route(down());
    assert!(asking.await.contains("exit code 1"));
}
