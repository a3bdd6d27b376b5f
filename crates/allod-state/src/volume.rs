//! Named volumes: where each one is, and whether its owner still wants it. A volume outlives its app unless it is
//! given up in so many words, and its data go only when its node says that they are gone. Until then nothing is placed on
//! them again; where that node is gone itself they bind nobody, and the volume begins anew elsewhere.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::account::grant::Verb;
use crate::app::App;
use crate::apply::Context;
use crate::event::Event;
use crate::id::{AccountId, Label, NodeId};
use crate::limits::{EFFORT_PER_ROW, EFFORT_PER_SLOT};
use crate::reject::Rejection;
use crate::state::State;
use crate::table::Row;
use crate::transaction::Apply;

/// Owner, app label and volume label. Deploying the app again under its name finds its volumes again.
pub type VolumeKey = (AccountId, Label, Label);

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Volume {
    /// Where its data are.
    pub node: NodeId,
    /// Its size in bytes, as its service last asked for it.
    pub bytes: u64,
    /// Block time of its making.
    pub created_ms: u64,
    /// Whether it is wanted.
    pub standing: Standing,
}

/// Whether a volume is wanted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// An app uses it.
    Used,
    /// Its app is gone; its data are kept.
    Kept,
    /// It was given up; its node is to remove its data.
    Dropped,
}

impl Volume {
    /// Where data are that were given up, while their machine is there to remove them.
    pub(crate) fn leaving_on(&self, state: &State) -> Option<NodeId> {
        let is_there = || {
            state
                .node_row(&self.node)
                .is_some_and(|row| !row.is_unreachable)
        };
        (self.standing == Standing::Dropped && is_there()).then_some(self.node)
    }

    /// Where a replica that wants it has to be.
    pub(crate) fn binding_on(&self) -> Option<NodeId> {
        (self.standing != Standing::Dropped).then_some(self.node)
    }
}

impl Row for Volume {
    type Key = VolumeKey;
    const TAG: u8 = 9;
}

/// Gives up a kept volume.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DropVolume {
    /// The label of the app it belonged to.
    pub app: Label,
    /// The volume.
    pub volume: Label,
}

impl Apply for DropVolume {
    const VERB: Verb = Verb::Delete;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        if !context.grant().covers_app(&self.app) {
            return Err(Rejection::ResourceNotGranted);
        }
        let key = (context.account(), self.app, self.volume);
        let volume = context.state.volume(&key).ok_or(Rejection::UnknownVolume)?;
        match volume.standing {
            Standing::Used => Err(Rejection::VolumeInUse),
            Standing::Dropped => Ok(()),
            Standing::Kept => {
                context.state.put_volume(
                    key,
                    Volume {
                        standing: Standing::Dropped,
                        ..volume
                    },
                );
                context.emit(Event::VolumeDropped {
                    owner: key.0,
                    volume: self.volume,
                });
                Ok(())
            }
        }
    }
}

/// Tells that a dropped volume's data are gone from the node that held them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportVolume {
    /// Whose volume.
    pub owner: AccountId,
    /// The label of the app it belonged to.
    pub app: Label,
    /// The volume.
    pub volume: Label,
}

impl Apply for ReportVolume {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let key = (self.owner, self.app, self.volume);
        let volume = context.state.volume(&key).ok_or(Rejection::UnknownVolume)?;
        context.own_node(&volume.node)?;
        if volume.standing != Standing::Dropped {
            return Err(Rejection::VolumeInUse);
        }
        context.state.remove_volume(&key);
        Ok(())
    }
}

/// Lets go of the volumes of an app that ends.
pub(crate) fn release_all(context: &mut Context<'_>, app: &App, drops: bool) {
    let standing = if drops {
        Standing::Dropped
    } else {
        Standing::Kept
    };
    for (key, volume) in context.state.volumes_of(&app.owner, &app.label) {
        context.toil(EFFORT_PER_SLOT);
        if volume.standing != Standing::Used {
            continue;
        }
        context.toil(EFFORT_PER_ROW);
        context.state.put_volume(key, Volume { standing, ..volume });
        if drops {
            context.emit(Event::VolumeDropped {
                owner: key.0,
                volume: key.2,
            });
        }
    }
}
