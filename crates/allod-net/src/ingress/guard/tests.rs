//! Plain requests pass byte for byte, however they are cut; ambiguous ones end where they turn so.

use proptest::prelude::*;

use super::*;

fn offence(bytes: &[u8]) -> Option<usize> {
    Framing::new(4096).follow(bytes)
}

const PLAIN: [&str; 5] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\rc",
    "P / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n4;x=\"y\"\r\n\n\n\n\n\r\n0\r\nT: 1\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length:0\r\n\r\n",
    "\r\nGET /x HTTP/1.0\r\n\r\n",
];

#[test]
fn what_is_ambiguous_is_refused_at_its_first_byte() {
    for (bytes, at_end_of) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "Host: a"),
        ("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", "A: b\r"),
        (
            "GET / HTTP/1.1\r\nA: b\r\n folded: 1\r\n\r\n",
            "folded: 1\r",
        ),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", "A : b\r"),
        (
            "P / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "chunked\r\n\r",
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-length: 4\r\n\r\n",
            ": 4\r\n\r",
        ),
        (
            "P / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
            "4\r\nContent-Length: 4\r",
        ),
        ("P / HTTP/1.1\r\nContent-Length: +4\r\n\r\n", "+4\r"),
        ("P / HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\n", "4, 4\r"),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "gzip, chunked\r",
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "xchunked\r",
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            "-1\r",
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nx",
            "\r\n1",
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
            "\r\nxyz\r",
        ),
    ] {
        let expected = bytes.find(at_end_of).map(|start| start + at_end_of.len());
        assert_eq!(offence(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn plain_requests_pass_however_they_are_cut(
        order in prop::collection::vec(0..PLAIN.len(), 1..6),
        cuts in prop::collection::vec(1..40_usize, 1..40),
    ) {
        let stream: Vec<u8> = order.iter().flat_map(|index| PLAIN[*index].bytes()).collect();
        let mut framing = Framing::new(4096);
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            prop_assert_eq!(framing.follow(now), None);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(matches!(framing.at, At::Head));
    }

    #[test]
    fn garbage_neither_panics_nor_grows(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let mut framing = Framing::new(16);
        let _ = framing.follow(&bytes);
        prop_assert!(framing.line.len() <= 64);
    }
}
