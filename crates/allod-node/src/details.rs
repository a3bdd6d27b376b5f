//! What went wrong with replicas that are gone, in words: the ledger holds only the cause.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use allod_runtime::WorkloadId;

/// How many are kept.
const DETAILS_MAX: usize = 2_000;

/// The last words about each workload, the oldest forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Details {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By workload, with the turn in which they were put.
    words: BTreeMap<WorkloadId, (u64, String)>,
    turn: u64,
}

impl Details {
    /// Keeps the words about a workload.
    pub(crate) fn put(&self, id: WorkloadId, text: String) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn += 1;
        let turn = kept.turn;
        kept.words.insert(id, (turn, text));
        if kept.words.len() > DETAILS_MAX {
            let oldest = kept.words.iter().min_by_key(|(_, (turn, _))| *turn);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                kept.words.remove(&oldest);
            }
        }
    }

    /// The words about a workload.
    pub(crate) fn get(&self, id: &WorkloadId) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.words.get(id).map(|(_, text)| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_so_many_words_the_oldest_are_forgotten() {
        let details = Details::default();
        let id = |epoch| WorkloadId {
            lease: [1; 32],
            epoch,
        };
        let last = u64::try_from(DETAILS_MAX).unwrap() + 3;
        for epoch in 1..=last {
            details.put(id(epoch), "words".to_owned());
        }
        assert_eq!(details.get(&id(3)), None);
        assert_eq!(details.get(&id(4)).as_deref(), Some("words"));
        assert_eq!(details.get(&id(last)).as_deref(), Some("words"));
    }
}
