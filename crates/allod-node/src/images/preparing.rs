//! Who is unpacking which image, so that what was unpacked in vain can go.
//!
//! Several may unpack one image at the same time, each some of its layers, and rely on those of the others. So the last
//! of them decides: where none has come to the end, what they have unpacked has no use. It goes at once, or where
//! somebody is at work on the layers, later, before anybody begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use allod_runtime::LayerId;
use allod_runtime::image::Digest;

/// The images that are being unpacked, or were in vain, by manifest.
#[derive(Debug, Default)]
pub(super) struct Preparing(Mutex<BTreeMap<Digest, Attempts>>);

#[derive(Debug, Default)]
struct Attempts {
    running: usize,
    /// Whether one of them has come to the end.
    is_ready: bool,
    /// What they have unpacked.
    unpacked: BTreeSet<LayerId>,
}

impl Preparing {
    /// Somebody begins.
    pub(super) fn begin(&self, image: Digest) {
        self.lock().entry(image).or_default().running += 1;
    }

    /// Somebody has ended, and has unpacked these layers.
    pub(super) fn end(&self, image: Digest, unpacked: Vec<LayerId>, is_ready: bool) {
        let mut images = self.lock();
        let Some(attempts) = images.get_mut(&image) else {
            return;
        };
        attempts.running -= 1;
        attempts.is_ready |= is_ready;
        attempts.unpacked.extend(unpacked);
        let is_over = attempts.running == 0;
        if is_over && (attempts.is_ready || attempts.unpacked.is_empty()) {
            images.remove(&image);
        }
    }

    /// Gives back what was unpacked in vain. Nobody begins meanwhile; `give_back` says whether a layer of an image has
    /// gone, or stays for another's sake.
    pub(super) fn give_back(&self, mut give_back: impl FnMut(&Digest, &LayerId) -> bool) {
        self.lock().retain(|image, attempts| {
            if attempts.running == 0 {
                attempts.unpacked.retain(|layer| !give_back(image, layer));
            }
            attempts.running > 0 || !attempts.unpacked.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Attempts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(numbers: &[u8]) -> Vec<LayerId> {
        numbers
            .iter()
            .map(|number| LayerId([*number; 32]))
            .collect()
    }

    /// What is given back, where that can be done.
    fn given_back(preparing: &Preparing, can: bool) -> Vec<LayerId> {
        let mut all = Vec::new();
        preparing.give_back(|_, layer| {
            all.push(*layer);
            can
        });
        all
    }

    #[test]
    fn what_was_unpacked_in_vain_goes_when_nobody_is_at_it() {
        let (preparing, image) = (Preparing::default(), Digest::of(b"image"));
        preparing.begin(image);
        preparing.begin(image);
        preparing.end(image, layers(&[1, 2]), false);
        assert_eq!(given_back(&preparing, true), []);
        preparing.end(image, layers(&[3]), false);
        // It could not be done, and is tried again.
        assert_eq!(given_back(&preparing, false), layers(&[1, 2, 3]));
        assert_eq!(given_back(&preparing, true), layers(&[1, 2, 3]));
        assert_eq!(given_back(&preparing, true), []);
    }

    #[test]
    fn what_somebody_has_come_to_the_end_with_stays() {
        let (preparing, image) = (Preparing::default(), Digest::of(b"image"));
        for order in [[true, false], [false, true]] {
            preparing.begin(image);
            preparing.begin(image);
            for (number, is_ready) in order.into_iter().enumerate() {
                preparing.end(image, layers(&[number as u8]), is_ready);
            }
            assert_eq!(given_back(&preparing, true), []);
        }
        // Also what an earlier attempt has left.
        preparing.begin(image);
        preparing.end(image, layers(&[1]), false);
        preparing.begin(image);
        preparing.end(image, layers(&[]), true);
        assert_eq!(given_back(&preparing, true), []);
    }
}
