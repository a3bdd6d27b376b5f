//! Streams cut in every place give the same payloads.

use super::Splitter;

fn cut(is_events: bool, text: &[u8], step: usize) -> Vec<String> {
    let mut splitter = Splitter::new(is_events);
    let mut found = Vec::new();
    for part in text.chunks(step) {
        splitter.push(part).unwrap();
        while let Some(payload) = splitter.next() {
            found.push(payload);
        }
    }
    found.extend(splitter.last());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    found.into_iter().map(text).collect()
}

#[test]
fn json_lines_come_out_however_they_are_cut() {
    for step in 1..12 {
        let found = cut(false, b"{\"a\":1}\n\n{\"b\":2}\r\n{\"c\":3}", step);
        assert_eq!(
            found,
            ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"],
            "step {step}"
        );
    }
}

#[test]
fn events_carry_data_and_heartbeats_carry_nothing() {
    let text =
        b": heartbeat\n\nid: 7.1\nevent: x\ndata: one\n\ndata:two\ndata: lines\n\ndata: cut off";
    for step in 1..20 {
        assert_eq!(cut(true, text, step), ["one", "two\nlines"], "step {step}");
    }
}

#[test]
fn a_line_without_end_is_refused() {
    let mut splitter = Splitter::new(false);
    assert!(
        splitter
            .push(&vec![b'x'; super::LINE_BYTES_MAX + 1])
            .is_err()
    );
}
