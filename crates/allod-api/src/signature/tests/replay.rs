//! A request is let in once, and only about when it was signed.

use super::*;

#[test]
fn a_request_is_let_in_once() {
    let verifier = verifier();
    let parts = signed("GET", URL, b"", &account());
    verifier.verify(&parts, b"", NOW_S, |_| true).unwrap();
    for later_s in [NOW_S, NOW_S + LIFETIME_S - 1] {
        let error = verifier.verify(&parts, b"", later_s, |_| true).unwrap_err();
        assert_eq!(error, SignatureError::Replayed);
    }
    let error = verifier
        .verify(&parts, b"", NOW_S + LIFETIME_S, |_| true)
        .unwrap_err();
    assert_eq!(error.code(), "signature_expired");
}

#[test]
fn a_clock_set_back_replays_nothing() {
    let verifier = verifier();
    let parts = signed("GET", URL, b"", &account());
    verifier.verify(&parts, b"", NOW_S, |_| true).unwrap();
    // Time passes, others are served, then the clock steps back to where the old request was valid.
    let mut later = super::tests::parts("GET", URL);
    let late_s = NOW_S + LIFETIME_S + NONCE_GRACE_S;
    sign(&mut later, b"", &account(), late_s).unwrap();
    verifier
        .verify(&received(later), b"", late_s, |_| true)
        .unwrap();
    let error = verifier
        .verify(&parts, b"", NOW_S + 1, |_| true)
        .unwrap_err();
    assert_eq!(error, SignatureError::Replayed);
}

#[test]
fn one_nonce_may_serve_two_keys() {
    let verifier = verifier();
    for _ in 0..2 {
        let mut parts = parts("GET", URL);
        signed_with_nonce(&mut parts, &account(), "the-same-nonce-0").unwrap();
        verifier
            .verify(&received(parts), b"", NOW_S, |_| true)
            .unwrap();
    }
}

#[test]
fn a_wrong_clock_is_named_with_both_times() {
    let parts = signed("GET", URL, b"", &account());
    let behind_s = NOW_S - SKEW_S_MAX - 1;
    let error = verifier()
        .verify(&parts, b"", behind_s, |_| true)
        .unwrap_err();
    assert_eq!(
        error,
        SignatureError::ClockSkew {
            created_s: NOW_S,
            now_s: behind_s
        }
    );
    let text = error.to_string();
    assert!(
        text.contains(&NOW_S.to_string()) && text.contains(&behind_s.to_string()),
        "{text}"
    );
    assert!(text.contains("31 s apart"), "{text}");
    verifier()
        .verify(&parts, b"", NOW_S - SKEW_S_MAX, |_| true)
        .unwrap();

    let late_s = NOW_S + LIFETIME_S;
    let text = verifier()
        .verify(&parts, b"", late_s, |_| true)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains(&NOW_S.to_string()) && text.contains(&late_s.to_string()),
        "{text}"
    );
    verifier()
        .verify(&parts, b"", late_s - 1, |_| true)
        .unwrap();
}

#[test]
fn a_signature_holds_a_minute_at_most() {
    for (lifetime_s, is_allowed) in [
        (0, false),
        (1, true),
        (60, true),
        (61, false),
        (100_000, false),
    ] {
        let identity = account();
        let mut parts = signed("GET", URL, b"", &identity);
        resigned(&mut parts, &identity, |input| {
            let made = format!("expires={}", NOW_S + LIFETIME_S);
            input.replace(&made, &format!("expires={}", NOW_S + lifetime_s))
        });
        let outcome = check(&parts, b"");
        assert_eq!(outcome.is_ok(), is_allowed, "{lifetime_s}: {outcome:?}");
        if !is_allowed {
            assert_eq!(outcome.unwrap_err().code(), "signature_lifetime");
        }
    }
}

#[test]
fn what_was_signed_before_the_start_is_refused() {
    let parts = signed("GET", URL, b"", &account());
    let started_later = Verifier::new(door(), NOW_S + 1);
    let error = started_later
        .verify(&parts, b"", NOW_S + 2, |_| true)
        .unwrap_err();
    assert_eq!(error.code(), "signature_before_start");
    let same_second = Verifier::new(door(), NOW_S);
    same_second.verify(&parts, b"", NOW_S, |_| true).unwrap();
}

#[test]
fn nobody_fills_the_memory_of_others_and_a_full_memory_forgets_nothing() {
    let account =
        |seed: u8| Share::Account(AccountId::of_first_key(&PublicKey::Ed25519([seed; 32])));
    let key = |share: u8, seed: u8| (account(share), PublicKey::Ed25519([seed; 32]));
    let mut replay = Replay::default();
    let mut claim = |signer, nonce: &str| replay.claim(signer, nonce, NOW_S + 60, NOW_S);
    let refused = |whose| Err(SignatureError::TooMany { whose });
    for nonce in 0..NONCES_PER_KEY_MAX {
        claim(key(1, 0), &format!("1.{nonce}")).unwrap();
    }
    let (share, other) = (key(1, 0), key(1, 1));
    assert_eq!(claim(share, "more"), refused("this key"));
    claim(other, "more").unwrap();
    for seed in 1..u8::try_from(NONCES_PER_ACCOUNT_MAX / NONCES_PER_KEY_MAX).unwrap() {
        let taken = u32::from(seed == 1);
        for nonce in taken..NONCES_PER_KEY_MAX {
            claim(key(1, seed), &nonce.to_string()).unwrap();
        }
    }
    assert_eq!(claim(key(1, 100), "more"), refused("this account"));
    let left = u32::try_from(NONCES_MAX).unwrap() - NONCES_PER_ACCOUNT_MAX;
    for nonce in 0..left {
        let seed = u8::try_from(nonce / NONCES_PER_KEY_MAX).unwrap();
        claim(key(2, 100 + seed), &nonce.to_string()).unwrap();
    }
    assert_eq!(claim(key(3, 50), "more"), refused("all keys"));
    let operator = (Share::Operator, PublicKey::Ed25519([200; 32]));
    claim(operator, "the operator's own").unwrap();
    assert_eq!(claim(share, "1.0"), Err(SignatureError::Replayed));
    // Once the marks are past their use there is room again.
    let later_s = NOW_S + 60 + NONCE_GRACE_S + 1;
    replay.claim(share, "1.0", later_s + 60, later_s).unwrap();
    assert_eq!(replay.len(), 1);
}
