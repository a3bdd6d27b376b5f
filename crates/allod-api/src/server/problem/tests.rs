//! Problems as callers read them.

use allod_state::Credits;
use http_body_util::BodyExt;

use super::*;

#[tokio::test]
async fn a_law_refusal_carries_its_name_number_and_next_step() {
    let rejection = Rejection::InsufficientCredit {
        needed: Credits::from_micro(2_000_000),
        available: Credits::ZERO,
    };
    let response = Problem::of_rejection(&view::Rejection::from(&rejection)).into_response();
    assert_eq!(response.status(), 402);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["type"], "urn:allod:problem:insufficient-credit");
    assert_eq!(json["title"], "Payment Required");
    assert_eq!(json["status"], 402);
    assert_eq!(json["code"], "insufficient-credit");
    assert_eq!(json["number"], 14);
    assert_eq!(json["next_step"], rejection.next_step());
    assert_eq!(json["detail"], rejection.to_string());
}

#[test]
fn each_kind_of_refusal_has_its_status() {
    for (name, status) in [
        ("insufficient-credit", 402),
        ("verb-not-granted", 403),
        ("unknown-app", 404),
        ("wrong-nonce", 409),
        ("stale-lease", 409),
        ("no-placement", 422),
        ("bad-field", 422),
    ] {
        assert_eq!(status_of(name).as_u16(), status, "{name}");
    }
    let busy = Problem::from(SubmitError::Busy { retry_after_ms: 10 });
    assert_eq!(busy.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(busy.0.retry_after_s, Some(1));
}
