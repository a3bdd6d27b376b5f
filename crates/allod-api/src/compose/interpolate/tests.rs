//! The operators of the Compose specification.

use proptest::prelude::{ProptestConfig, any, proptest};

use super::*;

fn variables() -> Variables {
    [("SET", "value"), ("EMPTY", ""), ("A_1", "a")]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into()
}

fn text(template: &str) -> String {
    replace(template, &variables()).unwrap().text
}

#[test]
fn operators() {
    assert_eq!(text("$SET ${SET} ${A_1}$A_1"), "value value aa");
    assert_eq!(
        text("${EMPTY:-d} ${EMPTY-d} ${NONE:-d} ${NONE-d} ${SET:-d}"),
        "d  d d value"
    );
    assert_eq!(
        text("[${EMPTY:+r} ${EMPTY+r} ${NONE:+r} ${NONE+r} ${SET:+r}]"),
        "[ r   r]"
    );
    assert_eq!(text("${SET:?no} ${SET?no} [${EMPTY?no}]"), "value value []");
    assert_eq!(text("$$SET $${SET} $$$$"), "$SET ${SET} $$");
    assert_eq!(text("${NONE:-${EMPTY:-$SET}}"), "value");
    assert_eq!(text("${NONE:-a:b-c?d+e}"), "a:b-c?d+e");
}

#[test]
fn required_variables_say_what_their_author_wrote() {
    let refused = |template: &str| replace(template, &variables()).unwrap_err().message;
    assert_eq!(
        refused("${EMPTY:?set it}"),
        "the variable `EMPTY` is not set: set it"
    );
    assert!(refused("${NONE?}").contains("it is required"));
}

#[test]
fn what_is_no_variable_is_refused() {
    for template in [
        "$",
        "a $ b",
        "$5",
        "${",
        "${}",
        "${SET",
        "${1}",
        "${SET!x}",
        "${SET:-${A_1}",
    ] {
        assert!(replace(template, &variables()).is_err(), "{template}");
    }
    let nested = format!("{}{}", "${NONE:-".repeat(20), "}".repeat(20));
    assert!(
        replace(&nested, &variables())
            .unwrap_err()
            .message
            .contains("nested")
    );
}

#[test]
fn unset_variables_are_named_only_where_they_matter() {
    let unset = |template: &str| replace(template, &variables()).unwrap().unset;
    assert_eq!(unset("$NONE ${OTHER} ${EMPTY}"), ["NONE", "OTHER"]);
    assert!(unset("${SET:-$NONE} ${NONE:-x}").is_empty());
    assert_eq!(unset("${EMPTY:-$NONE}"), ["NONE"]);
}

#[test]
fn values_cannot_be_multiplied_without_end() {
    let variables: Variables = [("V".to_string(), "x".repeat(100_000))].into();
    assert!(
        replace(&"$V".repeat(6), &variables)
            .unwrap_err()
            .message
            .contains("grows over")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_replaced_or_refused(template in any::<String>(), tail in "[$a-zA-Z{}:?+-]{0,40}") {
        let _ = replace(&template, &variables());
        let _ = replace(&tail, &variables());
    }

    #[test]
    fn doubled_dollars_bring_any_text_through(plain in any::<String>()) {
        let escaped = plain.replace('$', "$$");
        assert_eq!(text(&escaped), plain);
    }
}
