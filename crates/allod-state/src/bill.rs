//! Bills: for each payer, month and lease, the ready time and what it cost.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::id::{AccountId, LeaseId};
use crate::money::{Credits, OutOfRange};
use crate::state::State;
use crate::table::Row;

/// Payer, month as `yyyymm` in UTC, lease.
pub type LineKey = (AccountId, u32, LeaseId);

/// One line of a bill. An evidence item counts in the month in which it ends.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Line {
    /// Ready time in milliseconds.
    pub ready_ms: u64,
    /// What it cost.
    pub amount: Credits,
}

impl Row for Line {
    type Key = LineKey;
    const TAG: u8 = 8;
}

pub(crate) fn add(
    state: &mut State,
    key: LineKey,
    ready_ms: u64,
    amount: Credits,
) -> Result<(), OutOfRange> {
    let line = state.bill_line(&key).unwrap_or_default();
    let line = Line {
        ready_ms: line.ready_ms.saturating_add(ready_ms),
        amount: line.amount.plus(amount)?,
    };
    state.put_bill_line(key, line);
    Ok(())
}

/// The UTC month of a time, as `yyyymm`. The calendar is the proleptic Gregorian one; the day count is turned into a
/// date by Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
#[must_use]
pub fn month_of(time_ms: u64) -> u32 {
    const DAY_MS: u64 = 86_400_000;
    // Days since 0000-03-01, so that leap days end their years.
    let days = (time_ms / DAY_MS).saturating_add(719_468);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let leap_corrected = day_of_era
        .saturating_sub(day_of_era / 1_460)
        .saturating_add(day_of_era / 36_524)
        .saturating_sub(day_of_era / 146_096);
    let year_of_era = leap_corrected / 365;
    let days_before = year_of_era
        .saturating_mul(365)
        .saturating_add(year_of_era / 4)
        .saturating_sub(year_of_era / 100);
    let day_of_year = day_of_era.saturating_sub(days_before);
    let shifted = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let (month, carry) = if shifted < 10 {
        (shifted.saturating_add(3), 0)
    } else {
        (shifted.saturating_sub(9), 1)
    };
    let year = era
        .saturating_mul(400)
        .saturating_add(year_of_era)
        .saturating_add(carry);
    u32::try_from(year.saturating_mul(100).saturating_add(month)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::month_of;

    #[test]
    fn months_begin_where_calendars_say() {
        for (time_ms, month) in [
            (0, 197_001),
            (951_782_400_000, 200_002),   // 2000-02-29
            (951_868_800_000, 200_003),   // 2000-03-01
            (1_709_251_199_999, 202_402), // the last millisecond of 2024-02-29
            (1_709_251_200_000, 202_403),
            (1_767_225_599_999, 202_512),
            (1_767_225_600_000, 202_601),
            (1_795_219_200_000, 202_611), // 2026-11-21
        ] {
            assert_eq!(month_of(time_ms), month, "{time_ms}");
        }
    }
}
