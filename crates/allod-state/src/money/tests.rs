//! Amounts as text and their rounding.

use proptest::prelude::*;

use super::*;

#[test]
fn reads_what_people_write() {
    for (text, micro) in [
        ("0", 0),
        ("12", 12_000_000),
        ("0.5", 500_000),
        ("-3.25", -3_250_000),
        ("1.000001", 1_000_001),
    ] {
        assert_eq!(
            text.parse::<Credits>(),
            Ok(Credits::from_micro(micro)),
            "{text}"
        );
    }
    for text in [
        "",
        ".5",
        "1.",
        "1.0000001",
        "1e3",
        "+1",
        "--1",
        "1,5",
        "999999999999999999999",
    ] {
        assert!(text.parse::<Credits>().is_err(), "{text}");
    }
}

#[test]
fn rounding_is_named() {
    let seven = Credits::from_micro(7);
    assert_eq!(seven.mul_div_floor(1, 2), Ok(Credits::from_micro(3)));
    assert_eq!(seven.mul_div_ceil(1, 2), Ok(Credits::from_micro(4)));
    assert_eq!(
        Credits::from_micro(-7).mul_div_floor(1, 2),
        Ok(Credits::from_micro(-4))
    );
    assert_eq!(seven.mul_div_floor(1, 0), Err(OutOfRange));
    assert_eq!(
        Credits::from_micro(i128::MAX).mul_div_floor(2, 1),
        Err(OutOfRange)
    );
}

proptest! {
    #[test]
    fn text_form_reads_back(micro in -CREDITS_MAX..=CREDITS_MAX) {
        let credits = Credits::from_micro(micro);
        prop_assert_eq!(credits.to_string().parse(), Ok(credits));
    }

    #[test]
    fn floor_and_ceil_bracket_the_quotient(micro in -CREDITS_MAX..=CREDITS_MAX, count in 0u64..1_000_000, unit in 1u64..1_000_000) {
        let floor = Credits::from_micro(micro).mul_div_floor(count, unit).unwrap();
        let ceil = Credits::from_micro(micro).mul_div_ceil(count, unit).unwrap();
        let exact = micro.checked_mul(i128::from(count)).unwrap();
        prop_assert!(floor.micro() * i128::from(unit) <= exact);
        prop_assert!(ceil.micro() * i128::from(unit) >= exact);
        prop_assert!(ceil.micro() - floor.micro() <= 1);
    }
}
