//! PostgreSQL's fsyncgate: the kernel reported a failed sync once, dropped the pages, and the next sync succeeded; who
//! tried again took lost writes for safe ones.
//!
//! Here a sync fails, and every later one succeeds and does nothing. The replica must end at the failure and have
//! acknowledged nothing that rests on it.

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "postgres-fsync",
    happened: "a failed sync was reported once, and the next one succeeded without the data (fsyncgate)",
    holds: "a failed sync ends the replica at once; what it acknowledged is there when the disk comes back",
    planted: Some("the replica tries again"),
    play,
};

fn play(is_planted: bool) -> Found {
    for good in 0..6 {
        let mut stage = Stage::new(1);
        stage.pay_times(0, 5)?;
        let disk = stage.machine(0).disk().clone();
        stage.machine(0).shrugs = is_planted;
        disk.fail_sync_after(good);
        for _ in 0..8 {
            let _ = stage.pay(0, 1);
            if stage.replica(0).is_some() && !is_planted {
                stage.run_for(5);
                continue;
            }
            break;
        }
        if stage.replica(0).is_some() && !is_planted {
            return Err("a failed sync did not end the replica".into());
        }
        if is_planted {
            // It goes on, on a disk that has forgotten its failure and what failed.
            disk.fail_sync_after(u64::MAX);
            disk.ignore_syncs();
            for _ in 0..8 {
                let _ = stage.pay(0, 1);
                stage.run_for(50);
            }
            stage.machine(0).shrugs = false;
        }
        let survived = {
            stage.kill(0);
            stage.machine(0).disk().fork()
        };
        stage.machine(0).put_disk(survived);
        stage.start(0);
        stage.pay_times(0, 2)?;
        stage.end()?;
    }
    Ok(())
}
