//! Health: what a replica's probe answers add up to.
//!
//! Ready after the first success; not ready after `retries` failures in a row; given up when it was not ready within
//! its time, or when its liveness fails. Failures in the start period do not count. One that an earlier agent of this
//! machine found ready stays so until its probe has said otherwise `retries` times: this agent's start ends nobody.

use allod_state::lease::EndCause;

use crate::manifest::{Check, Probe};

/// What a replica's probe answers add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Whether it may get traffic.
    pub(crate) is_ready: bool,
    /// Why it is given up, where it is.
    pub(crate) verdict: Option<EndCause>,
    /// The last failure, in words.
    pub(crate) complaint: Option<String>,
    failures: u32,
    was_ready: bool,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// How long after the first question it came, in milliseconds.
    pub(crate) age_ms: u64,
    /// Nothing, or what was wrong.
    pub(crate) outcome: Result<(), String>,
}

impl Health {
    /// Of a replica that the ledger knows as ready, since an earlier agent found it so.
    pub(crate) fn taken_over() -> Self {
        Self {
            is_ready: true,
            was_ready: true,
            ..Self::default()
        }
    }

    /// Takes one answer of `probe` in. `kills` says whether failing it for good ends the replica.
    pub(crate) fn observe(&mut self, probe: &Probe, kills: bool, answer: Answer) {
        let Err(complaint) = answer.outcome else {
            self.failures = 0;
            self.is_ready = true;
            self.was_ready = true;
            self.complaint = None;
            return;
        };
        self.complaint = Some(complaint);
        let is_starting = !self.was_ready && answer.age_ms < probe.start_period_ms;
        if !is_starting {
            self.failures = self.failures.saturating_add(1);
        }
        if self.failures >= probe.retries.max(1) {
            self.is_ready = false;
            if kills && self.was_ready {
                self.verdict = Some(EndCause::ProbeFailed);
            }
        }
        if !self.was_ready && answer.age_ms >= probe.within_ms {
            self.verdict = Some(match probe.check {
                Check::Tcp { .. } => EndCause::PortNotListening,
                _ => EndCause::NotReady,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe {
            check: Check::Tcp { port: 80 },
            interval_ms: 1_000,
            timeout_ms: 1_000,
            retries: 2,
            start_period_ms: 5_000,
            within_ms: 10_000,
        }
    }

    fn after(answers: &[(u64, bool)], kills: bool) -> Health {
        observed(Health::default(), answers, kills)
    }

    fn observed(mut health: Health, answers: &[(u64, bool)], kills: bool) -> Health {
        for (age_ms, is_good) in answers {
            let outcome = if *is_good {
                Ok(())
            } else {
                Err("refused".into())
            };
            health.observe(
                &probe(),
                kills,
                Answer {
                    age_ms: *age_ms,
                    outcome,
                },
            );
        }
        health
    }

    #[test]
    fn the_first_success_is_readiness() {
        assert!(after(&[(0, false), (10, true)], false).is_ready);
    }

    #[test]
    fn one_failure_is_forgiven_and_two_in_a_row_are_not() {
        assert!(after(&[(0, true), (1, false)], false).is_ready);
        assert!(!after(&[(0, true), (1, false), (2, false)], false).is_ready);
        assert!(after(&[(0, true), (1, false), (2, true), (3, false)], false).is_ready);
    }

    #[test]
    fn a_port_that_never_listens_is_named_as_that() {
        let health = after(&[(0, false), (6_000, false), (10_000, false)], false);
        assert_eq!(health.verdict, Some(EndCause::PortNotListening));
        assert_eq!(after(&[(0, false), (9_999, false)], false).verdict, None);
    }

    #[test]
    fn what_an_earlier_agent_found_ready_stays_so_until_its_probe_says_otherwise() {
        let over = |answers: &[(u64, bool)]| observed(Health::taken_over(), answers, false);
        let once = over(&[(60_000, false)]);
        assert!(once.is_ready && once.verdict.is_none(), "{once:?}");
        let twice = over(&[(60_000, false), (61_000, false)]);
        assert!(!twice.is_ready && twice.verdict.is_none(), "{twice:?}");
    }

    #[test]
    fn liveness_ends_what_readiness_only_hides() {
        let answers = [(0, true), (1, false), (2, false)];
        assert_eq!(after(&answers, false).verdict, None);
        assert_eq!(after(&answers, true).verdict, Some(EndCause::ProbeFailed));
    }
}
