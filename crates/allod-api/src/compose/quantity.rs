//! Durations, sizes, CPU shares and prices, read exactly: decimals are integers with a scale.

use allod_state::node::WHOLE_PPM;

use super::limits::{CPU_MILLI_MAX, CPU_MILLI_MIN, DURATION_MS_MAX};

#[cfg(test)]
mod tests;

/// A non-negative decimal as it was written: `digits / 10^scale`.
struct Decimal {
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// Reads a decimal at the start of the text, and returns what follows it.
    fn read(text: &str) -> Option<(Self, &str)> {
        let is_part = |c: char| c.is_ascii_digit() || c == '.';
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let is_sound = !whole.is_empty() && !fraction.contains('.') && number.len() <= 24;
        if !is_sound || (fraction.is_empty() && number.contains('.')) {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        let scale = u32::try_from(fraction.len()).ok()?;
        Some((Decimal { digits, scale }, rest))
    }

    /// The decimal times `unit`, rounded down.
    fn times_floor(&self, unit: u128) -> Option<u128> {
        let divisor = 10_u128.checked_pow(self.scale)?;
        self.digits.checked_mul(unit)?.checked_div(divisor)
    }

    /// The decimal times `unit`, where that is whole.
    fn times_exact(&self, unit: u128) -> Option<u128> {
        let divisor = 10_u128.checked_pow(self.scale)?;
        let product = self.digits.checked_mul(unit)?;
        (product.checked_rem(divisor)? == 0).then(|| product.checked_div(divisor))?
    }
}

/// A duration such as `90s`, `1m30s` or `1.5h`, in milliseconds, rounded up.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a duration: write it as 10s, 1m30s or 500ms");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = Decimal::read(rest).ok_or_else(wrong)?;
        let end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit_ns: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return Err(wrong()),
        };
        let part = number.times_floor(unit_ns).ok_or_else(wrong)?;
        nanos = nanos.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    let ms = u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX);
    if ms > DURATION_MS_MAX {
        return Err(format!(
            "`{text}` is longer than ten years: write it as 10s, 1m30s or 500ms"
        ));
    }
    Ok(ms)
}

/// A size such as `512m`, `1.5gb` or `4GiB`, in bytes, rounded down. Units are powers of 1024, as
/// compose has it.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write it as 512m, 1.5g or 4GiB");
    let (number, unit) = Decimal::read(text.trim()).ok_or_else(wrong)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    let bytes = number
        .times_floor(1 << shift)
        .and_then(|bytes| u64::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("`{text}` is more than any machine has: write it as 512m or 4GiB"))
}

/// A number of CPUs such as `0.5`, in thousandths, rounded down.
pub(crate) fn cpu_milli(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number of CPUs: write it as 0.5 or 2");
    let (number, rest) = Decimal::read(text.trim()).ok_or_else(wrong)?;
    if !rest.is_empty() {
        return Err(wrong());
    }
    let milli = number
        .times_floor(1_000)
        .and_then(|milli| u64::try_from(milli).ok());
    match milli.ok_or_else(wrong)? {
        milli if milli < CPU_MILLI_MIN => Err(format!(
            "`{text}` is less than 0.01 of a CPU: write it as 0.25 or 2"
        )),
        milli if milli > CPU_MILLI_MAX => Err(format!(
            "`{text}` is more than any machine has: write it as 0.25 or 2"
        )),
        milli => Ok(milli),
    }
}

/// A share of one in parts of a million.
pub(crate) fn share_ppm(text: &str) -> Result<u32, String> {
    let read = Decimal::read(text.trim()).filter(|(_, rest)| rest.is_empty());
    let ppm = read.and_then(|(number, _)| number.times_exact(1_000_000));
    ppm.and_then(|ppm| u32::try_from(ppm).ok())
        .filter(|ppm| *ppm <= WHOLE_PPM)
        .ok_or_else(|| {
            format!("`{text}` is no share: write a number from 0 to 1 with up to six decimals, as in 0.75")
        })
}

/// A price such as `0.03 credits/h`, in micro-credits per hour.
pub(crate) fn price_micro_per_hour(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a price per hour: write it as \"0.03 credits/h\"");
    let (number, rest) = Decimal::read(text.trim()).ok_or_else(wrong)?;
    let unit: String = rest.split_whitespace().collect();
    if !matches!(
        unit.as_str(),
        "" | "/h" | "credits" | "credits/h" | "credit/h"
    ) {
        return Err(wrong());
    }
    let micro = number
        .times_exact(1_000_000)
        .and_then(|micro| u64::try_from(micro).ok());
    micro.ok_or_else(|| {
        format!(
            "`{text}` has more than six decimals, or too many digits: write it as \"0.03 credits/h\""
        )
    })
}
