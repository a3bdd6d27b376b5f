//! What a restart lets in: nothing twice.

use super::*;

/// A request signed by a clock that is ahead, but not by more than is let in.
fn signed_ahead(identity: &Identity, ahead_s: u64) -> Parts {
    let mut parts = parts("GET", URL);
    sign(&mut parts, b"", identity, NOW_S + ahead_s).unwrap();
    received(parts)
}

#[test]
fn a_restart_lets_nothing_in_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nonces");
    let identity = account();
    let requests: Vec<Parts> = (0..20)
        .map(|ahead_s| signed_ahead(&identity, ahead_s))
        .collect();
    let started = |started_s| Verifier::new(door(), started_s);
    let first = started(STARTED_S)
        .with_journal(path.clone(), NOW_S)
        .unwrap();
    for request in &requests {
        first.verify(request, b"", NOW_S, |_| true).unwrap();
    }
    drop(first);
    // The next process comes up within the same second: none of these is from before its start.
    let forgetful = started(NOW_S);
    let second = started(NOW_S).with_journal(path.clone(), NOW_S).unwrap();
    for request in &requests {
        forgetful.verify(request, b"", NOW_S, |_| true).unwrap();
        let refused = second.verify(request, b"", NOW_S, |_| true).unwrap_err();
        assert_eq!(refused, SignatureError::Replayed);
    }
    let fresh = signed_ahead(&identity, 0);
    second.verify(&fresh, b"", NOW_S, |_| true).unwrap();
    drop(second);
    // A record that was cut off by a crash costs nothing but itself.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let third = started(NOW_S).with_journal(path.clone(), NOW_S).unwrap();
    let refused = third
        .verify(&requests[19], b"", NOW_S, |_| true)
        .unwrap_err();
    assert_eq!(refused, SignatureError::Replayed);
    third.verify(&fresh, b"", NOW_S, |_| true).unwrap();
    drop(third);
    // What is over is not carried on.
    let later_s = NOW_S + 10_000;
    drop(started(NOW_S).with_journal(path.clone(), later_s).unwrap());
    let mut replay = Replay::default();
    replay.continue_in(path, later_s).unwrap();
    assert_eq!(replay.len(), 0);
}

#[test]
fn the_file_of_nonces_is_begun_anew_before_it_grows_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nonces");
    let mut replay = Replay::default();
    replay.continue_in(path.clone(), NOW_S).unwrap();
    let first = account();
    let signer = (Share::Account(first.account().unwrap()), first.public_key());
    // One nonce a second: after each minute or two the older ones are over.
    let turns = u64::try_from(JOURNAL_RECORDS_MAX).unwrap() + 10;
    for turn in 0..turns {
        let now_s = NOW_S + turn;
        replay
            .claim(signer, &format!("nonce-{turn:020}"), now_s + 30, now_s)
            .unwrap();
    }
    let bytes = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
    let records = bytes / RECORD_BYTES;
    assert!(records < 200, "{records} records are left");
    let now_s = NOW_S + turns;
    let mut next = Replay::default();
    next.continue_in(path, now_s).unwrap();
    let last = format!("nonce-{:020}", turns - 1);
    let refused = next.claim(signer, &last, now_s + 30, now_s).unwrap_err();
    assert_eq!(refused, SignatureError::Replayed);
}

#[test]
fn shares_of_the_memory_are_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nonces");
    let key = |seed: u8| PublicKey::Ed25519([seed; 32]);
    let share = |seed: u8| Share::Account(AccountId::of_first_key(&key(seed)));
    let mut first = Replay::default();
    first.continue_in(path.clone(), NOW_S).unwrap();
    // Keys that did not begin the account: whose share it was is not to be guessed from the key.
    let keys = u8::try_from(NONCES_PER_ACCOUNT_MAX / NONCES_PER_KEY_MAX).unwrap();
    let of_operator =
        u8::try_from(OPERATOR_NONCES_MAX / usize::try_from(NONCES_PER_KEY_MAX).unwrap());
    let of_operator = (0..of_operator.unwrap()).map(|seed| (Share::Operator, key(100 + seed)));
    for signer in (0..keys)
        .map(|seed| (share(200), key(seed)))
        .chain(of_operator)
    {
        for nonce in 0..NONCES_PER_KEY_MAX {
            let nonce = nonce.to_string();
            first.claim(signer, &nonce, NOW_S + 60, NOW_S).unwrap();
        }
    }
    let (signer, operator) = ((share(200), key(50)), (Share::Operator, key(50)));
    let mut second = Replay::default();
    second.continue_in(path, NOW_S).unwrap();
    for replay in [&mut first, &mut second] {
        let mut claim = |signer, nonce: &str| replay.claim(signer, nonce, NOW_S + 60, NOW_S);
        let refused = |whose| Err(SignatureError::TooMany { whose });
        assert_eq!(claim(signer, "more"), refused("this account"));
        assert_eq!(claim(operator, "more"), refused("all keys"));
        assert_eq!(
            claim((share(200), key(0)), "0"),
            Err(SignatureError::Replayed)
        );
        // Whoever the key would belong to by itself has lost nothing.
        claim((share(0), key(0)), "more").unwrap();
        claim((share(201), key(50)), "more").unwrap();
    }
    // Both forget in the same way, too.
    let later_s = NOW_S + 60 + NONCE_GRACE_S + 1;
    for replay in [&mut first, &mut second] {
        replay.claim(signer, "0", later_s + 60, later_s).unwrap();
        assert_eq!(replay.len(), 1);
    }
}
