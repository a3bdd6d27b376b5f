//! Says one thing to one half of the honest ones and another to the other half: two good blocks, and votes for each.

use allod_ledger::bft::{Message, SignedProposal, SignedVote};
use allod_state::certificate::VoteKind;

use super::{Habit, Letter, Scene};

/// How many of a hundred of its messages one peer gets in both forms.
const BOTH_PERCENT: u64 = 10;

#[derive(Default)]
pub(super) struct Equivocator {
    /// The second block of its latest proposal, as the message with it.
    second: Option<(u64, u32, Message)>,
}

impl Equivocator {
    fn propose(&mut self, scene: &mut Scene<'_>, first: &SignedProposal) -> Option<Message> {
        let (height, round) = (first.height, first.round);
        if let Some((at, in_round, message)) = &self.second
            && (*at, *in_round) == (height, round)
        {
            return Some(message.clone());
        }
        if height != scene.height() {
            return None;
        }
        let block = scene.block()?;
        let id = block.header.id();
        let second = scene.proposal(first, id, block.to_bytes());
        scene.plot.agree(height, round, first.value, id);
        self.second = Some((height, round, second.clone()));
        Some(second)
    }
}

fn vote(scene: &Scene<'_>, vote: &SignedVote, is_far: bool) -> Message {
    let (height, round) = (vote.height, vote.round);
    let planned = scene.plot.block_for(height, round, is_far);
    // Without a plan, one half hears a vote for nothing.
    let value = planned.or(vote.value.filter(|_| !is_far));
    scene.vote(vote.kind, (height, round), value)
}

/// What goes with a second block: the replica votes for its own block before it shows it.
fn prevote(scene: &Scene<'_>, first: &SignedProposal) -> Option<Message> {
    let place = (first.height, first.round);
    let second = scene.plot.block_for(place.0, place.1, true)?;
    Some(scene.vote(VoteKind::Prevote, place, Some(second)))
}

impl Habit for Equivocator {
    fn says(&mut self, scene: &mut Scene<'_>, to: usize, message: &Message) -> Vec<Letter> {
        let is_far = scene.far.contains(&to);
        let (one, other) = match message {
            Message::Proposal(first, _) => {
                let second = self.propose(scene, first);
                let second = second.unwrap_or_else(|| message.clone());
                if is_far && let Some(prevote) = prevote(scene, first) {
                    return vec![Letter::now(to, &second), Letter::now(to, &prevote)];
                }
                (message.clone(), second)
            }
            Message::Vote(said) if said.validator == scene.key() => {
                let (height, round) = (said.height, said.round);
                let is_planned = scene.plot.block_for(height, round, is_far).is_some();
                if is_far && !is_planned && scene.is_own_turn(height, round) {
                    return Vec::new();
                }
                (vote(scene, said, false), vote(scene, said, true))
            }
            _ => return vec![Letter::now(to, message)],
        };
        let (mine, not_mine) = if is_far { (other, one) } else { (one, other) };
        let mut letters = vec![Letter::now(to, &mine)];
        if scene.random.percent(BOTH_PERCENT) {
            letters.push(Letter::now(to, &not_mine));
        }
        letters
    }
}
