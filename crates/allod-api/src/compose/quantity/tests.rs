//! Exact reading of amounts.

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::*;

#[test]
fn durations() {
    let read = |text| duration_ms(text).ok();
    assert_eq!(read("1m30s"), Some(90_000));
    assert_eq!(read("2h3m"), Some(7_380_000));
    assert_eq!(read("1.5s"), Some(1_500));
    assert_eq!(read("0.0001s"), Some(1), "rounded up, never to nothing");
    assert_eq!(read("500us"), Some(1));
    assert_eq!(read("0"), Some(0));
    for text in [
        "",
        "10",
        "s",
        "1 s",
        "-1s",
        "1s2",
        "1..5s",
        "1.s",
        ".5s",
        "99999999999h",
        "1x",
        "1e3s",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn sizes() {
    let read = |text| bytes(text).ok();
    assert_eq!(read("512m"), Some(512 << 20));
    assert_eq!(read("4g"), Some(4 << 30));
    assert_eq!(read("1.5gb"), Some(3 << 29));
    assert_eq!(read("4GiB"), Some(4 << 30));
    assert_eq!(read("1024"), Some(1024));
    assert_eq!(read("0.1k"), Some(102));
    assert_eq!(read("10 MB"), Some(10 << 20));
    for text in [
        "",
        "m",
        "-1m",
        "1mm",
        "1.5.5m",
        "99999999999999999999999p",
        "NaN",
        "1e3",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn cpus_and_prices() {
    assert_eq!(cpu_milli("0.5"), Ok(500));
    assert_eq!(cpu_milli("2"), Ok(2_000));
    assert_eq!(cpu_milli("0.3333"), Ok(333));
    assert!(cpu_milli("0.0001").is_err() && cpu_milli("1m").is_err() && cpu_milli("5000").is_err());
    assert_eq!(price_micro_per_hour("0.03 credits/h"), Ok(30_000));
    assert_eq!(price_micro_per_hour("1"), Ok(1_000_000));
    assert_eq!(price_micro_per_hour("0.000001/h"), Ok(1));
    for text in ["0.0000001", "1 euro", "1 credits/day", "", "-1"] {
        assert!(price_micro_per_hour(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = (duration_ms(&text), bytes(&text), cpu_milli(&text), price_micro_per_hour(&text));
    }

    #[test]
    fn whole_amounts_are_exact(number in 0_u32..1_000_000) {
        prop_assert_eq!(bytes(&format!("{number}k")), Ok(u64::from(number) << 10));
        prop_assert_eq!(duration_ms(&format!("{number}ms")), Ok(u64::from(number)));
        let micro = price_micro_per_hour(&format!("{}.{:06}", number / 7, number));
        prop_assert_eq!(micro, Ok(u64::from(number / 7) * 1_000_000 + u64::from(number)));
    }

    #[test]
    fn a_millisecond_split_over_units_is_the_same(ms in 0_u64..100_000_000) {
        let (hours, rest) = (ms / 3_600_000, ms % 3_600_000);
        let text = format!("{hours}h{}m{}.{:03}s", rest / 60_000, rest % 60_000 / 1_000, rest % 1_000);
        prop_assert_eq!(duration_ms(&text), Ok(ms));
    }
}
