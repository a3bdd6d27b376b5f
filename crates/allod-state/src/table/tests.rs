//! A table against a plain map with whole copies.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

impl Row for u16 {
    type Key = u8;
    const TAG: u8 = 200;
}

type Map = BTreeMap<u8, u16>;

#[derive(Debug, Clone)]
enum Act {
    Put(u8, u16),
    Remove(u8),
    Mark,
    Undo,
    Drain,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..12_u8, any::<u16>()).prop_map(|(key, row)| Act::Put(key, row)),
        4 => (0..12_u8).prop_map(Act::Remove),
        2 => Just(Act::Mark),
        2 => Just(Act::Undo),
        1 => Just(Act::Drain),
    ]
}

fn rows(table: &Table<u16>) -> Map {
    table.iter().map(|(key, row)| (*key, **row)).collect()
}

fn drained(table: &mut Table<u16>) -> Vec<Write> {
    let mut writes = Vec::new();
    table.drain(&mut writes);
    writes
}

fn expected(touched: &BTreeSet<u8>, rows: &Map) -> Vec<Write> {
    let value = |key| rows.get(key).map(codec::encode);
    let writes = touched
        .iter()
        .map(|key| (Table::<u16>::stored_key(key), value(key)));
    writes.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Rows, and the writes that a drain gives, are those of a map of which a copy was kept at each mark.
    #[test]
    fn undo_goes_back_to_the_last_mark(acts in prop::collection::vec(act(), 1..60)) {
        let mut table = Table::<u16>::default();
        let mut now = (Map::new(), BTreeSet::new());
        let mut marked = now.clone();
        for act in acts {
            match act {
                Act::Put(key, row) => {
                    let before = table.put(key, Arc::new(row)).map(|row| *row);
                    prop_assert_eq!(before, now.0.insert(key, row));
                    now.1.insert(key);
                }
                Act::Remove(key) => {
                    let before = table.remove(&key).map(|row| *row);
                    if now.0.contains_key(&key) {
                        now.1.insert(key);
                    }
                    prop_assert_eq!(before, now.0.remove(&key));
                }
                Act::Mark => {
                    table.mark();
                    marked = now.clone();
                }
                Act::Undo => {
                    table.undo(|_, _, _| {});
                    now = marked.clone();
                }
                Act::Drain => {
                    prop_assert_eq!(drained(&mut table), expected(&now.1, &now.0));
                    now.1.clear();
                    marked = now.clone();
                }
            }
            prop_assert_eq!(rows(&table), now.0.clone());
        }
        prop_assert_eq!(drained(&mut table), expected(&now.1, &now.0));
    }
}
