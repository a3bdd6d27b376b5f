//! False signatures among good ones.

use allod_state::key::KnownKeys;

use super::*;
use crate::replica::tests::world;

type Receipts = oneshot::Receiver<Result<Committed, SubmitError>>;

/// So many transfers of one key, in the order of their nonces; those in `bad` carry another's signature.
fn jobs(count: u64, bad: &[u64]) -> (Vec<Job>, Vec<Receipts>) {
    let genesis = world::genesis(1, 0);
    let made = (0..count).map(|nonce| {
        let mut transaction = world::transfer(&genesis, 0, nonce, 1);
        if bad.contains(&nonce) {
            transaction.signature = world::transfer(&genesis, 0, nonce, 2).signature;
        }
        let (answer, receiver) = oneshot::channel();
        let answer = Some(answer);
        (
            Job {
                transaction: transaction.into(),
                answer,
            },
            receiver,
        )
    });
    made.unzip()
}

#[test]
fn the_false_ones_are_refused_and_the_rest_keep_their_order() {
    let scenes: [(u64, &[u64]); 8] = [
        (1, &[]),
        (1, &[0]),
        (2, &[1]),
        (9, &[0, 8]),
        (70, &[]),
        (70, &[69]),
        (70, &[3, 4, 40]),
        (
            20,
            &[
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
            ],
        ),
    ];
    let mut keys = KnownKeys::default();
    for (count, bad) in scenes {
        let (jobs, receivers) = jobs(count, bad);
        let offers = verify(&mut keys, jobs);
        let nonces: Vec<u64> = offers
            .iter()
            .map(|offer| offer.verified.transaction().body.nonce)
            .collect();
        let good: Vec<u64> = (0..count).filter(|nonce| !bad.contains(nonce)).collect();
        assert_eq!(nonces, good, "of {count} with {bad:?} false");
        for (nonce, mut receiver) in (0..).zip(receivers) {
            let is_refused = matches!(receiver.try_recv(), Ok(Err(SubmitError::BadSignature)));
            assert_eq!(is_refused, bad.contains(&nonce), "nonce {nonce} of {count}");
        }
    }
}
