//! When a workload is measured again.

use super::*;

const MIB: u64 = 1024 * 1024;

fn bytes(bytes: u64) -> Stored {
    Stored { bytes, files: 0 }
}

fn watched(now: Instant, took: Duration) -> Watched {
    Watched {
        allowance: Allowance::default(),
        init: ProcessId::of(std::process::id().cast_signed()).unwrap(),
        last: Some(Look {
            at: now,
            took,
            level: bytes(1_000 * MIB),
            slack: Stored {
                bytes: 10 * MIB,
                files: 100,
            },
            total: Stored::default(),
            written: 0,
        }),
        is_ending: false,
    }
}

#[test]
fn who_cannot_be_over_is_not_measured_and_who_can_is() {
    let now = Instant::now();
    let watched = watched(now, Duration::from_millis(1));
    let soon = now + Duration::from_millis(50);
    assert!(!watched.is_due(soon, bytes(1_000 * MIB), false));
    assert!(!watched.is_due(soon, bytes(1_009 * MIB), false));
    assert!(watched.is_due(soon, bytes(1_010 * MIB), false));
    let files = Stored {
        files: 100,
        ..bytes(1_000 * MIB)
    };
    assert!(watched.is_due(soon, files, false));
    // Where others remove as much as it writes, nothing grows: now and then it is measured all the same.
    let later = now + Duration::from_millis(limits::GUARD_IDLE_MS);
    assert!(watched.is_due(later, bytes(0), false));
}

#[test]
fn measuring_what_takes_long_is_rare_unless_the_disk_is_nearly_full() {
    let now = Instant::now();
    let watched = watched(now, Duration::from_secs(3));
    let level = bytes(2_000 * MIB);
    let rest = Duration::from_secs(3) * limits::GUARD_REST_FACTOR;
    assert!(!watched.is_due(now + rest / 2, level, false));
    assert!(watched.is_due(now + rest, level, false));
    assert!(watched.is_due(now, level, true));
    let ending = Watched {
        is_ending: true,
        ..watched
    };
    assert!(!ending.is_due(now + rest, level, true));
}

#[test]
fn the_nearer_somebody_is_to_a_limit_the_sooner_is_the_next_look() {
    let now = Instant::now();
    let mut watched = watched(now, Duration::from_millis(1));
    let level = |grown: u64| bytes((1_000 + grown) * MIB);
    let ms = Duration::from_millis;
    assert_eq!(watched.pause(now, level(0)), ms(limits::GUARD_PAUSE_MS_MIN));
    watched.last.as_mut().unwrap().slack = Stored {
        bytes: limits::WRITE_SPEED_MAX / 2,
        files: u64::MAX,
    };
    assert_eq!(watched.pause(now, level(0)), ms(500));
    assert_eq!(watched.pause(now, level(1_024)), ms(250));
    assert_eq!(
        watched.pause(now, level(4_096)),
        ms(limits::GUARD_PAUSE_MS_MIN)
    );
    watched.last.as_mut().unwrap().took = ms(300);
    assert_eq!(watched.pause(now + ms(1_000), level(4_096)), ms(5_000));
    watched.is_ending = true;
    assert_eq!(watched.pause(now, level(4_096)), Duration::MAX);
}
