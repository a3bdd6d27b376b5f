//! The tree against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn path(n: u16) -> [u8; 32] {
    Tree::path_of(&n.to_le_bytes())
}

fn built_from(map: &BTreeMap<[u8; 32], [u8; 32]>) -> Tree {
    let mut tree = Tree::default();
    for (path, value) in map {
        tree.write(vec![(*path, Some(*value))]);
    }
    tree
}

proptest! {
    #[test]
    fn root_depends_on_content_alone(batches in prop::collection::vec(
        prop::collection::btree_map(0u16..64, prop::option::of(any::<[u8; 32]>()), 0..20), 0..8)) {
        let mut tree = Tree::default();
        let mut map = BTreeMap::new();
        for batch in batches {
            for (n, value) in &batch {
                match value {
                    Some(value) => map.insert(path(*n), *value),
                    None => map.remove(&path(*n)),
                };
            }
            tree.write(batch.iter().map(|(n, value)| (path(*n), *value)).collect());
            prop_assert_eq!(tree.root(), built_from(&map).root());
        }
        for n in 0..80 {
            let proof = tree.prove(&path(n));
            prop_assert_eq!(proof.value_at(&tree.root(), &path(n)), Ok(map.get(&path(n)).copied()));
        }
    }

    #[test]
    fn a_false_value_has_no_proof(n in 0u16..64, forged in any::<[u8; 32]>()) {
        let mut tree = Tree::default();
        tree.write((0..64).map(|n| (path(n), Some([1; 32]))).collect());
        let mut proof = tree.prove(&path(n));
        proof.terminal = Terminal::Leaf { path: path(n), value: forged };
        prop_assume!(forged != [1; 32]);
        prop_assert!(proof.value_at(&tree.root(), &path(n)).is_err());
    }
}

#[test]
fn absence_cannot_be_shown_for_a_present_leaf() {
    let mut tree = Tree::default();
    tree.write((0..64).map(|n| (path(n), Some([1; 32]))).collect());
    for n in 0..64 {
        for other in 0..64 {
            let proof = tree.prove(&path(other));
            if let Ok(None) = proof.value_at(&tree.root(), &path(n)) {
                panic!("the proof for {other} shows that {n} is absent");
            }
            let mut emptied = tree.prove(&path(n));
            emptied.terminal = Terminal::Empty;
            assert!(emptied.value_at(&tree.root(), &path(n)).is_err());
        }
    }
}
