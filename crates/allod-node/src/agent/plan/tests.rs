//! The planner's rules, one by one.

use allod_state::AppId;

use super::*;

fn id(n: u8) -> WorkloadId {
    WorkloadId {
        lease: [n; 32],
        epoch: u64::from(n),
    }
}

fn slot(n: u32) -> SlotKey {
    (AppId([0; 32]), Label([0; 32]), n)
}

fn wanted() -> Wanted {
    Wanted {
        slot: slot(0),
        phase: Phase::Placed,
        claims: BTreeSet::new(),
        is_exclusive: false,
        is_ending: false,
        is_readable: true,
        is_awaited: false,
        is_blocked: false,
    }
}

fn volume(n: u8) -> Claim {
    Claim::Volume((AccountId([0; 32]), Label([0; 32]), Label([n; 32])))
}

fn local(stage: Stage) -> Local {
    Local {
        slot: Some(slot(0)),
        stage,
        ..Local::default()
    }
}

fn steps(wanted: &[(u8, Wanted)], locals: &[(u8, Local)], ended: &[u8]) -> Vec<(u8, Step)> {
    let wanted = wanted.iter().map(|(n, w)| (id(*n), w.clone())).collect();
    let locals = locals.iter().map(|(n, l)| (id(*n), l.clone())).collect();
    let ended = ended.iter().map(|n| id(*n)).collect();
    plan(&wanted, Some(&locals), &ended)
        .into_iter()
        .map(|(id, step)| (id.lease[0], step))
        .collect()
}

#[test]
fn a_manifest_that_is_on_its_way_is_waited_for_and_one_that_is_not_is_told() {
    let unreadable = |is_awaited| Wanted {
        is_readable: false,
        is_awaited,
        ..wanted()
    };
    assert_eq!(steps(&[(1, unreadable(true))], &[], &[]), []);
    let told = Step::Report(Report::Ended(EndCause::ManifestUnreadable));
    assert_eq!(steps(&[(1, unreadable(false))], &[], &[]), [(1, told)]);
}

#[test]
fn a_new_lease_is_prepared_started_and_reported() {
    let exited = EndCause::Exited { code: 3 };
    for (have, step) in [
        (Local::default(), Step::Prepare),
        (local(Stage::Prepared), Step::Start),
        (
            Local {
                is_ready: true,
                ..local(Stage::Running)
            },
            Step::Report(Report::Ready),
        ),
        (
            local(Stage::Exited(exited)),
            Step::Report(Report::Ended(exited)),
        ),
        (
            local(Stage::Failed(EndCause::PullDenied)),
            Step::Report(Report::Ended(EndCause::PullDenied)),
        ),
    ] {
        assert_eq!(steps(&[(1, wanted())], &[(1, have)], &[]), [(1, step)]);
    }
    assert_eq!(steps(&[(1, wanted())], &[], &[]), [(1, Step::Prepare)]);
    assert_eq!(
        steps(&[(1, wanted())], &[(1, local(Stage::Running))], &[]),
        []
    );
}

#[test]
fn readiness_is_reported_when_it_differs_from_the_law() {
    let ready = Wanted {
        phase: Phase::Ready { since_ms: 1 },
        ..wanted()
    };
    let is_ready = Local {
        is_ready: true,
        ..local(Stage::Running)
    };
    assert_eq!(steps(&[(1, ready.clone())], &[(1, is_ready)], &[]), []);
    assert_eq!(
        steps(&[(1, ready)], &[(1, local(Stage::Running))], &[]),
        [(1, Step::Report(Report::NotReady))]
    );
}

#[test]
fn absence_never_means_delete() {
    assert_eq!(steps(&[], &[(1, local(Stage::Running))], &[]), []);
    assert_eq!(
        steps(&[], &[(1, local(Stage::Running))], &[1]),
        [(1, Step::Remove)]
    );
    assert_eq!(
        steps(&[], &[(1, local(Stage::Prepared))], &[1]),
        [(1, Step::Forget)]
    );
}

#[test]
fn a_volume_has_one_writer() {
    let with_volume = Wanted {
        claims: [volume(1)].into(),
        ..wanted()
    };
    let old = local(Stage::Running);
    let new = local(Stage::Prepared);
    assert_eq!(
        steps(
            &[(2, with_volume.clone())],
            &[(1, old.clone()), (2, new.clone())],
            &[1]
        ),
        [(1, Step::Remove)],
        "the new epoch waits until the old one is gone"
    );
    let leaving = Local {
        is_busy: true,
        ..old
    };
    assert_eq!(
        steps(
            &[(2, with_volume.clone())],
            &[(1, leaving), (2, new.clone())],
            &[1]
        ),
        []
    );
    assert_eq!(
        steps(&[(2, with_volume)], &[(2, new)], &[]),
        [(2, Step::Start)]
    );
}

