//! However the inventory came to be, it is the one that a fresh start makes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::key::PublicKey;
use crate::money::Credits;
use crate::node::Offer;

/// A machine that asks `price`, or offers nothing where that is 0.
fn machine(price: u8, cpu_milli: u64) -> Arc<Node> {
    let offer = Offer {
        capacity: Resources {
            cpu_milli,
            memory_bytes: 10,
            storage_bytes: 10,
        },
        prices: Prices {
            cpu_core_hour: Credits::from_micro(price.into()),
            memory_gib_hour: Credits::ZERO,
            storage_gib_hour: Credits::ZERO,
        },
        isolation: BTreeSet::from([Isolation::Container]),
        region: "eu".parse().unwrap(),
        tags: BTreeSet::new(),
    };
    Arc::new(Node {
        operator: AccountId([1; 32]),
        key: PublicKey::Ed25519([1; 32]),
        sealing_key: [0; 32],
        name: "host".parse().unwrap(),
        offer: (price > 0).then_some(offer),
        is_draining: false,
        is_unreachable: false,
        life: 0,
        given_up_by: BTreeMap::new(),
        is_cordoned: false,
        registered_ms: 0,
    })
}

/// An id as hashes are, except that many begin alike.
fn id(number: u8) -> NodeId {
    let mut id = codec::hash("test", &number);
    if number < 100 {
        id[..3].copy_from_slice(&[7, 7, number % 3]);
    }
    NodeId(id)
}

/// What a trie is made of, without the numbers that terms happen to have.
fn shape(subtree: &Subtree, into: &mut Vec<String>) {
    into.push(format!("{:?}", subtree.summary));
    match subtree.below.as_deref() {
        None => into.push("nothing".to_owned()),
        Some(Below::Leaf(entries)) => {
            let entry = |entry: &Entry| format!("{:?}", Entry { terms: 0, ..*entry });
            into.extend(entries.iter().map(entry));
        }
        Some(Below::Fork(children)) => {
            into.push("fork".to_owned());
            children.iter().for_each(|child| shape(child, into));
        }
    }
}

/// Somebody who goes in everywhere and notes whom he meets.
struct Everyone(Vec<NodeId>);

impl Visitor for Everyone {
    fn enters(&mut self, _: &Summary) -> bool {
        true
    }

    fn visit(&mut self, entry: &Entry) -> ControlFlow<()> {
        self.0.push(entry.id);
        ControlFlow::Continue(())
    }
}

proptest! {
    /// Effort is counted by what a walk meets, so it must not matter how the inventory came to be.
    #[test]
    fn the_inventory_is_the_same_whatever_happened_before(
        changes in prop::collection::vec((any::<u8>(), 0..9_u8, 0..50_u64), 0..600),
        start: u8,
    ) {
        let mut inventory = Inventory::default();
        let mut nodes: BTreeMap<NodeId, (Arc<Node>, Resources)> = BTreeMap::new();
        for (number, price, amount) in changes {
            let id = id(number);
            let before = nodes.get(&id).cloned();
            let used = before.as_ref().map(|(_, used)| *used).unwrap_or_default();
            match price {
                6 => {
                    inventory.node_changed(&id, before.as_ref().map(|(node, _)| node), None, used);
                    nodes.remove(&id);
                }
                7 | 8 => {
                    let used = Resources { cpu_milli: amount, ..used };
                    inventory.used_changed(&id, used);
                    if let Some((_, held)) = nodes.get_mut(&id) {
                        *held = used;
                    }
                }
                price => {
                    let node = machine(price, amount);
                    let before = before.as_ref().map(|(node, _)| node);
                    inventory.node_changed(&id, before, Some(&node), used);
                    nodes.insert(id, (node, used));
                }
            }
        }
        let mut fresh = Inventory::default();
        for (id, (node, used)) in nodes.iter().rev() {
            fresh.node_changed(id, None, Some(node), *used);
        }
        let (mut kept, mut built) = (Vec::new(), Vec::new());
        shape(&inventory.root, &mut kept);
        shape(&fresh.root, &mut built);
        prop_assert_eq!(kept, built);
        prop_assert_eq!(inventory.known.len(), fresh.known.len());
        prop_assert!(inventory.terms_end() >= inventory.terms.len());
        for (id, (node, used)) in &nodes {
            let entry = inventory.get(id).unwrap();
            prop_assert_eq!(entry.free, entry.capacity.minus(*used));
            prop_assert!(Terms(Arc::clone(node)) == Terms(Arc::clone(&inventory.terms[&entry.terms])));
        }
        let mut met = Everyone(Vec::new());
        inventory.walk(&id(start), &mut met);
        let mut ring: Vec<NodeId> = nodes.keys().copied().collect();
        ring.sort_by_key(|node| (*node < id(start), *node));
        prop_assert_eq!(met.0, ring);
    }
}
