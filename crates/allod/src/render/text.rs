//! Times, sizes and spans as people read them; and text from elsewhere made safe for a terminal.

use allod_state::node::Resources;

/// A time in UTC, such as `2026-11-21 05:00:00`.
pub(crate) fn utc(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>) for days since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A size in bytes, such as `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale: u64 = 1;
    while bytes / scale >= 1024 && unit + 1 < UNITS.len() {
        scale *= 1024;
        unit += 1;
    }
    let (whole, tenth) = (bytes / scale, bytes % scale / (scale / 10).max(1));
    let name = UNITS[unit];
    if tenth == 0 || tenth > 9 || whole >= 100 {
        format!("{whole} {name}")
    } else {
        format!("{whole}.{tenth} {name}")
    }
}

/// A number of CPUs, such as `0.5`.
pub(crate) fn cpus(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// CPUs, memory and disk.
pub(crate) fn amounts(of: &Resources) -> [String; 3] {
    let (memory, disk) = (bytes(of.memory_bytes), bytes(of.storage_bytes));
    [cpus(of.cpu_milli), memory, disk]
}

/// CPUs, memory and disk, `used / all`.
pub(crate) fn shares(used: &Resources, all: &Resources) -> [String; 3] {
    let ([cpu, memory, disk], [cpus, memories, disks]) = (amounts(used), amounts(all));
    [
        format!("{cpu}/{cpus}"),
        format!("{memory}/{memories}"),
        format!("{disk}/{disks}"),
    ]
}

/// A span of time, such as `1h 02m`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Text from elsewhere without the control characters that terminals obey.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_795_237_199_999), "2026-11-21 04:59:59");
    }

    #[test]
    fn sizes_are_short() {
        let texts = [0, 1023, 1024, 1536, 134_217_728, 5 << 40, 1025].map(bytes);
        let wanted = [
            "0 B", "1023 B", "1 KiB", "1.5 KiB", "128 MiB", "5 TiB", "1 KiB",
        ];
        assert_eq!(texts, wanted);
        assert_eq!([500, 1000, 0, 1250].map(cpus), ["0.5", "1", "0", "1.25"]);
        assert_eq!(
            [999, 61_000, 3_720_000, 90_000_000].map(span),
            ["0s", "1m 01s", "1h 02m", "1d 01h"]
        );
    }

    #[test]
    fn terminals_are_not_told_what_to_do() {
        assert_eq!(plain("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