/// A service under another name, or the app deployed anew, is another slot.
#[test]
fn a_volume_has_one_writer_whatever_its_service_was_called_before() {
    let new = Wanted {
        slot: slot(7),
        claims: [volume(1)].into(),
        ..wanted()
    };
    for (had, may_start) in [(volume(1), false), (volume(2), true)] {
        let old = Local {
            claims: [had].into(),
            is_busy: true,
            ..local(Stage::Running)
        };
        let here = [(1, old), (2, local(Stage::Prepared))];
        let started = steps(&[(2, new.clone())], &here, &[1]);
        assert_eq!(started == [(2, Step::Start)], may_start, "{started:?}");
    }
}

#[test]
fn what_is_held_is_not_told_to_be_ready() {
    for is_held in [true, false] {
        let ready = Local {
            is_ready: true,
            is_held,
            ..local(Stage::Running)
        };
        let told = steps(&[(1, wanted())], &[(1, ready)], &[]);
        assert_eq!(told == [(1, Step::Report(Report::Ready))], !is_held);
    }
}

#[test]
fn a_busy_workload_gets_no_second_step() {
    let busy = Local {
        is_busy: true,
        ..Local::default()
    };
    assert_eq!(steps(&[(1, wanted())], &[(1, busy.clone())], &[]), []);
    assert_eq!(steps(&[], &[(1, busy)], &[1]), []);
}

#[test]
fn dependencies_hold_back_the_start_but_not_the_preparation() {
    let blocked = Wanted {
        is_blocked: true,
        ..wanted()
    };
    assert_eq!(
        steps(&[(1, blocked.clone())], &[], &[]),
        [(1, Step::Prepare)]
    );
    assert_eq!(
        steps(&[(1, blocked)], &[(1, local(Stage::Prepared))], &[]),
        []
    );
}

#[test]
fn nothing_is_planned_before_the_runtime_has_said_what_is_here() {
    let wanted = BTreeMap::from([(id(2), wanted())]);
    let ended = BTreeSet::from([id(1)]);
    assert_eq!(plan(&wanted, None, &ended), []);
    assert_eq!(
        plan(&wanted, Some(&BTreeMap::new()), &ended),
        [(id(2), Step::Prepare)]
    );
}

#[test]
fn a_ready_replica_of_which_nothing_is_here_is_told_as_lost() {
    let ready = Wanted {
        phase: Phase::Ready { since_ms: 1 },
        ..wanted()
    };
    let lost = Step::Report(Report::Ended(EndCause::Lost));
    assert_eq!(steps(&[(1, ready.clone())], &[], &[]), [(1, lost)]);
    assert_eq!(
        steps(&[(1, ready)], &[(1, local(Stage::Running))], &[]),
        [(1, Step::Report(Report::NotReady))]
    );
}

#[test]
fn what_is_to_end_is_removed_and_then_told_to_be_gone() {
    let ending = Wanted {
        is_exclusive: true,
        is_ending: true,
        is_readable: false,
        ..wanted()
    };
    let gone = Step::Report(Report::Gone);
    for (stage, step) in [
        (Stage::Running, Step::Remove),
        (Stage::Exited(EndCause::Lost), Step::Remove),
        (Stage::Prepared, gone),
        (Stage::Unprepared, gone),
    ] {
        let one = (1, local(stage));
        assert_eq!(steps(&[(1, ending.clone())], &[one], &[]), [(1, step)]);
    }
    let busy = Local {
        is_busy: true,
        ..local(Stage::Prepared)
    };
    assert_eq!(steps(&[(1, ending)], &[(1, busy)], &[]), [], "it starts");
}

#[test]
fn no_end_of_an_exclusive_replica_is_told_while_it_runs() {
    let service = Claim::Service(AccountId([0; 32]), Label([0; 32]), Label([0; 32]));
    let wanted = Wanted {
        is_exclusive: true,
        claims: [service].into(),
        ..wanted()
    };
    let failed = Local {
        verdict: Some(EndCause::ProbeFailed),
        ..local(Stage::Running)
    };
    let halt = Step::Halt(EndCause::ProbeFailed);
    assert_eq!(
        steps(&[(1, wanted.clone())], &[(1, failed)], &[]),
        [(1, halt)]
    );
    let unreadable = Wanted {
        is_readable: false,
        ..wanted.clone()
    };
    let halt = Step::Halt(EndCause::ManifestUnreadable);
    let runs = local(Stage::Running);
    assert_eq!(
        steps(&[(1, unreadable)], &[(1, runs.clone())], &[]),
        [(1, halt)]
    );
    // Nor does it start while an earlier one is here.
    let later = (2, local(Stage::Prepared));
    assert_eq!(steps(&[(2, wanted)], &[(1, runs), later], &[]), []);
}

#[test]
fn an_exclusive_replica_waits_for_those_that_watch_it() {
    let wanted = Wanted {
        is_exclusive: true,
        ..wanted()
    };
    let next = |stage, is_unconfirmed| {
        let local = Local {
            is_unconfirmed,
            ..local(stage)
        };
        steps(&[(1, wanted.clone())], &[(1, local)], &[])
    };
    assert_eq!(next(Stage::Prepared, true), []);
    assert_eq!(next(Stage::Unprepared, true), [(1, Step::Prepare)]);
    assert_eq!(next(Stage::Prepared, false), [(1, Step::Start)]);
}
