//! The document as readers of OpenAPI take it.

use std::collections::BTreeSet;

use super::*;

/// Every `$ref` in a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get("$ref") {
                found.insert(text.clone());
            }
            map.values().for_each(|inner| references(inner, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn every_operation_and_every_reference_is_there() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for operation in OPERATIONS {
        let method = operation.method.name().to_ascii_lowercase();
        let described = &document["paths"][operation.path][&method];
        assert_eq!(described["operationId"], operation.name);
        assert!(
            ids.insert(operation.name),
            "{} is there twice",
            operation.name
        );
        let parameters = described["parameters"].as_array();
        let names: Vec<&str> = parameters
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(names, path_names(operation.path).collect::<Vec<_>>());
        let is_signed = described.get("security").is_some();
        assert_eq!(
            is_signed,
            operation.access != Access::Public,
            "{}",
            operation.name
        );
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 15);
    for reference in found {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is missing"
        );
    }
}

#[test]
fn the_list_is_sorted_and_no_route_is_served_twice() {
    let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let routes: BTreeSet<(&str, &str)> = OPERATIONS
        .iter()
        .map(|operation| (operation.path, operation.method.name()))
        .collect();
    assert_eq!(routes.len(), OPERATIONS.len());
}
