//! Fetching the images of apps that this machine stands by for, so that they start at once where another machine is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use allod_state::State;
use tokio::time::Instant;

use crate::agent::{Agent, Event, Sight, chain};
use crate::collect;
use crate::limits::PREFETCH_PAUSE;
use crate::manifest::{Image, ImageSource};

/// The images that were fetched ahead, or tried to be.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    is_under_way: bool,
    tried: BTreeMap<String, Instant>,
}

impl Ahead {
    /// The next image to fetch, which is then under way.
    fn next(&mut self, images: Vec<Image>, is_here: impl Fn(&str) -> bool) -> Option<Image> {
        if self.is_under_way {
            return None;
        }
        let now = Instant::now();
        self.tried
            .retain(|_, at| now.duration_since(*at) < PREFETCH_PAUSE);
        let next = images.into_iter().find(|image| {
            let digest = image.digest.as_deref();
            digest.is_some_and(|digest| !self.tried.contains_key(digest) && !is_here(digest))
        })?;
        self.tried.insert(next.digest.clone()?, now);
        self.is_under_way = true;
        Some(next)
    }

    /// It came to its end.
    pub(super) fn ended(&mut self) {
        self.is_under_way = false;
    }
}

impl Agent {
    /// Fetches one image after the other of what this machine may have to take over.
    pub(super) fn prefetch(&mut self, state: &State, sight: &Sight) {
        let own = state.node(&self.inner.node);
        let takes_new = own.is_some_and(|node| node.offer.is_some() && !node.is_cordoned);
        if !takes_new || collect::is_short(&self.inner.dir) {
            return;
        }
        let images = &self.inner.images;
        let is_here = |digest: &str| images.record(digest).is_some();
        let Some(image) = self.ahead.next(stood_by(sight), is_here) else {
            return;
        };
        let (inner, events) = (Arc::clone(&self.inner), self.events.clone());
        self.tasks.spawn(async move {
            if let Err(error) = inner.images.prepare(&image, &inner.runtime).await {
                tracing::debug!(error = %chain(&error), "an image is not fetched ahead");
            }
            // The loop has ended when nobody listens any more.
            let _ = events.send(Event::FetchedAhead).await;
        });
    }
}

/// The images of what is ready on other machines and could run here: whoever starts it first is not held up.
fn stood_by(sight: &Sight) -> Vec<Image> {
    let ready = sight.elsewhere.values().filter(|seen| seen.is_ready);
    let images = ready.filter_map(|seen| {
        let service = sight.apps.get(&seen.app)?.services.get(&seen.service)?;
        // What was handed to one machine as a file cannot be had elsewhere.
        let can_be_had = service.image.source != ImageSource::Archive;
        can_be_had.then(|| service.image.clone())
    });
    images.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digest: &str) -> Image {
        Image {
            reference: format!("example.org/{digest}"),
            digest: Some(digest.to_owned()),
            source: ImageSource::Registry,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_image_at_a_time_and_none_that_is_here_or_was_tried_just_now() {
        let mut ahead = Ahead::default();
        let all = || vec![image("a"), image("b"), image("c")];
        let is_here = |digest: &str| digest == "a";
        let mut next = || {
            let next = ahead.next(all(), is_here);
            let again = ahead.next(all(), is_here);
            assert!(again.is_none(), "two at a time");
            ahead.ended();
            next.and_then(|image| image.digest)
        };
        assert_eq!(next().as_deref(), Some("b"));
        assert_eq!(next().as_deref(), Some("c"));
        assert_eq!(next(), None);
        tokio::time::advance(PREFETCH_PAUSE).await;
        assert_eq!(next().as_deref(), Some("b"), "it may be had by now");
    }
}
