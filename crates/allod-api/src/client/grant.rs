//! How people write spans of time and budgets: `30d`, `90s`, `5/day`.

use std::time::Duration;

use allod_state::account::grant::Budget;

/// Reads a size such as `512m` or `20g`.
///
/// # Errors
/// Where it is none.
pub fn parse_size(text: &str) -> Result<u64, String> {
    crate::compose::quantity::bytes(text)
}

/// Reads a number of CPUs such as `0.5` or `2`, as thousandths of one.
///
/// # Errors
/// Where it is none.
pub fn parse_cpus(text: &str) -> Result<u64, String> {
    crate::compose::quantity::cpu_milli(text)
}

/// A span of time: a number and one of `ms`, `s`, `m`, `h`, `d`, `w`; a bare number is seconds.
///
/// # Errors
/// Where the text is none; the message says how to write it.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a span of time; write it as 45s, 10m, 12h or 30d");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        "w" => 7 * DAY_MS,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// A budget that renews itself: an amount, a slash, and `hour`, `day`, `week`, `month` or a span such as `12h`.
///
/// # Errors
/// Where the text is none; the message says how to write it.
pub fn parse_budget(text: &str) -> Result<Budget, String> {
    let wrong = || format!("`{text}` is not a budget; write it as 5/day");
    let (amount, period) = text.split_once('/').ok_or_else(wrong)?;
    let amount = amount
        .parse::<allod_state::Credits>()
        .map_err(|error| error.to_string())?;
    let period_ms = match period {
        "hour" => 3_600_000,
        "day" => DAY_MS,
        "week" => 7 * DAY_MS,
        "month" => 30 * DAY_MS,
        _ => {
            let span = parse_span(period).map_err(|_| wrong())?;
            u64::try_from(span.as_millis()).map_err(|_| wrong())?
        }
    };
    if period_ms == 0 {
        return Err(wrong());
    }
    Ok(Budget { amount, period_ms })
}

const DAY_MS: u64 = 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, ms) in [
            ("20", 20_000),
            ("250ms", 250),
            ("2m", 120_000),
            ("30d", 30 * DAY_MS),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "d",
            "1 d",
            "-1s",
            "1y",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn budgets_name_an_amount_and_a_period() {
        let budget = parse_budget("0.5/12h").unwrap();
        assert_eq!(budget.amount.micro(), 500_000);
        assert_eq!(budget.period_ms, 12 * 3_600_000);
        assert_eq!(parse_budget("5/day").unwrap().period_ms, DAY_MS);
        for text in ["5", "5/", "/day", "x/day", "5/0s", "5/fortnight"] {
            assert!(parse_budget(text).is_err(), "{text}");
        }
    }
}
