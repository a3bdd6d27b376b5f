//! Aliases, merge keys and limits.

use super::*;

fn parse_text(text: &str) -> Result<Node, String> {
    let mut report = Report::default();
    report.sources.push(super::super::diagnostic::Source {
        name: "f".into(),
        folder: None,
        text: text.into(),
    });
    let node = parse(0, &mut report);
    match node.filter(|_| !report.has_errors()) {
        Some(node) => Ok(node),
        None => Err(report.into_diagnostics().remove(0).message),
    }
}

fn text_of<'a>(node: &'a Node, keys: &[&str]) -> &'a str {
    let node = keys.iter().fold(node, |node, key| node.get(key).unwrap());
    match &node.value {
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn scalars_stay_as_they_were_written() {
    let node = parse_text("a: 0.50\nb: 0440\nc: 'null'\nd: !!str 7\ne: 1e3").unwrap();
    let read = ["a", "b", "c", "d", "e"].map(|key| text_of(&node, &[key]));
    assert_eq!(read, ["0.50", "0440", "null", "7", "1e3"]);
    let node = parse_text("a:\nb: ~\nc: null").unwrap();
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|key| matches!(node.get(key).unwrap().value, Value::Null))
    );
}

#[test]
fn places_are_those_of_the_text() {
    let node = parse_text("a:\n  b: {c: deep}\n").unwrap();
    let place = node
        .get("a")
        .unwrap()
        .get("b")
        .unwrap()
        .get("c")
        .unwrap()
        .span;
    assert_eq!((place.line, place.column, place.length), (2, 10, 4));
}

#[test]
fn merge_keys_give_way_to_the_keys_of_the_map_and_to_earlier_maps() {
    let node =
        parse_text("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 0}").unwrap();
    let read = ["a", "b", "c"].map(|key| text_of(&node, &["z", key]));
    assert_eq!(read, ["0", "1", "2"]);
    let quoted = parse_text("x: &x {a: 1}\nz: {'<<': *x}").unwrap();
    assert!(quoted.get("z").unwrap().get("<<").is_some());
    assert!(
        parse_text("z: {<<: text}")
            .unwrap_err()
            .contains("merges only maps")
    );
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_string();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        let items = vec![alias; 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(parse_text(&text).unwrap_err().contains("grows too large"));
}

#[test]
fn long_texts_cannot_be_multiplied() {
    let long = "x".repeat(100_000);
    let aliases = vec!["*a"; 100].join(", ");
    let text = format!("a: &a {long}\nb: [{aliases}]");
    assert!(parse_text(&text).unwrap_err().contains("grows too large"));
}

#[test]
fn merge_keys_cannot_multiply_either() {
    let mut text = "a0: &a0 {k0: v, k1: v, k2: v, k3: v}\n".to_string();
    for level in 1..40 {
        let below = level - 1;
        text.push_str(&format!(
            "a{level}: &a{level} {{x: *a{below}, y: *a{below}}}\n"
        ));
    }
    assert!(parse_text(&text).is_err());
}

#[test]
fn depth_is_bounded_with_and_without_aliases() {
    let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
    assert!(parse_text(&deep).unwrap_err().contains("deep"));
    let fine = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(parse_text(&fine).is_ok());
    let mut text = "a0: &a0 [x]\n".to_string();
    for level in 1..=DEPTH_MAX {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(parse_text(&text).unwrap_err().contains("deep"));
}

#[test]
fn a_file_over_the_limit_is_not_even_parsed() {
    let long = usize::try_from(FILE_BYTES_MAX).unwrap() + 1;
    assert!(
        parse_text(&"#".repeat(long))
            .unwrap_err()
            .contains("more than")
    );
}

#[test]
fn a_map_of_very_many_keys_is_read_in_time() {
    let keys: String = (0..NODES_MAX / 2 - 10)
        .map(|n| format!("k{n}: v\n"))
        .collect();
    let start = std::time::Instant::now();
    assert!(parse_text(&keys).is_ok());
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
