//! Ids as text.

use super::*;

#[test]
fn text_form_reads_back() {
    let id = AccountId([7; 32]);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!(id.to_string().starts_with("acct_"));
}

#[test]
fn a_changed_character_is_refused() {
    let text = NodeId([1; 32]).to_string();
    let last = text.chars().nth(8).unwrap();
    let other = if last == 'a' { 'b' } else { 'a' };
    let mut changed: Vec<char> = text.chars().collect();
    changed[8] = other;
    let changed: String = changed.into_iter().collect();
    assert_eq!(changed.parse::<NodeId>(), Err(ParseIdError::Checksum));
}

#[test]
fn another_kind_of_id_is_refused() {
    let text = NodeId([1; 32]).to_string();
    assert_eq!(
        text.parse::<AccountId>(),
        Err(ParseIdError::Prefix { wanted: "acct" })
    );
    assert_eq!("acct_".parse::<AccountId>(), Err(ParseIdError::Encoding));
    assert_eq!("acct_ééé".parse::<AccountId>(), Err(ParseIdError::Encoding));
}

#[test]
fn labels_differ_between_scopes() {
    assert_ne!(Label::of(&[0; 32], "web"), Label::of(&[1; 32], "web"));
    assert_eq!(Label::of(&[0; 32], "web"), Label::of(&[0; 32], "web"));
}
