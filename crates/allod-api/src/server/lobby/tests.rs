//! What is a head, and what is sent away.

use super::*;

#[test]
fn a_head_is_whole_when_it_has_ended_or_never_will() {
    let waits: [&[u8]; 7] = [
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r",
        b"\r\nGET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n ",
    ];
    for bytes in waits {
        assert!(!is_whole(bytes), "{}", bytes.escape_ascii());
    }
    let long = [b'x'; GLANCE_BYTES];
    let goes: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"\r\nPOST / HTTP/1.1\r\n\r\nbody",
        b"\x16\x03\x01",
        b"\r\n\0",
        &long,
    ];
    for bytes in goes {
        assert!(is_whole(bytes), "{}", bytes.escape_ascii());
    }
}
