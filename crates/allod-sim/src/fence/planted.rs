//! What would make two write at once.

/// A bug planted on purpose in what stands around the rules, or in how they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A witness acknowledges what it has given up.
    AcknowledgesAfterVote,
    /// A witness that begins anew knows of no promise.
    ForgetsPromises,
    /// The right counts from when an acknowledgement came, and not from when its sign was sent.
    CountsFromReceipt,
    /// A writer that stands still goes on when anything is heard again.
    ThawsOnContact,
    /// A witness gives up after three of its seconds.
    GivesUpEarly,
    /// One witness is enough for the right.
    OneConfirms,
    /// The holder's clock stops while its machine sleeps.
    HolderClockStops,
    /// The law takes the word of further witnesses, of whom the holder does not know.
    WiderSet,
    /// An update places the next one at once.
    ReplacedAtOnce,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AcknowledgesAfterVote,
        Self::ForgetsPromises,
        Self::CountsFromReceipt,
        Self::ThawsOnContact,
        Self::GivesUpEarly,
        Self::OneConfirms,
        Self::HolderClockStops,
        Self::WiderSet,
        Self::ReplacedAtOnce,
    ];
}
