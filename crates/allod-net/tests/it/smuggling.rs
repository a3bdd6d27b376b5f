//! Requests whose end two readers could see in different places are refused, and only one request
//! at most ever reaches a replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use http_body_util::{BodyExt, Full};

use crate::stage::{Replica, Stage, status};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\n";
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n";

/// The name of each trick, the header lines that play it, and the body that goes with them.
fn ambiguous() -> Vec<(&'static str, String, &'static str)> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        (
            "CL.TE",
            format!("Content-Length: 59\r\n{chunked}\r\n"),
            "0\r\n\r\n",
        ),
        (
            "TE.CL",
            format!("{chunked}Content-Length: 5\r\n\r\n"),
            "0\r\n\r\n",
        ),
        (
            "CL.CL",
            "Content-Length: 0\r\nContent-Length: 54\r\n\r\n".into(),
            "",
        ),
        ("CL list", "Content-Length: 0, 54\r\n\r\n".into(), ""),
        ("CL sign", "Content-Length: +0\r\n\r\n".into(), ""),
        (
            "TE.TE",
            format!("{chunked}Transfer-Encoding: identity\r\n\r\n"),
            "0\r\n\r\n",
        ),
        (
            "TE other",
            "Transfer-Encoding: xchunked\r\n\r\n".into(),
            "0\r\n\r\n",
        ),
        (
            "TE tab",
            "Transfer-Encoding:\u{b}chunked\r\n\r\n".into(),
            "0\r\n\r\n",
        ),
        (
            "space before colon",
            "Transfer-Encoding : chunked\r\n\r\n".into(),
            "0\r\n\r\n",
        ),
        (
            "obs-fold",
            "X: a\r\n Transfer-Encoding: chunked\r\n\r\n".into(),
            "0\r\n\r\n",
        ),
        (
            "bare LF in head",
            "X: a\nContent-Length: 0\r\n\r\n".into(),
            "",
        ),
        ("bare LF ends head", "X: a\n\n".into(), ""),
        ("bare CR", "X: a\rContent-Length: 54\r\n\r\n".into(), ""),
        ("NUL", "X: a\0b\r\n\r\n".into(), ""),
        ("chunk size sign", format!("{chunked}\r\n"), "+0\r\n\r\n"),
        ("chunk size bare LF", format!("{chunked}\r\n"), "0\n\n"),
        (
            "chunk too long",
            format!("{chunked}\r\n"),
            "1\r\nab\r\n0\r\n\r\n",
        ),
        (
            "chunk extension LF",
            format!("{chunked}\r\n"),
            "1;a\nb\r\nx\r\n0\r\n\r\n",
        ),
        (
            "chunk size overflow",
            format!("{chunked}\r\n"),
            "10000000000000000\r\n\r\n",
        ),
    ]
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_nothing_hides_behind_them() {
    let hidden = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&hidden);
    let replica = Replica::new(move |request| {
        let is_hidden = request.uri().path() == "/hidden";
        seen.fetch_add(usize::from(is_hidden), Ordering::SeqCst);
        async move {
            let _ = request.into_body().collect().await;
            Response::new(Full::from("ok"))
        }
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    for (name, lines, rest) in ambiguous() {
        let answer = stage
            .say(format!("{HEAD}{lines}{rest}{HIDDEN}").as_bytes())
            .await;
        let refusals = answer.matches("HTTP/1.1 400 Bad Request\r\n").count();
        assert_eq!((status(&answer), refusals), (400, 1), "{name}: {answer:?}");
        assert!(!answer.contains("200 OK"), "{name}: {answer:?}");
        assert_eq!(hidden.load(Ordering::SeqCst), 0, "{name}");
    }
}

#[tokio::test]
async fn plain_requests_one_after_the_other_pass() {
    let replica = Replica::new(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::from(body))
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let sent = format!(
        "{HEAD}Content-Length: 5\r\n\r\nfirst{HEAD}Transfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nsec\r\n3\r\nond\r\n0\r\nTrailer: 1\r\n\r\n\
         {HEAD}Connection: close\r\nContent-Length: 5\r\n\r\nthird"
    );
    let answer = stage.say(sent.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    let order = ["first", "second", "third"].map(|body| answer.find(body).expect(body));
    assert!(order.is_sorted(), "{answer}");
}
