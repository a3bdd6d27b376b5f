//! A node that bills more than it gave.

use allod_state::evidence::Item;

use crate::attack::Attempt;
use crate::attack::meter::{item, machine_of, some_lease, submit};
use crate::client::Draft;

pub(super) fn more_ready_than_time(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let machine = machine_of(draft, &lease)?;
    let greedy = Item {
        ready_ms: 1_001,
        ..item(id, &lease)
    };
    submit(draft, machine, greedy)
}

/// Time that was counted is never counted again: the meter only moves forward.
pub(super) fn overlapping(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let machine = machine_of(draft, &lease)?;
    let from_ms = lease.meter.until_ms - draft.random.between(1, 500);
    let again = Item {
        from_ms,
        ready_ms: 0,
        ..item(id, &lease)
    };
    submit(draft, machine, again)
}

pub(super) fn for_a_wrong_epoch(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let machine = machine_of(draft, &lease)?;
    let wrong = Item {
        epoch: lease.epoch + 1,
        ..item(id, &lease)
    };
    submit(draft, machine, wrong)
}
