//! Sizes as people read them, where a reason names one.

use std::fmt;

/// A number of bytes, shown to a tenth of the largest unit that it fills, such as `19.6 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    bytes: u64,
    is_rounded_up: bool,
}

/// Each with how many bits it is above a byte.
const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];

impl Size {
    /// Shown rounded up, as what is needed: it looks larger than whatever is too small for it.
    pub(crate) const fn ceil(bytes: u64) -> Self {
        Self {
            bytes,
            is_rounded_up: true,
        }
    }

    /// Shown rounded down, as what there is.
    pub(crate) const fn floor(bytes: u64) -> Self {
        Self {
            bytes,
            is_rounded_up: false,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_filled = |(bits, _): &&(u32, &str)| self.bytes.checked_shr(*bits) > Some(0);
        let Some((bits, unit)) = UNITS.iter().find(is_filled) else {
            return write!(f, "{} B", self.bytes);
        };
        let rest_max = 1_u128.wrapping_shl(*bits).saturating_sub(1);
        let added = if self.is_rounded_up { rest_max } else { 0 };
        let tenfold = u128::from(self.bytes).saturating_mul(10);
        let tenths = tenfold.saturating_add(added).wrapping_shr(*bits);
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} {unit}"),
            (whole, tenth) => write!(f, "{whole}.{tenth} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_their_largest_unit() {
        for (bytes, floor, ceil) in [
            (0, "0 B", "0 B"),
            (1_023, "1023 B", "1023 B"),
            (1 << 10, "1 KiB", "1 KiB"),
            (900 << 30, "900 GiB", "900 GiB"),
            (21_043_197_440, "19.5 GiB", "19.6 GiB"),
            ((4 << 30) + 1, "4 GiB", "4.1 GiB"),
            ((1 << 40) - 1, "1023.9 GiB", "1024 GiB"),
            (u64::MAX, "16777215.9 TiB", "16777216 TiB"),
        ] {
            assert_eq!(Size::floor(bytes).to_string(), floor, "{bytes}");
            assert_eq!(Size::ceil(bytes).to_string(), ceil, "{bytes}");
        }
    }
}
