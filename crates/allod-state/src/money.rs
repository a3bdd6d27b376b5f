//! Credits: integers of a millionth, added and multiplied without ever losing one.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::CREDITS_MAX;

const MICRO: i128 = 1_000_000;

/// An amount in micro-credits. Negative amounts are debts inside an account's line.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize,
)]
pub struct Credits(i128);

/// Arithmetic left the range of amounts. Inside the law this rejects the transaction that caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount leaves the range of credits")]
pub struct OutOfRange;

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an amount of credits; write it as 12, 0.5 or 3.250000 (at most six decimals)"
)]
pub struct ParseCreditsError(String);

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many millionths of a credit.
    #[must_use]
    pub const fn from_micro(micro: i128) -> Self {
        Self(micro)
    }

    /// The amount in millionths of a credit.
    #[must_use]
    pub const fn micro(self) -> i128 {
        self.0
    }

    /// Whether a transaction may name this amount: not negative and at most [`CREDITS_MAX`].
    #[must_use]
    pub const fn is_nameable(self) -> bool {
        self.0 >= 0 && self.0 <= CREDITS_MAX
    }

    /// The sum.
    ///
    /// # Errors
    /// Where it leaves the range.
    pub fn plus(self, other: Self) -> Result<Self, OutOfRange> {
        self.0.checked_add(other.0).map(Self).ok_or(OutOfRange)
    }

    /// The difference.
    ///
    /// # Errors
    /// Where it leaves the range.
    pub fn minus(self, other: Self) -> Result<Self, OutOfRange> {
        self.0.checked_sub(other.0).map(Self).ok_or(OutOfRange)
    }

    /// `self * count / unit`, multiplied first, rounded towards minus infinity.
    ///
    /// # Errors
    /// Where the product leaves the range or `unit` is zero.
    pub fn mul_div_floor(self, count: u64, unit: u64) -> Result<Self, OutOfRange> {
        let product = self.0.checked_mul(i128::from(count)).ok_or(OutOfRange)?;
        product
            .checked_div_euclid(i128::from(unit))
            .map(Self)
            .ok_or(OutOfRange)
    }

    /// `self * count / unit`, multiplied first, rounded towards plus infinity.
    ///
    /// # Errors
    /// Where the product leaves the range or `unit` is zero.
    pub fn mul_div_ceil(self, count: u64, unit: u64) -> Result<Self, OutOfRange> {
        let negated = Self(self.0.checked_neg().ok_or(OutOfRange)?);
        let floor = negated.mul_div_floor(count, unit)?;
        floor.0.checked_neg().map(Self).ok_or(OutOfRange)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let (whole, part) = (magnitude / 1_000_000, magnitude % 1_000_000);
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let decimals = format!("{part:06}");
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl FromStr for Credits {
    type Err = ParseCreditsError;

    fn from_str(text: &str) -> Result<Self, ParseCreditsError> {
        parse(text).ok_or_else(|| ParseCreditsError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<Credits> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 20
        || part.len() > 6
        || !all_digits(whole)
        || !all_digits(part)
    {
        return None;
    }
    if digits.ends_with('.') {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let part: i128 = format!("{part:0<6}").parse().ok()?;
    let magnitude = whole.checked_mul(MICRO)?.checked_add(part)?;
    let micro = if negative {
        magnitude.checked_neg()?
    } else {
        magnitude
    };
    Some(Credits(micro))
}

impl Serialize for Credits {
    /// As the decimal text that people read, so that no reader rounds it through a float.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
